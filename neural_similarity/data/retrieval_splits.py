"""Image sets of metric learning: a network is trained on some classes and searches images of others.

n images · s height and width in pixels
"""

import functools
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neural_similarity.data.checksums import crc_of_images
from neural_similarity.data.class_assignment import CLASS_SEED, mixed
from neural_similarity.errors import UserError


@dataclass(frozen=True, eq=False)
class RetrievalPart:
    """The images of some classes.

    Attributes:
        images: `(n, s, s, 3)` uint8, in memory, or in files that are read when they are chosen (`streamed.ImageFiles`).
            Those of files are in the form for evaluation: the short side scaled to 256/224 of s, and the middle of it.
        labels: `(n,)` int32, counting the classes from 0.
        classes: their names.
        names: n texts: the files' paths in the set's folder, or for images in memory their numbers in the whole set.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    names: tuple[str, ...]

    def __len__(self):
        """The number of images, n."""
        return len(self.labels)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """The images at `indices` `(m,)`, in their order: `(m, s, s, 3)` uint8.

        Raises:
            UserError: a file cannot be read as an image.
        """
        return self.images[np.asarray(indices)]

    @functools.cached_property
    def rows(self) -> tuple[np.ndarray, ...]:
        """For each class the indices of its images."""
        ends = np.cumsum(np.bincount(self.labels, minlength=len(self.classes)))[:-1]
        return tuple(np.split(np.argsort(self.labels, kind="stable"), ends))


@dataclass(frozen=True, eq=False)
class RetrievalSplits:
    """The parts of a set, which share no class. `validation` is None if the set has no such part.

    `origin` says in words whether the images are the publisher's own or which copy; None where there is nothing to say.
    """

    train: RetrievalPart
    test: RetrievalPart
    validation: RetrievalPart | None = None
    origin: str | None = None

    def parts(self) -> dict[str, RetrievalPart]:
        """The parts that are not None: `{"train": RetrievalPart, …}`, in the order train, validation, test."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}

    def facts(self) -> dict:
        """What a run must find again when it is resumed: the classes of each split, and a checksum.

        The checksum is of the images and labels. Images in files are not read for it: their names and sizes in bytes
        stand for their pixels.
        """
        facts = {f"{split}_classes": list(part.classes) for split, part in self.parts().items()}
        crc = 0
        for part in self.parts().values():
            crc = crc_of_images(part.images, slice(None), crc)
            crc = zlib.crc32(np.ascontiguousarray(part.labels), crc)
        return {**facts, "data_checksum": f"{crc:08x}"}


def hold_out_classes(classes: Sequence[str], fraction: float) -> tuple[list[str], list[str]]:
    """Chooses training classes for validation, always the same ones.

    Args:
        classes: the names of the training classes.
        fraction: the share to hold out, in [0, 1). The number of classes is rounded, and is one at least.

    Returns:
        (the classes that are left, those for validation), both in the order of `classes`; the latter is empty if the
        fraction is 0.

    Raises:
        UserError: the fraction is out of range, or leaves fewer than two classes to train on.
    """
    if not 0 <= fraction < 1:
        raise UserError(
            f"`data.validation_fraction` must be at least 0 and less than 1, got {fraction}. "
            "Next: --set data.validation_fraction=0.2"
        )
    count = max(round(fraction * len(classes)), 1) if fraction else 0
    if count and len(classes) - count < 2:
        raise UserError(
            f"`data.validation_fraction` = {fraction} leaves {len(classes) - count} of {len(classes)} training classes "
            "to train on; expected two or more. Next: --set data.validation_fraction=0"
        )
    held_out = set(mixed(classes, CLASS_SEED)[:count])
    return [name for name in classes if name not in held_out], [name for name in classes if name in held_out]


def check_sizes(sizes: Mapping[str, Mapping[str, int]], where: str) -> None:
    """Raises a `UserError` unless the splits can be trained and tested on.

    A class of a test may have one image: there is nothing to be found for it, so that it is not counted as a query.

    Args:
        sizes: `{split: {class: number of images}}`.
        where: the set, for messages.
    """
    if len(sizes["train"]) < 2:
        raise UserError(
            f"{where}: the split `train` has 1 class, which leaves nothing to tell apart. Next: more classes"
        )
    single = [name for name, count in sizes["train"].items() if count < 2]
    if single:
        others = f", and {len(single) - 1:,} more training classes too" if len(single) > 1 else ""
        raise UserError(
            f"{where}: the class `{single[0]}` of the split `train` has one image{others}; expected two or more, as "
            "training compares images of the same class. Next: more images, or take the class away"
        )
    for split, classes in sizes.items():
        if max(classes.values()) < 2:
            raise UserError(
                f"{where}: no class of the split `{split}` has two images; expected one at least that has, as images "
                "of the same class are searched for. Next: more images"
            )
