"""From finished runs to the README: `record` collects result lines, `tables` shows them, `plots` draws metrics."""

from neural_similarity.quiet import import_tensorflow

import_tensorflow()
