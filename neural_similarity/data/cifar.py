"""Reads CIFAR-10 and CIFAR-100 in their publishers' binary format.

A record is its label bytes (CIFAR-10: the class; CIFAR-100: coarse class, fine class), then 3,072 bytes of image,
channel by channel: `(3, 32, 32)`.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neural_similarity.data import setup
from neural_similarity.data.images import DataMissing, ImageSet, Splits
from neural_similarity.errors import UserError

IMAGE_SHAPE = (3, 32, 32)
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FINE_NAMES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
    lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
    shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
    television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CIFAR100_CLASSES = tuple(_FINE_NAMES.split())


@dataclass(frozen=True)
class _Format:
    name: str
    label_counts: tuple[int, ...]  # one a label byte; the last byte is the label that is used
    classes: tuple[str, ...]
    train_records: int = 50_000
    test_records: int = 10_000

    @property
    def folder(self):
        return setup.DATA_SETS[self.name].folder

    @property
    def files(self):
        """The training files and the test file, in the publisher's order."""
        *train, test = setup.DATA_SETS[self.name].files
        return train, test


_CIFAR10 = _Format("cifar10", (10,), CIFAR10_CLASSES)
_CIFAR100 = _Format("cifar100", (20, 100), CIFAR100_CLASSES)


def load_cifar10(root):
    """Reads `root/cifar-10-batches-bin`.

    Args:
        root: folder that holds the sets.

    Returns:
        Splits of 50,000 and 10,000 images `(n, 32, 32, 3)` uint8 in the files' order, labels `(n,)` int32; no
        validation images.

    Raises:
        DataMissing: a file is not there.
        UserError: a file cannot be read, has another size, or holds a label out of range.
    """
    return _load(_CIFAR10, root)


def load_cifar100(root):
    """Reads `root/cifar-100-binary`, with the 100 fine classes; everything else as in `load_cifar10`."""
    return _load(_CIFAR100, root)


def _load(form, root):
    root = Path(os.path.expanduser(root))
    folder = root / form.folder
    train_files, test_file = form.files
    names = [*train_files, test_file]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataMissing(
            f"{form.name}: {len(missing)} of {len(names)} files are not in {folder}: {', '.join(missing)}. "
            f"Next: {setup.command(form.name, root)} (downloads it; --from DIR takes it from a folder); or name the "
            f"folder that contains {form.folder} already: --set data.root=DIR, or NEURAL_SIMILARITY_DATA=DIR"
        )
    train = _read(form, root, train_files, form.train_records // len(train_files))
    test = _read(form, root, [test_file], form.test_records)
    return Splits(train, None, test, form.classes)


def _read(form, root, names, records_per_file):
    label_bytes = len(form.label_counts)
    images, labels = [], []
    for name in names:
        records = _records(form, root, name, records_per_file)
        images.append(records[:, label_bytes:].reshape(-1, *IMAGE_SHAPE).transpose(0, 2, 3, 1))
        labels.append(records[:, label_bytes - 1].astype(np.int32))
    # concatenate alone would keep the channel-first order in memory.
    return ImageSet(np.ascontiguousarray(np.concatenate(images)), np.concatenate(labels))


def _records(form, root, name, count):
    """One file as `(records, label bytes + 3072)` uint8, its size and labels checked."""
    path = root / form.folder / name
    size = len(form.label_counts) + math.prod(IMAGE_SHAPE)
    again = f"Delete it and run {setup.command(form.name, root)}"
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UserError(f"{path}: expected a readable file: {error.strerror or error}. {again}") from error
    if len(content) != count * size:
        raise UserError(
            f"{path}: expected {count:,} records of {size:,} bytes = {count * size:,} bytes, found {len(content):,} "
            f"({len(content) // size:,} records and {len(content) % size:,} bytes). {again}"
        )
    records = content.reshape(count, size)
    for byte, classes in enumerate(form.label_counts):
        wrong = np.flatnonzero(records[:, byte] >= classes)
        if len(wrong):
            raise UserError(
                f"{path}: expected labels from 0 to {classes - 1}, found {records[wrong[0], byte]} in byte {byte} of "
                f"record {wrong[0]}. {again}"
            )
    return records
