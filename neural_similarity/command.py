"""What every command line shares: how a mistake is told, which code a command exits with, and the common arguments."""

import argparse
import logging
import sys
from collections.abc import Callable

from neural_similarity.data.places import typed_path
from neural_similarity.data.printing import printable
from neural_similarity.errors import Interrupted, UserError


def guarded(command: Callable[[], int | None], advice: str = "") -> int:
    """Calls `command()` and turns whatever stops it into one message on the standard error, without a traceback.

    Args:
        command: a function without arguments. What it returns is the exit code; None stands for 0.
        advice: a sentence that is added when the command was stopped by Ctrl-C or SIGTERM: how to go on.

    Returns:
        The exit code: 0, or what `command` returned; 1 where a package is not installed; 2 after a mistake, a full disk
        or too little memory; 130 after Ctrl-C or SIGTERM.
    """
    _log_to_standard_output()
    try:
        return command() or 0
    except UserError as error:
        return _stop(error, 2)
    except ModuleNotFoundError as missing:
        if str(missing.name).startswith("neural_similarity"):
            raise
        return _stop(f"{missing}. In the repository: make install, then source .venv/bin/activate", 1)
    except OSError as error:
        return _stop(f"{error.filename or 'A file'}: {error.strerror or error}. What was saved is still there.", 2)
    except Interrupted as stop:
        return _stop(f"Stopped after step {stop.step:,}, and saved. {advice}".rstrip(), 130)
    except KeyboardInterrupt:
        return _stop(f"Stopped. {advice}".rstrip(), 130)
    except _out_of_memory():
        advice = "Try a smaller data.global_batch_size, or smaller model.widths."
        return _stop(f"Out of memory. What was saved is still there. {advice}", 2)


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


def say(text: str) -> None:
    """Prints what a command found, at once. What a terminal would obey instead of showing it is written out."""
    print(printable(text), flush=True)


class _Printable(logging.Formatter):
    def format(self, record):
        return printable(super().format(record))


def _log_to_standard_output():
    log = logging.getLogger("neural_similarity")
    log.handlers = [logging.StreamHandler(sys.stdout)]
    log.handlers[0].setFormatter(_Printable())
    log.setLevel(logging.INFO)
    log.propagate = False


def _stop(message, code):
    print(printable(str(message)), file=sys.stderr)
    return code


def _out_of_memory():
    """The exceptions that say so; TensorFlow's own only where TensorFlow was imported."""
    tensorflow = sys.modules.get("tensorflow")
    return (MemoryError, tensorflow.errors.ResourceExhaustedError) if tensorflow else MemoryError
