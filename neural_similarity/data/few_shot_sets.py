"""Reads the sets of few-shot recognition: in them the classes of training, validation and test differ."""

from pathlib import Path

from neural_similarity.data.cifar import load_cifar
from neural_similarity.data.class_lists import CIFAR_FS, FC100, MINI_IMAGENET
from neural_similarity.data.class_splits import ClassSplits, regroup
from neural_similarity.data.presence import check_files_exist
from neural_similarity.data.registry import DATA_SETS
from neural_similarity.errors import UserError, nearest

_OF_CIFAR100 = {"cifar_fs": CIFAR_FS, "fc100": FC100}
_DIGITS = {"train": tuple("01234"), "test": tuple("56789")}
_DIGITS_COUNTS = {"train": (5, 901), "test": (5, 896)}
CLASS_SPLITS = (*_OF_CIFAR100, "mini_imagenet", "digits")  # the names of the sets


def load_class_splits(name: str, root: str | Path) -> ClassSplits:
    """Reads a set by name.

    `cifar_fs` and `fc100` are CIFAR-100 with its training and test images put together, 600 of each class. The images
    of `mini_imagenet` stay in their file, and are read when they are used. `digits` are those of scikit-learn: 0 to 4
    to train on and 5 to 9 to test on, without a validation split.

    Args:
        name: `cifar_fs`, `fc100`, `mini_imagenet` or `digits`.
        root: the folder that holds all sets; `digits` ignores it.

    Raises:
        DataMissing: the files are not there.
        UserError: there is no such set, or a file is damaged.
    """
    _check_name(name)
    if name == "mini_imagenet":
        from neural_similarity.data.mini_imagenet import load_mini_imagenet

        return load_mini_imagenet(root)
    if name == "digits":
        from neural_similarity.data.digits import load_digits  # here: the others need no scikit-learn

        return regroup(load_digits(), _DIGITS)
    return regroup(load_cifar("cifar100", root), _OF_CIFAR100[name])


def count_class_splits(name: str, root: str | Path) -> dict[str, tuple[int, int]]:
    """Counts the classes and the images of each split, for a dry run. No image is read.

    Args:
        name, root: as in `load_class_splits`.

    Returns:
        `{"train": (classes, images), "validation": …, "test": …}`; `digits` have no "validation".

    Raises:
        DataMissing, UserError: as `load_class_splits`.
    """
    _check_name(name)
    if name == "digits":
        return dict(_DIGITS_COUNTS)
    if name == "mini_imagenet":
        from neural_similarity.data import mini_imagenet

        mini_imagenet.read_manifest(root)
        of_class = mini_imagenet.IMAGES_PER_CLASS
        return {split: (len(names), len(names) * of_class) for split, names in mini_imagenet.SPLIT.items()}
    check_files_exist("cifar100", root)
    return {split: (len(names), DATA_SETS[name].counts[split]) for split, names in _OF_CIFAR100[name].items()}


def count_training_classes(name: str) -> int:
    """The number of training classes of a published set, whose files need not be there; `name` as above."""
    _check_name(name)
    lists = {"digits": _DIGITS, "mini_imagenet": MINI_IMAGENET, **_OF_CIFAR100}
    return len(lists[name]["train"])


def _check_name(name):
    if name not in CLASS_SPLITS:
        raise UserError(
            f"`data.name` is {name!r}; expected a set whose splits have different classes: {', '.join(CLASS_SPLITS)}."
            f"{nearest(name, CLASS_SPLITS)} Next: --set data.name=NAME"
        )
