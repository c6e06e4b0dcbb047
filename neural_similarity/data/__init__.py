"""Data sets: what sets there are (`registry`), and reading them by name (`load`).

To import this package, or `registry`, loads the standard library alone.
"""

import importlib

_HOME = {
    **dict.fromkeys(("class_names", "count_images", "load"), "neural_similarity.data.loading"),
    **dict.fromkeys(("ImageSet", "Splits", "split_validation"), "neural_similarity.data.images"),
}

__all__ = ["ImageSet", "Splits", "class_names", "count_images", "load", "split_validation"]


def __getattr__(name):
    """Imports the module of a name above when the name is first used, so that the registry is read without NumPy."""
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
