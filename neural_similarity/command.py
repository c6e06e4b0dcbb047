"""What every command line shares: how a mistake is told, which code a command exits with, and the common arguments."""

import argparse
import errno
import logging
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from neural_similarity.data.places import REPOSITORY, typed_path
from neural_similarity.data.streams import discard, prepare, tell
from neural_similarity.errors import Interrupted, UserError

NO_READER = 141  # as the shell tells a command that SIGPIPE ended
_INSTALL = "In the repository: make install, then source .venv/bin/activate"


def guarded(command: Callable[[], int | None], advice: str = "") -> int:
    """Calls `command()` and turns whatever stops it into one message on the standard error, without a traceback.

    What the command logs goes to the standard output. A line of the log that cannot be written does not stop it.

    Args:
        command: a function without arguments, which may also parse the command line. What it returns is the exit code;
            None stands for 0.
        advice: a sentence that is added when the command was stopped by a signal: how to go on. Without it, that is the
            advice of `Interrupted`.

    Returns:
        The exit code: 0, or what `command` returned or exited with; 1 where a package is not installed; 2 after a
        mistake, a full disk or too little memory; 130 after Ctrl-C, SIGTERM or SIGHUP; 141 if nobody reads what the
        command prints.
    """
    prepare()
    _log_to_standard_output()
    try:
        code = _code_of(command, advice)
        sys.stdout.flush()  # here, as Python would only complain at its very end
        return code
    except BrokenPipeError:
        discard(sys.stdout)
        return NO_READER
    except OSError as error:
        discard(sys.stdout)
        return _stop(f"Standard output: {error.strerror}. Something of what was printed is missing.", 2)


def _code_of(command, advice):
    try:
        return command() or 0
    except SystemExit as ended:  # argparse, after a mistake or --help
        return ended.code or 0
    except UserError as error:
        return _stop(error, 2)
    except ImportError as error:
        if str(error.name).startswith("neural_similarity"):
            raise
        return _stop(f"{error}. {_INSTALL}" if isinstance(error, ModuleNotFoundError) else error, 1)
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno == errno.ENOENT and error.filename is None:  # os.getcwd says no more
            return _stop("The working folder is not there any more. Next: cd to one that is, and call again.", 2)
        return _stop(f"{error.filename or 'A file was not read or written'}: {error.strerror or error}.", 2)
    except Interrupted as stop:
        return _stop(f"Stopped after step {stop.step:,}, and saved. {advice or stop.advice}".rstrip(), 130)
    except KeyboardInterrupt as stop:
        return _stop(f"Stopped. {advice or ' '.join(map(str, stop.args))}".rstrip(), 130)
    except _out_of_memory():
        return _stop(
            "Out of memory. Try fewer images in a step (data.global_batch_size; in few-shot recognition method.tasks, "
            "method.training_n_way or method.global_batch_size), or a narrower network (model.widths, model.filters).",
            2,
        )


def check_clone(place: str | Path) -> None:
    """Makes sure that the imported package is the one of the clone that a command was started in.

    An environment that was set up in one clone of the repository, and is active in another, would run the code of the
    first one, with its configs, and write to its `runs/`.

    Args:
        place: the file that was started, or the working folder. Outside of every clone, all is well.

    Raises:
        UserError: `place` lies in another clone. The message names both, and the command that repairs it.
    """
    place = Path(place).resolve()
    package = Path("neural_similarity", "__init__.py")
    clone = next((folder for folder in (place, *place.parents) if (folder / package).is_file()), None)
    if clone is None or os.path.samefile(clone / package, REPOSITORY / package):
        return
    searched = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    by_path = any(Path(folder).resolve() == REPOSITORY for folder in searched)
    repair = f"cd {shlex.quote(str(clone))} && make install && source .venv/bin/activate"
    raise UserError(
        f"{place}: of the clone {clone}, but Python imports the package of another one, {REPOSITORY}"
        f"{', which PYTHONPATH names' * by_path}. Next: {'unset PYTHONPATH && ' * by_path}{repair}"
    )


def add_config_arguments(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Adds `--config FILE` and `--set a.b=v`, which most commands that build a network take.

    Args:
        parser: an `argparse` parser.
        default: the config that is meant without `--config`; None makes `--config` required.
    """
    about = "YAML file" + (" (default: %(default)s)" if default else "")
    parser.add_argument(
        "--config", metavar="FILE", type=typed_path, default=default, required=default is None, help=about
    )
    parser.add_argument("--set", action="append", default=[], metavar="a.b=v", help="override one key; repeatable")


def count(text: str) -> int:
    """An `argparse` type: a whole number from 1 on."""
    if not (text.isascii() and text.isdecimal()) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)


class _Lines(logging.Handler):
    """Prints the log."""

    def emit(self, record):
        tell(record.getMessage())


def _log_to_standard_output():
    log = logging.getLogger("neural_similarity")
    log.handlers = [_Lines()]
    log.setLevel(logging.INFO)
    log.propagate = False


def _stop(message, code):
    tell(message, sys.stderr)
    return code


def _out_of_memory():
    """The exceptions that say so; TensorFlow's own only where TensorFlow was imported."""
    tensorflow = sys.modules.get("tensorflow")
    return (MemoryError, tensorflow.errors.ResourceExhaustedError) if tensorflow else MemoryError
