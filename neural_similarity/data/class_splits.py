"""Image sets whose splits have different classes, as few-shot recognition needs them.  n images · h, w pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neural_similarity.data.checksums import crc_of_images
from neural_similarity.data.images import ImageSet, Splits
from neural_similarity.errors import UserError, nearest


@dataclass(frozen=True, eq=False)
class ClassImages:
    """The images of some classes, class by class.

    Attributes:
        images: `(n, h, w, 3)` uint8: an array in memory or mapped from a file, or `streamed.ImageFiles`.
        rows: for each class the indices of its images, `(images of the class,)` integers each.
        classes: the names of the classes, in the order of `rows`.
    """

    images: np.ndarray
    rows: tuple[np.ndarray, ...]
    classes: tuple[str, ...]

    def __len__(self):
        """The number of images in these classes."""
        return sum(map(len, self.rows))

    def image_set(self) -> ImageSet:
        """All images with their labels, which count the classes from 0. Images are read when they are chosen."""
        labels = np.repeat(np.arange(len(self.rows), dtype=np.int32), [len(rows) for rows in self.rows])
        return ImageSet(_Chosen(self.images, np.concatenate(self.rows)), labels)


class _Chosen:
    """Some images of an array, `(m, h, w, 3)`, which stay where they are: in memory or in a file."""

    def __init__(self, images, rows):
        self.images = images
        self.rows = rows
        self.shape = (len(rows), *images.shape[1:])

    def __getitem__(self, indices):
        return self.images[self.rows[indices]]


@dataclass(frozen=True, eq=False)
class ClassSplits:
    """The parts of a set, which share no class. `validation` is None if the set has no such part."""

    train: ClassImages
    test: ClassImages
    validation: ClassImages | None = None

    def parts(self) -> dict[str, ClassImages]:
        """The parts that are not None: `{"train": ClassImages, …}`, in the order train, validation, test."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}

    def facts(self) -> dict:
        """What a run must find again when it is resumed: the classes of each split, and a checksum of all images.

        Images that stay in their files are not read for it: their names and sizes in bytes stand for their pixels.
        """
        facts = {f"{split}_classes": list(part.classes) for split, part in self.parts().items()}
        crc = 0
        for part in self.parts().values():
            for rows in part.rows:
                crc = crc_of_images(part.images, rows, crc)
        return {**facts, "data_checksum": f"{crc:08x}"}


def regroup(splits: Splits, lists: Mapping[str, Sequence[str]]) -> ClassSplits:
    """Puts the training and test images of a set together, and splits them by class.

    Args:
        splits: without validation images.
        lists: as `split` of `split_by_class`.
    """
    images, labels = (
        np.concatenate([getattr(part, what) for part in (splits.train, splits.test)]) for what in ("images", "labels")
    )
    return split_by_class(images, labels, splits.classes, lists)


def split_by_class(
    images: np.ndarray, labels: np.ndarray, classes: Sequence[str], split: Mapping[str, Sequence[str]]
) -> ClassSplits:
    """Assigns the classes of a set to the splits.

    Args:
        images: `(n, h, w, 3)` uint8.
        labels: `(n,)` integers, indices into `classes`.
        classes: the names of the set's classes.
        split: `{"train": names, "validation": names, "test": names}`; "validation" may be missing.

    Raises:
        UserError: a split names a class that the set does not have, or two splits share one.
    """
    known = {name: label for label, name in enumerate(classes)}
    seen = {}
    parts = {}
    for part, names in split.items():
        for name in names:
            if name not in known:
                raise UserError(
                    f"the split `{part}` names the class `{name}`, which the images do not have.{nearest(name, known)} "
                    "Next: correct the list of classes"
                )
            if name in seen:
                raise UserError(
                    f"the class `{name}` stands in the split `{seen[name]}` and in `{part}`; expected each class in "
                    "one split. Next: correct the list of classes"
                )
            seen[name] = part
        rows = tuple(np.flatnonzero(labels == known[name]) for name in names)
        parts[part] = ClassImages(images, rows, tuple(names))
    return ClassSplits(**parts)
