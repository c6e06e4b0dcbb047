"""Neural Similarity Learning in TensorFlow: convolutions that score a patch X against a kernel W by WᵀMX.

`neural_similarity.layers` holds drop-in layers; `load_run(RUN)` gives the Keras model of a trained run, and
`merge(model)` its static similarity folded into plain convolutions.
"""

import importlib

from neural_similarity.version import __version__

_HOME = {"load_run": "neural_similarity.families", "merge": "neural_similarity.interop.merge"}

__all__ = ["__version__", "load_run", "merge"]


def __getattr__(name):
    """Resolves the names above on first use, so that a config or a data file is read without TensorFlow."""
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
