"""Paths as people type them, where the data sets lie, and the command that puts one there.

The standard library alone; see setup.py.
"""

import argparse
import os
import shlex
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
VARIABLE = "NEURAL_SIMILARITY_DATA"  # of the environment: names the folder that holds all sets


def typed_path(text, base=None):
    """The path that somebody typed, as a `Path`. An `argparse` type.

    A `~` or `~NAME` at its beginning is a home. All other characters mean themselves.

    Args:
        text: what was typed.
        base: the folder in which a relative path starts; None leaves it relative.

    Raises:
        argparse.ArgumentTypeError: it is empty, it has a NUL, or that home does not exist.
    """
    text = os.fspath(text)
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"expected a path, got {text!r}")
    expanded = os.path.expanduser(text)
    if text.startswith("~") and expanded == text:
        raise argparse.ArgumentTypeError(
            f"{text!r}: that home does not exist. To name a file that begins with ~, type ./{text}"
        )
    if base is None and Path(expanded).parts[:1] and Path(expanded).parts[0].startswith("~"):
        base = Path.cwd()  # `./~x`: pathlib drops the `./`, and `~x` would be taken for a home the next time
    return Path(expanded) if base is None else Path(base) / expanded


def default_root(environ=os.environ):
    """The folder that holds all sets: NEURAL_SIMILARITY_DATA, else `data`; a relative one starts at the repository.

    Raises:
        argparse.ArgumentTypeError: the variable names the home of somebody who has none.
    """
    try:
        return Path(os.path.abspath(typed_path(environ.get(VARIABLE) or "data", REPOSITORY)))
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{VARIABLE}: {error}") from None


def setup_command(name, root, source=None):
    """The command line that sets up a data set in the folder `root`, from the folder `source` unless that is None."""
    words = ["./dataset_setup.sh", name]
    words += ["--from", str(source)] if source is not None else []
    words += ["--root", str(root)] if not _is_default(Path(root)) else []
    return shlex.join(words)


def _is_default(root):
    try:
        return root == default_root()
    except argparse.ArgumentTypeError:
        return False
