"""What a network learned: its similarity matrices, in numbers and pictures."""

from neural_similarity.quiet import import_tensorflow

import_tensorflow()
