"""Ways in and out: weights by the released code's names, parity with its networks, plain exports."""

from neural_similarity.quiet import import_tensorflow

import_tensorflow()
