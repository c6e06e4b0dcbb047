"""Reads anybody's images from folders: ROOT/{train,val,test}/CLASS/*.{png,jpg,jpeg}; `val` is optional.

Folders and files come in the order of their names, so that a set reads the same on every machine. Names with a leading
dot are ignored, and so are files that are not images.
"""

import os
import shlex
from pathlib import Path

import numpy as np

from neural_similarity.data.images import DataMissing, ImageSet, Splits, split_validation
from neural_similarity.errors import UserError

ENDINGS = (".png", ".jpg", ".jpeg")  # in upper case too
# Images that are not read. They are refused, because nobody would notice that they are missing.
_OTHER_IMAGES = (
    ".avif",
    ".bmp",
    ".gif",
    ".heic",
    ".heif",
    ".jfif",
    ".jp2",
    ".jpe",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)
_MOST_NAMES = 5  # that one message lists


def load_folder(root, size, validation_fraction=0.0, seed=0):
    """Reads the images that `list_folder` finds, each as `image_files.read_image` does.

    Args:
        root: the folder that holds the splits.
        size: height and width in pixels.
        validation_fraction, seed: which training images to hold out if there is no `val`; see `split_validation`.

    Returns:
        Splits with images `(n, size, size, 3)` uint8 and labels `(n,)` int32.

    Raises:
        DataMissing: there is no set.
        UserError: the folders are not arranged as above, or an image cannot be read whole.
    """
    from neural_similarity.data.image_files import read_images  # here: to list files needs no Pillow

    files = list_folder(root, validation_fraction, seed)
    parts = {
        split: ImageSet(read_images(part.images, size, split), part.labels) for split, part in files.parts().items()
    }
    return Splits(**{"validation": None, **parts}, classes=files.classes)


def list_folder(root, validation_fraction=0.0, seed=0):
    """Finds the images without reading them.

    Args:
        root, validation_fraction, seed: as in `load_folder`.

    Returns:
        Splits whose ImageSets hold paths `(n,)` in the place of images.

    Raises:
        DataMissing: there is no folder `root`, or neither `train` nor `test` in it.
        UserError: a split is missing; a split has no class, other classes than `train`, or a class without images; an
            image lies outside of the classes' folders; there is a `val` and also a fraction to hold out; or the
            fraction cannot be held out (see `split_validation`).
    """
    root = Path(root).expanduser()
    classes = class_names(root)
    train, test = (_list_split(root / split, classes) for split in ("train", "test"))
    if not (root / "val").is_dir():
        return Splits(*split_validation(train, validation_fraction, seed), test, classes)
    if validation_fraction:
        raise UserError(
            f"{root / 'val'} is the validation set, so nothing can be held out from `train`; expected "
            f"`data.validation_fraction` 0, got {validation_fraction}. Next: --set data.validation_fraction=0"
        )
    return Splits(train, _list_split(root / "val", classes), test, classes)


def class_names(root):
    """The names of the classes, which are those of the folders in `root/train`, sorted.

    Raises:
        DataMissing: as `list_folder`.
        UserError: `train` or `test` is missing, or `train` does not hold two classes or more.
    """
    root = Path(root).expanduser()
    _check_splits(root)
    classes = _classes(root / "train")
    if len(classes) == 1:
        raise UserError(
            f"{root / 'train'}: one class, `{classes[0]}`; expected two or more, as one leaves nothing to tell apart. "
            f"Next: a folder for another class beside {root / 'train' / classes[0]}"
        )
    return classes


def _check_splits(root):
    """Raises DataMissing or UserError if `train` or `test` is missing, or `val` has another name."""
    expected = f"expected {root}/{{train,test}}/CLASS/*.{{png,jpg}}"
    if not root.is_dir():
        raise DataMissing(f"folder: there is no folder {root}; {expected}. Next: --set data.root=DIR")
    found, _ = _entries(root)
    missing = [split for split in ("train", "test") if split not in found]
    if len(missing) == 2:
        raise DataMissing(
            f"folder: {root} holds neither `train` nor `test`, but {_named(found) or 'no folder'}; {expected}. "
            "Next: --set data.root=DIR"
        )
    misnamed = [name for name in ("valid", "validation") if name in found]
    if misnamed:
        command = shlex.join(["mv", str(root / misnamed[0]), str(root / "val")])
        raise UserError(f"{root / misnamed[0]}: this is not the name of a split; expected `val`. Next: {command}")
    if missing:
        command = shlex.join(["mkdir", str(root / missing[0])])
        raise UserError(f"{root}: no folder `{missing[0]}`; {expected}. Next: {command}, and fill it")


def _list_split(split, classes):
    """An ImageSet of one split, with paths `(n,)` in the place of images."""
    own = set(_classes(split))
    missing, extra = set(classes) - own, own - set(classes)
    if missing or extra:
        differences = [f"lacks {_named(missing)}"] if missing else []
        differences += [f"has {_named(extra)}, which `train` lacks"] if extra else []
        raise UserError(
            f"{split}: {' and '.join(differences)}; expected the classes of {split.parent / 'train'}. "
            "Next: make them the same, then look with --dry-run"
        )
    files = [_image_files(split / name) for name in classes]
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), [len(paths) for paths in files])
    return ImageSet(np.array([path for paths in files for path in paths], object), labels)


def _classes(split):
    """The names of the folders in a split, sorted. There must be one at least, and no image beside them."""
    classes, loose = _entries(split)
    loose = [name for name in loose if name.lower().endswith(ENDINGS + _OTHER_IMAGES)]
    if loose:
        raise UserError(
            f"{split / loose[0]}: an image outside of a class's folder; expected {split}/CLASS/{loose[0]}. "
            "Next: move all images there into the folder of their class"
        )
    odd = [name for name in classes if not name.isprintable()]
    if odd:
        raise UserError(
            f"{str(split / odd[0])!a}: a class's name is printed and written down, and this one cannot be; expected "
            "printable UTF-8. Next: rename the folder, in every split"
        )
    if not classes:
        raise UserError(
            f"{split}: no class; expected a folder of images for each: {split}/CLASS/*.{{png,jpg}}. "
            "Next: make them, then look with --dry-run"
        )
    return tuple(classes)


def _image_files(folder):
    """The paths of a class's images, sorted. There must be one at least."""
    inner, files = _entries(folder)
    if inner:
        raise UserError(
            f"{folder / inner[0]}: a folder in a class's folder; expected only images. Next: move its images up to "
            f"{folder}, or away"
        )
    paths = [folder / name for name in files if name.lower().endswith(ENDINGS)]
    unread = [name for name in files if name.lower().endswith(_OTHER_IMAGES)]
    if unread:
        raise UserError(
            f"{folder / unread[0]}: expected an image in {', '.join(ENDINGS)}. Next: convert such files to PNG, or "
            "move them away"
        )
    if not paths:
        raise UserError(
            f"{folder}: no image; expected files that end in {', '.join(ENDINGS)}, found {len(files):,} others. "
            "Next: put images there, or remove this class from every split"
        )
    return paths


def _entries(folder):
    """(names of the folders, names of the files) in a folder, both sorted. Names with a leading dot are left out."""
    with os.scandir(folder) as entries:
        visible = sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith("."))
    return [name for name, is_folder in visible if is_folder], [name for name, is_folder in visible if not is_folder]


def _named(names):
    """The first names, for a message: "`cat`, `dog` and 3 more"."""
    names = sorted(names)
    shown = ", ".join(f"`{name}`" for name in names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES:,} more"
