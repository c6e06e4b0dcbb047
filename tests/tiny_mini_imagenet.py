"""A tiny Mini-ImageNet: five classes of three images, in all layouts in which people bring the set."""

import numpy as np
from PIL import Image

from neural_similarity.data import mini_imagenet

SPLIT = {"train": ("n00000005", "n00000001"), "validation": ("n00000002",), "test": ("n00000004", "n00000003")}
CLASSES = ("n00000005", "n00000001", "n00000002", "n00000004", "n00000003")
POSITIONS = (2, 5, 10)  # of each class's images, in the lists
EXTRA = "n00000009"  # a class of ImageNet that the set does not have


def use_tiny(monkeypatch, root):
    monkeypatch.setattr(mini_imagenet, "SPLIT", SPLIT)
    monkeypatch.setattr(mini_imagenet, "IMAGES_PER_CLASS", len(POSITIONS))
    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", str(root))


def image(name, position, shape=(84, 84)):
    """Noise that depends on the class and the position of the image in it."""
    return np.random.default_rng([int(name[1:]), position]).integers(0, 256, (*shape, 3), np.uint8)


def expected():
    """The array that every layout gives."""
    return np.stack([image(name, position) for name in CLASSES for position in POSITIONS])


def file_name(name, position):
    return f"{name}{position:08}.jpg"


def write(path, array):
    """A PNG, whatever the ending, so that the pixels are known."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, format="PNG")


def write_lists(folder):
    for file, names in zip(("train.csv", "val.csv", "test.csv"), SPLIT.values(), strict=True):
        lines = [f"{file_name(name, position)},{name}\n\n" for name in names for position in reversed(POSITIONS)]
        (folder / file).write_text("filename,label\n" + "".join(lines))


def class_folders(folder):
    for name in (*CLASSES, EXTRA):
        for position in POSITIONS:
            write(folder / name / file_name(name, position), image(name, position))


def several_trees(folder):
    """Two images of each class in `train`, one in `val`."""
    for name in CLASSES:
        for position, tree in zip(POSITIONS, ("train", "val", "train"), strict=True):
            write(folder / tree / name / file_name(name, position), image(name, position))


def one_folder(folder):
    for name in CLASSES:
        for position in POSITIONS:
            write(folder / "images" / file_name(name, position), image(name, position))
    write_lists(folder)


def imagenet(folder):
    """Eleven images of each class; ImageNet's number of the image at a position is three times the position, and one.

    As text, these numbers have another order.
    """
    for name in (*CLASSES, EXTRA):
        for position in range(1, 12):
            write(folder / "train" / name / f"{name}_{3 * position + 1}.JPEG", image(name, position))
    write_lists(folder)
