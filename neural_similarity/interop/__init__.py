"""Takes weights over from the released code, compares numbers with its networks, and exports plain Keras models."""

from neural_similarity.quiet import import_tensorflow

import_tensorflow()
