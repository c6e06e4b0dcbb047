"""Imports TensorFlow without the notes that it prints when it starts."""

import contextlib
import os
import sys
import tempfile

from neural_similarity.backend import check_backend
from neural_similarity.errors import UserError


def import_tensorflow():
    """Imports TensorFlow, and hides what it writes to the standard error meanwhile.

    TensorFlow's own switch, the environment variable `TF_CPP_MIN_LOG_LEVEL`, is not enough: notes about oneDNN and
    missing CUDA drivers are written before TensorFlow reads the variable. If the import fails, what was hidden is
    printed after all.

    Raises:
        ModuleNotFoundError: TensorFlow, or a package that it needs, is not installed.
        ImportError: TensorFlow is installed and cannot be imported, as with a NumPy that it does not fit.
        UserError: there is no folder for temporary files.
        WrongBackend: Keras would not run on TensorFlow.
    """
    check_backend()
    if "tensorflow" in sys.modules:
        return
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        raise UserError(
            "TensorFlow needs a folder for temporary files, and none can be written. Set the environment variable "
            "TMPDIR to a folder that can."
        ) from None
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with hidden_standard_error():
        try:
            import tensorflow  # noqa: F401
        except ModuleNotFoundError:
            raise
        except Exception as error:
            raise ImportError(
                f"TensorFlow is installed, but cannot be imported: {type(error).__name__}: {error}\n"
                "Its packages may not fit together. Set up the environment anew, in the repository: "
                "rm -rf .venv && make install",
                name="tensorflow",
            ) from error


@contextlib.contextmanager
def hidden_standard_error(show_after_exception=True):
    """Hides what is written to file 2, and shows it after an exception. Hides nothing where that cannot be done."""
    with contextlib.ExitStack() as stack:
        try:
            standard_error = os.dup(2)
            stack.callback(os.close, standard_error)
            hidden = stack.enter_context(tempfile.TemporaryFile())
        except OSError:  # standard error is closed, or the disk of temporary files is full
            yield
            return
        if sys.stderr:
            sys.stderr.flush()
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except BaseException:
            if show_after_exception:
                hidden.seek(0)
                os.write(standard_error, hidden.read())
            raise
        finally:
            os.dup2(standard_error, 2)
