"""One training loop, its optimisers, checkpoints, run folders and results.

Nothing here knows a family of experiments: a family hands its `Task` to the `Loop`.
"""

from neural_similarity.quiet import import_tensorflow

import_tensorflow()
