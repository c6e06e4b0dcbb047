"""Imports TensorFlow without the notes that it prints when it starts."""

import os
import sys
import tempfile

from neural_similarity.backend import check_backend


def import_tensorflow():
    """Imports TensorFlow, and hides what it writes to the standard error meanwhile.

    TensorFlow's own switch, the environment variable `TF_CPP_MIN_LOG_LEVEL`, is not enough: notes about oneDNN and
    missing CUDA drivers are written before TensorFlow reads the variable. If the import fails, what was hidden is
    printed after all.

    Raises:
        WrongBackend: Keras would not run on TensorFlow.
    """
    check_backend()
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    standard_error = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            hidden.seek(0)
            os.write(standard_error, hidden.read())
            raise
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)
