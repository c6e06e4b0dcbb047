"""One training loop, its optimisers, checkpoints, run folders and results. Knows no family of experiments."""

from neural_similarity.quiet import import_tensorflow

import_tensorflow()
