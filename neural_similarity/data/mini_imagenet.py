"""Reads Mini-ImageNet from the cache that `./dataset_setup.sh mini_imagenet --from DIR` builds.

The cache is `images.npy`, all images class by class, and beside it `images.json`, which says what the cache holds. The
builder writes `images.json` last. So a cache without this file is not whole.
"""

import json
from pathlib import Path

import numpy as np

from neural_similarity.data.class_lists import MINI_IMAGENET as SPLIT
from neural_similarity.data.class_splits import ClassSplits, split_by_class
from neural_similarity.data.images import DataMissing
from neural_similarity.data.listing import file_exists
from neural_similarity.data.places import setup_command
from neural_similarity.data.registry import DATA_SETS
from neural_similarity.errors import UserError
from neural_similarity.files import read_at_most

NAME = "mini_imagenet"
IMAGES_PER_CLASS = 600
IMAGE_SIZE = DATA_SETS[NAME].image_size
IMAGES, MANIFEST = "images.npy", "images.json"  # the files of the cache
_MOST_MANIFEST_BYTES = 1_000_000


def folder_of(root) -> Path:
    """The folder of the cache, below the folder that holds all sets."""
    return Path(root).expanduser() / DATA_SETS[NAME].folder


def classes() -> tuple[str, ...]:
    """The WordNet ids of the classes in the order of the cache: those of training, of validation, of test."""
    return tuple(name for names in SPLIT.values() for name in names)


def load_mini_imagenet(root: str | Path) -> ClassSplits:
    """Opens the set: 64 classes to train on, 16 to validate on, 20 to test on, 600 images each.

    Args:
        root: the folder that holds all sets.

    Returns:
        ClassSplits of images `(60000, 84, 84, 3)` uint8, which stay in the file and are read when they are used.

    Raises:
        DataMissing: the cache is not there, or was not written to its end.
        UserError: its files are damaged. Only their sizes and headers are looked at.
    """
    read_manifest(root)
    images = open_images(root)
    labels = np.repeat(np.arange(len(classes())), IMAGES_PER_CLASS)
    return split_by_class(images, labels, classes(), SPLIT)


def read_manifest(root) -> dict:
    """What `images.json` says: `classes`, `images_per_class`, `image_size`, `made_from` and `crc32` by class.

    Raises:
        DataMissing: a file of the cache is not there.
        UserError: it says something else than this version of the project expects.
    """
    folder = folder_of(root)
    missing = [name for name in (IMAGES, MANIFEST) if not file_exists(folder / name)]
    if missing:
        raise DataMissing(
            f"{NAME}: {' and '.join(missing)} not in {folder}. Next, DIR being a folder with the images: "
            f"{setup_command(NAME, root, 'DIR')} (docs/data.md says which folders it takes); or name the folder that "
            f"contains {folder.name} already: --set data.root=DIR, or NEURAL_SIMILARITY_DATA=DIR"
        )
    path = folder / MANIFEST
    try:
        manifest = json.loads(read_at_most(path, _MOST_MANIFEST_BYTES))
        found = {key: manifest[key] for key in _expected()}
        if not isinstance(manifest["made_from"], str) or set(manifest["crc32"]) != set(classes()):
            raise ValueError("it lacks the checksums of some classes")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, f"cannot be read ({error!r})", root) from error
    for key, value in _expected().items():
        if found[key] != value:
            said = "other classes, or in another order" if key == "classes" else f"`{key}` {found[key]!r}"
            raise damaged(path, f"says {said}; expected {'our list' if key == 'classes' else value}", root)
    return manifest


def _expected():
    return {"classes": list(classes()), "images_per_class": IMAGES_PER_CLASS, "image_size": IMAGE_SIZE}


def images_shape() -> tuple[int, int, int, int]:
    """The shape of the array in `images.npy`."""
    return (len(classes()) * IMAGES_PER_CLASS, IMAGE_SIZE, IMAGE_SIZE, 3)


def open_images(root) -> np.ndarray:
    """The images of the cache, `(60000, 84, 84, 3)` uint8, mapped from the file and read-only.

    Raises:
        UserError: the file cannot be read, or is not such an array in full length.
    """
    path = folder_of(root) / IMAGES
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise damaged(path, f"cannot be read as an array ({error})", root) from error
    if not isinstance(images, np.memmap) or images.dtype != np.uint8 or images.shape != images_shape():
        raise damaged(path, f"expected an array {images_shape()} of uint8", root)
    return np.asarray(images)  # no copy: without the type `memmap`, which TensorFlow does not know


def damaged(path, what, root) -> UserError:
    """The UserError about a damaged file of the cache."""
    return UserError(
        f"{NAME}: {path}: {what}. Next, to build it anew from a folder DIR with the images: "
        f"{setup_command(NAME, root, 'DIR')}"
    )
