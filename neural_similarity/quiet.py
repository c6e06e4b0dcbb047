"""TensorFlow's start-up notes, kept out of the way of what a command says."""

import os
import sys
import tempfile


def import_tensorflow():
    """Imports TensorFlow with the standard error set aside; what was written there comes back if the import fails.

    The notes about oneDNN and missing CUDA drivers are written before TensorFlow's own filter, the environment
    variable `TF_CPP_MIN_LOG_LEVEL`, is in force.
    """
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            aside.seek(0)
            os.write(terminal, aside.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
