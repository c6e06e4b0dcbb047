"""What a network learned: its similarity matrices and where it looks, in numbers and pictures."""

from neural_similarity.quiet import import_tensorflow

import_tensorflow()
