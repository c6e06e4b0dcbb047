"""Reads the data sets by name. Light: NumPy only until a set is asked for that needs more."""

from neural_similarity.data.images import ImageSet, Splits, split_validation
from neural_similarity.errors import UserError, nearest

__all__ = ["DATA_SETS", "ImageSet", "Splits", "class_names", "load", "split_validation"]

DATA_SETS = ("cifar10", "cifar100", "digits")


def load(name, root=None, validation_fraction=0.0, seed=0):
    """Reads a data set.

    Args:
        name: one of DATA_SETS.
        root: folder that holds the sets, as dataset_setup.sh fills it; None is the one that it fills by default. Digits
            are embedded and ignore it.
        validation_fraction: share of the training images to hold out, in [0, 1).
        seed: integer that picks the held-out images.

    Returns:
        Splits with images `(n, 32, 32, 3)` uint8 and labels `(n,)` int32.

    Raises:
        DataMissing: files are not there (neural_similarity.data.cifar; a UserError).
        UserError: unknown name, damaged files, or a fraction that cannot be held out.
    """
    if name == "digits":
        from neural_similarity.data.digits import load_digits

        splits = load_digits()
    elif name in DATA_SETS:
        from neural_similarity.data import cifar, setup

        root = setup.default_root() if root is None else root
        splits = {"cifar10": cifar.load_cifar10, "cifar100": cifar.load_cifar100}[name](root)
    else:
        raise UserError(
            f"`data.name` is {name!r}; expected one of {', '.join(DATA_SETS)}.{nearest(name, DATA_SETS)} "
            f"Next: --set data.name=NAME"
        )
    train, validation = split_validation(splits.train, validation_fraction, seed)
    return Splits(train, validation, splits.test, splits.classes)


def class_names(name):
    """The names of a data set's classes, without reading it."""
    from neural_similarity.data import cifar

    return {"cifar10": cifar.CIFAR10_CLASSES, "cifar100": cifar.CIFAR100_CLASSES, "digits": tuple("0123456789")}[name]
