"""Where the data sets lie, and the command that puts one there. The standard library alone; see setup.py."""

import os
import shlex
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
VARIABLE = "NEURAL_SIMILARITY_DATA"  # of the environment: names the folder that holds all sets


def default_root(environ=os.environ):
    """The folder that holds all sets: NEURAL_SIMILARITY_DATA, else `data`; a relative one starts at the repository."""
    root = os.path.expanduser(environ.get(VARIABLE) or "data")
    return Path(os.path.abspath(REPOSITORY / root))


def setup_command(name, root, source=None):
    """The command line that sets up a data set in the folder `root`, from the folder `source` unless that is None."""
    words = ["./dataset_setup.sh", name]
    words += ["--from", str(source)] if source is not None else []
    words += ["--root", str(root)] if Path(root) != default_root() else []
    return shlex.join(words)
