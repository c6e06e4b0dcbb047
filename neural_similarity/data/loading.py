"""Reads the data sets of the registry by name. A reader, with the packages it needs, is imported when it is used."""

import argparse
from pathlib import Path

from neural_similarity.data.images import Splits, split_validation
from neural_similarity.data.places import default_root, typed_path
from neural_similarity.data.presence import check_files_exist
from neural_similarity.data.registry import DATA_SETS
from neural_similarity.errors import UserError, nearest


def load(
    name: str, root: str | Path | None = None, validation_fraction: float = 0.0, seed: int = 0, image_size: int = 32
) -> Splits:
    """Reads a data set.

    Args:
        name: one of the names in `registry.DATA_SETS` whose splits have the same classes. The others are read by
            `few_shot_sets.load_class_splits` and `retrieval_sets.load_retrieval_set`.
        root: the folder that holds all sets, as dataset_setup.sh fills it. None is the folder that it fills by default.
            For `folder` it is the folder of the set itself. `digits` has no files, and ignores it.
        validation_fraction: share of the training images to hold out as validation images, in [0, 1).
        seed: integer; it decides which images are held out.
        image_size: height and width in pixels, for `folder`. The other sets have the size that the registry states.

    Returns:
        Splits with images `(n, h, w, 3)` uint8 and labels `(n,)` int32.

    Raises:
        DataMissing: the set's files are not there (`neural_similarity.data.images`; a UserError).
        UserError: there is no such set, a file is damaged, or the fraction cannot be held out.
    """
    _check_name(name)
    if name == "folder":
        from neural_similarity.data.folder import load_folder

        return load_folder(_root(root), image_size, validation_fraction, seed)
    if name == "digits":
        from neural_similarity.data.digits import load_digits

        splits = load_digits()
    elif name in ("mnist", "fashion_mnist"):
        from neural_similarity.data.idx import load_idx

        splits = load_idx(name, _root(root))
    else:
        from neural_similarity.data.cifar import load_cifar

        splits = load_cifar(name, _root(root))
    train, validation = split_validation(splits.train, validation_fraction, seed)
    return Splits(train, validation, splits.test, splits.classes)


def count_images(
    name: str, root: str | Path | None = None, validation_fraction: float = 0.0, seed: int = 0
) -> dict[str, int]:
    """Counts the images of each split, for a dry run.

    The images are not read, with one exception: to hold out validation images from a set other than `folder`, its
    labels have to be known, and so it is read.

    Args:
        name, root, validation_fraction, seed: as in `load`.

    Returns:
        `{"train": n, "validation": n, "test": n}`, without "validation" if nothing is held out.

    Raises:
        DataMissing, UserError: as `load`.
    """
    _check_name(name)
    if name == "folder":
        from neural_similarity.data.folder import list_folder

        splits = list_folder(_root(root), validation_fraction, seed)
    elif validation_fraction:
        splits = load(name, root, validation_fraction, seed)
    else:
        if name != "digits":
            check_files_exist(name, _root(root))
        return dict(DATA_SETS[name].counts)
    return {split: len(part) for split, part in splits.parts().items()}


def class_names(name: str, root: str | Path | None = None) -> tuple[str, ...]:
    """The names of a data set's classes, in the order of the labels, without reading an image.

    Raises:
        DataMissing, UserError: as `load`, but files are looked at for `folder` alone.
    """
    _check_name(name)
    if name == "folder":
        from neural_similarity.data import folder

        return folder.class_names(_root(root))
    return DATA_SETS[name].classes


def _check_name(name):
    known = [name for name, entry in DATA_SETS.items() if not entry.class_splits]
    if name not in known:
        other = ""
        if name in DATA_SETS:
            other = f", a set for {DATA_SETS[name].serves()}, whose splits have different classes"
        raise UserError(
            f"`data.name` is {name!r}{other}; expected one of {', '.join(known)}.{nearest(name, known)} "
            f"Next: --set data.name=NAME"
        )


def _root(root):
    try:
        return default_root() if root is None else typed_path(root)
    except argparse.ArgumentTypeError as error:
        raise UserError(f"the folder of the data: {error}. Name another.") from None
