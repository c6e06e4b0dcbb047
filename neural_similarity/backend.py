"""Keras runs on several backends; this package on one of them, TensorFlow."""

import json
import os
import sys
from pathlib import Path

from neural_similarity.errors import UserError


class WrongBackend(UserError, ImportError):
    """Keras runs, or would run, on another backend. A command ends with the message; a notebook sees an ImportError."""


def check_backend():
    """Raises `WrongBackend` unless Keras' backend is TensorFlow. Keras is not imported for it."""
    name, origin = _keras_backend()
    if name != "tensorflow":
        raise WrongBackend(
            f"neural_similarity needs Keras' TensorFlow backend, and {origin} says {name!r}. "
            "Set the environment variable KERAS_BACKEND=tensorflow and start Python again."
        )


def _keras_backend():
    """The backend that Keras has taken, or will take when it is imported, and what says so."""
    keras = sys.modules.get("keras")
    if hasattr(keras, "config"):  # and not half imported
        return keras.config.backend(), "Keras, which is imported already,"
    if name := os.environ.get("KERAS_BACKEND"):
        return name, "the environment variable KERAS_BACKEND"
    file = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"), "keras.json")
    try:
        return json.loads(file.read_text(encoding="utf-8"))["backend"], str(file)
    except (OSError, ValueError, LookupError, TypeError):  # Keras reads such a file as an empty one, too
        return "tensorflow", "Keras' default"
