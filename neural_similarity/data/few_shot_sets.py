"""Reads the sets of few-shot recognition: in them the classes of training, validation and test differ."""

from pathlib import Path

import numpy as np

from neural_similarity.data.cifar import load_cifar
from neural_similarity.data.class_lists import CIFAR_FS, FC100
from neural_similarity.data.class_splits import ClassSplits, split_by_class

_OF_CIFAR100 = {"cifar_fs": CIFAR_FS, "fc100": FC100}
_DIGITS = {"train": tuple("01234"), "test": tuple("56789")}


def load_class_splits(name: str, root: str | Path) -> ClassSplits:
    """Reads a set by name.

    `cifar_fs` and `fc100` are CIFAR-100 with its training and test images put together, 600 of each class. `digits`
    are those of scikit-learn: 0 to 4 to train on and 5 to 9 to test on, without a validation split.

    Args:
        name: `cifar_fs`, `fc100` or `digits`.
        root: the folder that holds all sets; `digits` ignores it.

    Raises:
        DataMissing: the files are not there.
        UserError: a file is damaged.
    """
    if name == "digits":
        from neural_similarity.data.digits import load_digits  # here: the others need no scikit-learn

        splits, lists = load_digits(), _DIGITS
    else:
        splits, lists = load_cifar("cifar100", root), _OF_CIFAR100[name]
    images, labels = (
        np.concatenate([getattr(part, what) for part in (splits.train, splits.test)]) for what in ("images", "labels")
    )
    return split_by_class(images, labels, splits.classes, lists)
