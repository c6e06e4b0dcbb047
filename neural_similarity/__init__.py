"""Neural Similarity Learning in TensorFlow: convolutions that score a patch X against a kernel W by WᵀMX.

`neural_similarity.layers` holds drop-in layers. `load_run(RUN)` gives the Keras model of a trained run,
`load_pretrained(NAME)` one that comes with the repository, and `merge(model)` the same function of a static network in
plain convolutions.
"""

import importlib
import sys

from neural_similarity.version import __version__

if sys.version_info < (3, 10):  # noqa: UP036  pip would say so, but the package may be imported without it
    raise ImportError(
        "neural_similarity needs Python 3.10 to 3.13, and this is Python {}.{}. In the repository: make install, "
        "then source .venv/bin/activate".format(*sys.version_info)
    )

_HOME = {
    "load_pretrained": "neural_similarity.pretrained",
    "load_run": "neural_similarity.families",
    "merge": "neural_similarity.interop.merge",
}

__all__ = ["__version__", "load_pretrained", "load_run", "merge"]


def __getattr__(name):
    """Resolves the names above on first use, so that a config or a data file is read without TensorFlow."""
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
