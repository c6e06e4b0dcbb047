"""Sets of labelled images, and how a training set is split.  n images · h, w pixels."""

import math
import zlib
from dataclasses import dataclass

import numpy as np

from neural_similarity.data.checksums import crc_of_images
from neural_similarity.errors import UserError


class DataMissing(UserError):
    """Files of a data set are not there.

    It has a class of its own because a dry run goes on without data, and stops at every other mistake.
    """


@dataclass(frozen=True, eq=False)  # arrays do not compare to one truth value
class ImageSet:
    """Labelled images: `images` `(n, h, w, 3)` uint8, `labels` `(n,)` int32.

    The images are an array; or, if they are too many for the memory, `streamed.ImageFiles`, which are indexed alike.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self):
        """The number of images, n."""
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "ImageSet":
        """The ImageSet of the images at `indices` `(m,)`, in their order."""
        return ImageSet(self.images[indices], self.labels[indices])


@dataclass(frozen=True, eq=False)
class Splits:
    """The parts of a data set. `validation` is None if nothing is held out; `classes[label]` is the name of a class."""

    train: ImageSet
    validation: ImageSet | None
    test: ImageSet
    classes: tuple[str, ...]

    def parts(self) -> dict[str, ImageSet]:
        """The parts that are not None: `{"train": ImageSet, …}`, in the order train, validation, test."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}

    def checksum(self) -> str:
        """The CRC-32 of all images and labels, 8 hex digits. It changes with a pixel, a label, an order or a split.

        Images that stay in their files are not read for it: their names and sizes in bytes stand for their pixels.
        """
        crc = 0
        for part in self.parts().values():
            crc = crc_of_images(part.images, crc=crc)
            crc = zlib.crc32(np.ascontiguousarray(part.labels), crc)
        return f"{crc:08x}"

    def facts(self) -> dict:
        """What a run must find again when it is resumed: `{"classes": [names], "data_checksum": "8 hex digits"}`."""
        return {"classes": list(self.classes), "data_checksum": self.checksum()}


def split_validation(train, fraction, seed):
    """Holds out a part of the training images, the same share of every class.

    Args:
        train: an ImageSet.
        fraction: the share to hold out, in [0, 1).
        seed: integer; the same seed gives the same split.

    Returns:
        (the training images that are left, the validation images), two ImageSets in the order of `train`; or
        (train, None) if `fraction` is 0.

    Raises:
        UserError: the fraction is out of range, a side would have fewer images than there are classes, or a class has
            one image alone.
    """
    if not 0 <= fraction < 1:
        raise UserError(
            f"`data.validation_fraction` must be at least 0 and less than 1, got {fraction}. "
            f"Next: --set data.validation_fraction=0.1"
        )
    if fraction == 0:
        return train, None
    counts = np.unique(train.labels, return_counts=True)[1]
    if not _can_hold_out(fraction, counts):
        n, held_out = len(train), math.ceil(fraction * len(train))
        others = [other for other in (0.1, 0.2, 0.3, 0.4, 0.5) if _every_class_on_both_sides(train, other, seed)]
        raise UserError(
            f"`data.validation_fraction` = {fraction} splits {n} images into {n - held_out} and {held_out}; each side "
            f"needs at least one of each of the {len(counts)} classes, and the smallest class has {counts.min()}. "
            f"Next: {'' if others else 'more images, or '}--set data.validation_fraction={others[0] if others else 0}"
        )
    return stratified_split(train, fraction, seed)


def _can_hold_out(fraction, counts):
    """Whether both sides can have an image for each class; `counts` are the numbers of images of the classes."""
    n = counts.sum()
    held_out = math.ceil(fraction * n)
    return min(held_out, n - held_out) >= len(counts) and counts.min() >= 2


def _every_class_on_both_sides(train, fraction, seed):
    counts = np.unique(train.labels, return_counts=True)[1]
    if not _can_hold_out(fraction, counts):
        return False
    sides = stratified_split(ImageSet(train.labels, train.labels), fraction, seed)
    return all(len(np.unique(side.labels)) == len(counts) for side in sides)


def stratified_split(images, fraction, seed):
    """Splits an ImageSet in two: (the rest, `fraction` of every class). Both keep the order of `images`."""
    from sklearn.model_selection import train_test_split  # here: reading CIFAR needs no scikit-learn

    rest, chosen = train_test_split(
        np.arange(len(images)), test_size=fraction, stratify=images.labels, random_state=seed
    )
    return images.take(np.sort(rest)), images.take(np.sort(chosen))
