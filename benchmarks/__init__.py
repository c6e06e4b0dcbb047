"""Speed and memory, each against the form it replaces. Every module is a command: `python -m benchmarks.train_step`."""

from neural_similarity.quiet import import_tensorflow

import_tensorflow()
