"""Reads the variables of TensorFlow 1 checkpoints, wherever they lie and whatever lies in their place."""

import contextlib
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from neural_similarity.errors import UserError
from neural_similarity.files import what_else


def prefix_of(checkpoint: str | Path) -> Path:
    """What the paths of all files of a checkpoint begin with.

    Args:
        checkpoint: that path, or the path of one of the files, which adds `.index`, `.meta` or `.data-…`; or a folder
            with just one checkpoint.

    Raises:
        UserError: it is a folder with no checkpoint, or with several.
    """
    path = Path(re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", str(checkpoint)))
    if not path.is_dir() or path.with_name(f"{path.name}.index").exists():
        return path
    inside = sorted(name.removesuffix(".index") for name in os.listdir(path) if name.endswith(".index"))
    if len(inside) != 1:
        found = f"Name a checkpoint in it: {', '.join(inside)}" if inside else "No file in it ends in .index"
        raise UserError(f"{path}: a folder. {found}.")
    return path / inside[0]


class Variables:
    """The variables of an open checkpoint.

    Attributes:
        path: what `prefix_of` returns.
        shapes: name → shape, a list.
        types: name → `tf.DType`.
    """

    def __init__(self, path, folder):
        self.path, self._folder = path, folder
        for file in _files(path):
            os.symlink(file.absolute(), os.path.join(folder, f"checkpoint{file.name.removeprefix(path.name)}"))
        self._reader = tf.train.load_checkpoint(os.path.join(folder, "checkpoint"))
        self.shapes = self._reader.get_variable_to_shape_map()
        self.types = self._reader.get_variable_to_dtype_map()

    def read(self, name: str) -> np.ndarray:
        """The value of a variable.

        Raises:
            UserError: the checkpoint is damaged there, or a number is not finite.
        """
        try:
            array = self._reader.get_tensor(name)
        except Exception as error:  # TensorFlow's reader raises different Python errors for different damage
            why = _first_line(error, self.path, self._folder)
            raise UserError(f"{self.path}: damaged at {name} ({why}). Copy the checkpoint anew.") from error
        if not np.isfinite(array).all():
            raise UserError(f"{self.path}: {name} is not finite; the network had diverged when it was saved.")
        return array


@contextlib.contextmanager
def opened(path: Path):
    """The `Variables` of a checkpoint, until the end of the block.

    TensorFlow takes a path for a pattern in which `[a]` stands for `a`. So it gets links to the files, in a folder of a
    plain name.

    Raises:
        UserError: there is no checkpoint, or it cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            variables = Variables(path, folder)
        except Exception as error:  # any kind, as in `Variables.read`
            raise UserError(
                f"{path}: no TensorFlow 1 checkpoint that can be read ({_first_line(error, path, folder)}). "
                f"Expected {path}.index and {path}.data-00000-of-00001, as the released train.py saves them."
            ) from error
        yield variables


def _files(path):
    """The paths of a checkpoint's files; ValueError if there are none, or one is no file: a pipe would be waited for.

    A checkpoint of the first format is the file `path` itself. One of the second is `path.index` and `path.data-…`.
    """
    parts = re.compile(re.escape(path.name) + r"(\.index|\.data-\d+-of-\d+)?")
    files = [path.parent / name for name in os.listdir(path.parent) if parts.fullmatch(name)]
    files = [file for file in files if file != path or what_else(file) != "a folder"]
    if not files:
        raise ValueError("there is none")
    for file in files:
        if other := what_else(file):
            raise ValueError(f"{file.name} is {other}, not a file")
    return files


def _first_line(error, path, folder):
    """What an error says, with the names of the user's files in place of those of the links."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text.replace(os.path.join(folder, "checkpoint"), str(path))
