"""Reads anybody's images from folders: ROOT/{train,val,test}/CLASS/*.{png,jpg,jpeg}; `val` is optional.

Folders and files come in the order of their names, so that a set reads the same on every machine. Names with a leading
dot are ignored. What else is left out is told in one line, or refused if images would be missing without notice.
"""

import contextlib
import itertools
import logging
import os
import shlex
from pathlib import Path

import numpy as np

from neural_similarity.data.class_folders import check_distinct, class_folders, classes_of, files_of, named, tell
from neural_similarity.data.equal_images import equal_images
from neural_similarity.data.image_kinds import is_image
from neural_similarity.data.images import DataMissing, ImageSet, Splits, split_validation
from neural_similarity.data.listing import entries, folder_exists
from neural_similarity.errors import UserError

_log = logging.getLogger("neural_similarity")
# What people call a split → its name here. Only `val` may be missing, so that a `Val` must not go unnoticed.
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def load_folder(root, size, validation_fraction=0.0, seed=0):
    """Reads the images that `list_folder` finds, each as `image_files.read_image` does.

    Those of a large set stay in their files, and are read when they are chosen (`streamed.read_or_stream`). Logs how
    many images of the other splits are also training images.

    Args:
        root: the folder that holds the splits.
        size: height and width in pixels.
        validation_fraction, seed: which training images to hold out if there is no `val`; see `split_validation`.

    Returns:
        Splits with images `(n, size, size, 3)` uint8, arrays or `ImageFiles`, and labels `(n,)` int32.

    Raises:
        DataMissing: there is no set.
        UserError: the folders are not arranged as above, or an image cannot be read whole.
    """
    from neural_similarity.data.streamed import read_or_stream  # here: to list files needs no Pillow

    root = Path(root).expanduser()
    files = list_folder(root, validation_fraction, seed)
    images = read_or_stream({split: part.images for split, part in files.parts().items()}, size, root)
    parts = {split: ImageSet(images[split], part.labels) for split, part in files.parts().items()}
    splits = Splits(**{"validation": None, **parts}, classes=files.classes)
    for line in equal_images(splits):
        _log.warning("%s: %s", root, line)
    return splits


def list_folder(root, validation_fraction=0.0, seed=0):
    """Finds the images without reading them. Logs, in a line each, which files and folders were left out.

    Args:
        root, validation_fraction, seed: as in `load_folder`.

    Returns:
        Splits whose ImageSets hold paths `(n,)` in the place of images.

    Raises:
        DataMissing: there is no folder `root`, or neither `train` nor `test` in it.
        UserError: a split is missing, or has another name; a split has no class, other classes than `train`, or a class
            without images; two of the folders are one by a link; a link leads to nothing; an image lies outside of the
            classes' folders, or is of another kind; there is a `val` and also a fraction to hold out; or the fraction
            cannot be held out (see `split_validation`).
    """
    root = Path(root).expanduser()
    classes = class_names(root)
    found, files = entries(root)
    folders = {split: class_folders(root / split, classes) for split in ("train", "test", "val") if split in found}
    check_distinct([*(root / split for split in folders), *itertools.chain(*folders.values())])
    parts, others = {}, []
    for split, folders_of_split in folders.items():
        others += [root / split / name for name in entries(root / split)[1]]
        images, other_files = zip(*map(files_of, folders_of_split), strict=True)
        others += itertools.chain(*other_files)
        labels = np.repeat(np.arange(len(classes), dtype=np.int32), [len(paths) for paths in images])
        parts[split] = ImageSet(np.array([*itertools.chain(*images)], object), labels)
    if "val" in parts and validation_fraction:
        raise UserError(
            f"{root / 'val'} is the validation set, so nothing can be held out from `train`; expected "
            f"`data.validation_fraction` 0, got {validation_fraction}. Next: --set data.validation_fraction=0"
        )
    tell("left out, as they are no images", root, (path.relative_to(root) for path in others))
    outside = [name for name in found if name not in folders and _holds_images(root / name)]
    outside += [name for name in files if is_image(root / name)]
    tell("folders and images that are not read, as only `train`, `val` and `test` are", root, outside)
    if "val" in parts:
        return Splits(parts["train"], parts["val"], parts["test"], classes)
    train, validation = split_validation(parts["train"], validation_fraction, seed)
    if validation:
        lacking = [name for label, name in enumerate(classes) if label not in validation.labels]
        tell("classes too small for a validation image with this data.validation_fraction", root, lacking)
    return Splits(train, validation, parts["test"], classes)


def class_names(root):
    """The names of the classes, which are those of the folders in `root/train`, sorted.

    Raises:
        DataMissing: as `list_folder`.
        UserError: `train` or `test` is missing, or `train` does not hold two classes or more.
    """
    root = Path(root).expanduser()
    _check_splits(root)
    classes = classes_of(root / "train")
    if len(classes) == 1:
        raise UserError(
            f"{root / 'train'}: one class, `{classes[0]}`; expected two or more, as one leaves nothing to tell apart. "
            f"Next: a folder for another class beside {root / 'train' / classes[0]}"
        )
    return classes


def _check_splits(root):
    """Raises DataMissing or UserError if a split has another name, or `train` or `test` is missing."""
    expected = f"expected {root}/{{train,test}}/CLASS/*.{{png,jpg}}"
    if not folder_exists(root):
        raise DataMissing(f"folder: there is no folder {root}; {expected}. Next: --set data.root=DIR")
    found, _ = entries(root)
    for name in found:
        split = _SPLITS.get(name.lower())
        if split and split not in found:
            command = shlex.join(["mv", str(root / name), str(root / split)])
            raise UserError(f"{root / name}: this is not the name of a split; expected `{split}`. Next: {command}")
    missing = [split for split in ("train", "test") if split not in found]
    if len(missing) == 2:
        raise DataMissing(
            f"folder: {root} holds neither `train` nor `test`, but {named(found) or 'no folder'}; {expected}. "
            "Next: --set data.root=DIR"
        )
    if missing:
        command = shlex.join(["mkdir", str(root / missing[0])])
        raise UserError(f"{root}: no folder `{missing[0]}`; {expected}. Next: {command}, and fill it")


def _holds_images(folder):
    """Whether images lie in a folder or below it. At most ten thousand files are looked at."""
    files = (os.path.join(place, name) for place, _, names in os.walk(folder) for name in names if name[0] != ".")
    for file in itertools.islice(files, 10_000):
        with contextlib.suppress(OSError):  # it may not be read, and is not needed
            if is_image(file):
                return True
    return False
