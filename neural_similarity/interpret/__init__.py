"""What a network learned: its similarity matrices, where it looks and what it matches, in numbers and pictures."""

from neural_similarity.quiet import import_tensorflow

import_tensorflow()

_HOME = dict.fromkeys(("PairExplanation", "explain_pair"), "neural_similarity.interpret.pairs")

__all__ = ["PairExplanation", "explain_pair"]


def __getattr__(name):
    """Imports what is named above when it is first used."""
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
