"""One training loop, its optimisers, checkpoints, run folders and command line."""

from neural_similarity.quiet import import_tensorflow

import_tensorflow()

from neural_similarity.training.main import main  # noqa: E402

__all__ = ["main"]
