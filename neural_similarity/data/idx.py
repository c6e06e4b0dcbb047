"""Reads MNIST and Fashion-MNIST in their publishers' format, IDX, each file of which is compressed by gzip.

A file begins with two zero bytes, a byte 8, which means unsigned bytes, and a byte with the number of axes. Then comes
the size of each axis, four bytes each with the highest first, and then the numbers.
"""

import gzip
import os
import zlib
from pathlib import Path

import numpy as np

from neural_similarity.data.images import ImageSet, Splits
from neural_similarity.data.places import setup_command
from neural_similarity.data.presence import check_files_exist
from neural_similarity.data.registry import DATA_SETS
from neural_similarity.errors import UserError

_FILES = {"train": "train", "test": "t10k"}  # how the names of a split's files begin


def load_idx(name: str, root: str | Path) -> Splits:
    """Reads one of the two sets.

    Args:
        name: `mnist` or `fashion_mnist`.
        root: the folder that holds all sets; the files are in `root/mnist` or `root/fashion-mnist`.

    Returns:
        Splits of 60,000 training and 10,000 test images `(n, 28, 28, 3)` uint8 in the order of the files, with labels
        `(n,)` int32 and no validation images. The grey level of a pixel stands in all three channels.

    Raises:
        DataMissing: a file is not there.
        UserError: a file cannot be read, is not of this format, or holds a label out of range.
    """
    root = Path(os.path.expanduser(root))
    check_files_exist(name, root)
    entry = DATA_SETS[name]
    parts = {}
    for split, begins in _FILES.items():
        n, size = entry.counts[split], entry.image_size
        grey = _read(name, root, f"{begins}-images-idx3-ubyte.gz", (n, size, size))
        labels = _read(name, root, f"{begins}-labels-idx1-ubyte.gz", (n,))
        wrong = np.flatnonzero(labels >= len(entry.classes))
        if len(wrong):
            raise UserError(
                f"{root / entry.folder}/{begins}-labels-idx1-ubyte.gz: expected labels from 0 to "
                f"{len(entry.classes) - 1}, found {labels[wrong[0]]} at place {wrong[0]}. {_again(name, root)}"
            )
        parts[split] = ImageSet(np.repeat(grey[..., None], 3, axis=-1), labels.astype(np.int32))
    return Splits(parts["train"], None, parts["test"], entry.classes)


def _read(name, root, file, shape):
    """The numbers of a file, uint8, which must have this shape."""
    path = root / DATA_SETS[name].folder / file
    expected = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    count = int(np.prod(shape))
    try:
        with gzip.open(path) as stream:
            head = stream.read(len(expected))
            content = stream.read(count) if head == expected else b""
            rest = stream.read(1) if len(content) == count else b""  # gzip checks its checksum at the end of the file
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: expected a readable gzip file: {error}. {_again(name, root)}") from error
    found = None
    if head != expected:
        found = f"a file that begins with {head.hex(' ')}"
    elif len(content) < count:
        found = f"{len(content):,} of them"
    elif rest:
        found = "more of them"
    if found:
        raise UserError(
            f"{path}: expected {' × '.join(map(str, shape))} bytes after {expected.hex(' ')}, found {found}. "
            f"{_again(name, root)}"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _again(name, root):
    return f"Delete it and run {setup_command(name, root)}"
