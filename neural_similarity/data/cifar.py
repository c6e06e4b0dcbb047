"""Reads CIFAR-10 and CIFAR-100 in their publishers' binary format.

A record is its label bytes (CIFAR-10: the class; CIFAR-100: coarse class, fine class), then 3,072 bytes of image,
channel by channel: `(3, 32, 32)`.
"""

import math
import os
from pathlib import Path

import numpy as np

from neural_similarity.data.images import ImageSet, Splits
from neural_similarity.data.places import setup_command
from neural_similarity.data.presence import check_files_exist
from neural_similarity.data.registry import DATA_SETS
from neural_similarity.errors import UserError

IMAGE_SHAPE = (3, 32, 32)
# For each label byte of a record: how many classes there are. The last byte is the label that is used.
LABEL_CLASSES = {"cifar10": (10,), "cifar100": (20, 100)}


def load_cifar(name, root):
    """Reads CIFAR-10, or CIFAR-100 with its 100 fine classes.

    Args:
        name: `cifar10` or `cifar100`.
        root: the folder that holds all sets; the files are in `root/cifar-10-batches-bin` or `root/cifar-100-binary`.

    Returns:
        Splits of 50,000 training and 10,000 test images `(n, 32, 32, 3)` uint8 in the order of the files, with labels
        `(n,)` int32 and no validation images.

    Raises:
        DataMissing: a file is not there.
        UserError: a file cannot be read, has another size, or holds a label out of range.
    """
    root = Path(os.path.expanduser(root))
    check_files_exist(name, root)
    entry = DATA_SETS[name]
    train_files, test_file = split_files(name)
    train = _read(name, root, train_files, entry.counts["train"] // len(train_files))
    test = _read(name, root, [test_file], entry.counts["test"])
    return Splits(train, None, test, entry.classes)


def split_files(name):
    """(names of the training files, name of the test file), in the publisher's order."""
    (archive,) = DATA_SETS[name].archives
    *train, test = archive.file_md5
    return train, test


def _read(name, root, files, records_per_file):
    """The ImageSet of all records in some of the set's files."""
    label_bytes = len(LABEL_CLASSES[name])
    images, labels = [], []
    for file in files:
        records = _records(name, root, file, records_per_file)
        images.append(records[:, label_bytes:].reshape(-1, *IMAGE_SHAPE).transpose(0, 2, 3, 1))
        labels.append(records[:, label_bytes - 1].astype(np.int32))
    # concatenate alone would keep the images channel by channel in memory.
    return ImageSet(np.ascontiguousarray(np.concatenate(images)), np.concatenate(labels))


def _records(name, root, file, count):
    """The records of one file, `(count, label bytes + 3072)` uint8. The file's size and its labels are checked."""
    path = root / DATA_SETS[name].folder / file
    size = len(LABEL_CLASSES[name]) + math.prod(IMAGE_SHAPE)
    again = f"Delete it and run {setup_command(name, root)}"
    try:
        there = path.stat().st_size  # looked at first: a file of another size may be one that fills the memory
        content = np.fromfile(path, np.uint8) if there == count * size else None
    except OSError as error:
        raise UserError(f"{path}: expected a readable file: {error.strerror or error}. {again}") from error
    if content is None:
        raise UserError(
            f"{path}: expected {count:,} records of {size:,} bytes = {count * size:,} bytes, found {there:,} "
            f"({there // size:,} records and {there % size:,} bytes). {again}"
        )
    records = content.reshape(count, size)
    for byte, classes in enumerate(LABEL_CLASSES[name]):
        wrong = np.flatnonzero(records[:, byte] >= classes)
        if len(wrong):
            raise UserError(
                f"{path}: expected labels from 0 to {classes - 1}, found {records[wrong[0], byte]} in byte {byte} of "
                f"record {wrong[0]}. {again}"
            )
    return records
