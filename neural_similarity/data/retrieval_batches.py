"""Training batches of metric learning: some classes, and the same number of images of each.

b images, `classes_per_batch` · `images_per_class` · s height and width in pixels
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from neural_similarity.data.augment import AUGMENTATIONS
from neural_similarity.data.balanced import balanced_rows
from neural_similarity.data.checksums import is_streamed
from neural_similarity.data.random_crops import resized_crops
from neural_similarity.data.retrieval_splits import RetrievalPart
from neural_similarity.errors import UserError, remembered

OF_FILES = ("none", "resized_crop")  # augmentations of images that are read from files when they are chosen


def training_batch(
    part: RetrievalPart,
    seed: int,
    classes_per_batch: int,
    images_per_class: int,
    with_replacement: bool,
    augmentation: str,
    own: slice = slice(None),
) -> Callable:
    """Makes the function that gives the training batch of a step.

    Args:
        part: the training classes.
        seed: integer; it decides the classes, the images and the augmentation.
        classes_per_batch, images_per_class, with_replacement: as in `balanced.balanced_rows`.
        augmentation: of images in memory `"none"`, `"flip"` or `"crop_flip"` (augment.py); of images in files `"none"`,
            which is the form for evaluation, or `"resized_crop"` (random_crops.py).
        own: which images of a batch this process will use (`Replicas.own_part`). Of images in files the others are not
            read, and are 0.

    Returns:
        `batch(step)`, which returns images `(b, s, s, 3)` float32 in 0–255 and labels `(b,)` int32. It depends on the
        step alone, and `tf.data` can trace it.

    Raises:
        UserError: the augmentation is not for these images, or there are fewer classes than a batch takes.
    """
    streamed = is_streamed(part.images)
    check_augmentation(augmentation, streamed)
    if not with_replacement:
        check_classes_per_batch(classes_per_batch, len(part.classes))
    size = classes_per_batch * images_per_class
    augment = AUGMENTATIONS["none" if streamed else augmentation]

    def examples(step):
        step = int(step)
        chosen = balanced_rows(part.rows, seed, step, classes_per_batch, images_per_class, with_replacement)
        images = np.zeros((size, *part.images.shape[1:]), np.uint8)
        if augmentation == "resized_crop":
            images[own] = part.images.read(chosen[own], resized_crops(seed, step, size)[own])
        else:
            images[own] = part.read(chosen[own])
        return images, part.labels[chosen]

    def batch(step):
        images, labels = tf.numpy_function(remembered(examples), [step], (tf.uint8, tf.int32), stateful=False)
        images = tf.ensure_shape(images, (size, *part.images.shape[1:]))
        return tf.cast(augment(images, seed, step), tf.float32), tf.ensure_shape(labels, (size,))

    return batch


def check_augmentation(augmentation: str, streamed: bool) -> None:
    """Raises a `UserError` unless images that are in files (`streamed`) or in memory can be augmented so."""
    known = OF_FILES if streamed else tuple(AUGMENTATIONS)
    if augmentation not in known:
        place = "are read from their files" if streamed else "have one small size"
        raise UserError(
            f"`data.augmentation` is {augmentation!r}, and the images {place}; expected {' or '.join(known)}. "
            f"Next: --set data.augmentation={known[-1]}"
        )


def check_classes_per_batch(classes_per_batch: int, count: int) -> None:
    """Raises a `UserError` if a batch takes more different classes than there are."""
    if classes_per_batch > count:
        raise UserError(
            f"`data.classes_per_batch` is {classes_per_batch:,}, and the split `train` has {count:,} classes; expected "
            "at most as many, as without replacement a batch has different ones. "
            f"Next: --set data.classes_per_batch={count}"
        )
