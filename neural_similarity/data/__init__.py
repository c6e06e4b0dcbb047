"""Reads the data sets by name. Light: NumPy only until a set is asked for that needs more."""

from neural_similarity.data.images import ImageSet, Splits, split_validation
from neural_similarity.errors import UserError, nearest

__all__ = ["DATA_SETS", "ImageSet", "Splits", "class_names", "count_images", "load", "split_validation"]

DATA_SETS = ("cifar10", "cifar100", "digits", "folder")


def load(name, root=None, validation_fraction=0.0, seed=0, image_size=32):
    """Reads a data set.

    Args:
        name: one of DATA_SETS.
        root: folder that holds the sets, as dataset_setup.sh fills it; None is the one that it fills by default. For
            `folder` it is the set itself. Digits are embedded and ignore it.
        validation_fraction: share of the training images to hold out, in [0, 1).
        seed: integer that picks the held-out images.
        image_size: height and width, for `folder`; all others are 32×32.

    Returns:
        Splits with images `(n, image_size, image_size, 3)` uint8 and labels `(n,)` int32.

    Raises:
        DataMissing: files are not there (neural_similarity.data.images; a UserError).
        UserError: unknown name, damaged files, or a fraction that cannot be held out.
    """
    _check_name(name)
    if name == "folder":
        from neural_similarity.data.folder import load_folder

        return load_folder(_root(root), image_size, validation_fraction, seed)
    if name == "digits":
        from neural_similarity.data.digits import load_digits

        splits = load_digits()
    else:
        from neural_similarity.data import cifar

        splits = {"cifar10": cifar.load_cifar10, "cifar100": cifar.load_cifar100}[name](_root(root))
    train, validation = split_validation(splits.train, validation_fraction, seed)
    return Splits(train, validation, splits.test, splits.classes)


def count_images(name, root=None, validation_fraction=0.0, seed=0):
    """The number of images in each split, `{"train": n, …}`: a folder's are found and not read.

    Raises:
        DataMissing, UserError: as `load`.
    """
    if name == "folder":
        from neural_similarity.data.folder import list_folder

        splits = list_folder(_root(root), validation_fraction, seed)
    else:
        splits = load(name, root, validation_fraction, seed)
    return {split: len(part) for split, part in splits.parts().items()}


def class_names(name, root=None):
    """The names of a data set's classes, without reading it.

    Raises:
        DataMissing, UserError: as `load`, for a `folder` alone.
    """
    _check_name(name)
    if name == "folder":
        from neural_similarity.data import folder

        return folder.class_names(_root(root))
    from neural_similarity.data import cifar

    return {"cifar10": cifar.CIFAR10_CLASSES, "cifar100": cifar.CIFAR100_CLASSES, "digits": tuple("0123456789")}[name]


def _check_name(name):
    if name not in DATA_SETS:
        raise UserError(
            f"`data.name` is {name!r}; expected one of {', '.join(DATA_SETS)}.{nearest(name, DATA_SETS)} "
            f"Next: --set data.name=NAME"
        )


def _root(root):
    from neural_similarity.data import setup

    return setup.default_root() if root is None else root
