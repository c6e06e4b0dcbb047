"""Training batches and evaluation batches of an image set."""

import functools

import numpy as np
import tensorflow as tf

from neural_similarity.data.augment import crop_flip, flip


def example_rows(seed, step, batch_size, size):
    """Which of `size` examples batch `step` holds: `(b,)` integers.

    Every pass over the set has its own permutation, and batches run across its end, so that all are full.
    """
    positions = step * batch_size + np.arange(batch_size)
    passes, places = np.divmod(positions, size)
    return np.concatenate([_permutation(seed, p, size)[places[passes == p]] for p in np.unique(passes)])


@functools.lru_cache(maxsize=4)
def _permutation(seed, number, size):
    return np.random.default_rng((seed, number)).permutation(size)


def training_batch(image_set, seed, batch_size, augmentation):
    """Returns `batch(step) → (images, labels)`, a pure function of the step that `tf.data` can trace.

    Images are `(b, h, w, c)` float32 in 0–255, labels `(b,)` int32; `augmentation` is `"none"`, `"flip"` or
    `"crop_flip"`.
    """
    augment = {"none": lambda images, seed, step: images, "flip": flip, "crop_flip": crop_flip}[augmentation]

    def rows(step):
        chosen = example_rows(seed, int(step), batch_size, len(image_set.labels))
        return image_set.images[chosen], image_set.labels[chosen]

    def batch(step):
        images, labels = tf.numpy_function(rows, [step], (tf.uint8, tf.int32), stateful=False)
        images = tf.ensure_shape(images, (batch_size, *image_set.images.shape[1:]))
        return tf.cast(augment(images, seed, step), tf.float32), tf.ensure_shape(labels, (batch_size,))

    return batch


def evaluation_batches(image_set, batch_size):
    """Yields (images, labels, counted): all of the set in order, the last batch filled up with examples not counted."""
    size = len(image_set.labels)
    for start in range(0, size, batch_size):
        rows = np.arange(start, start + batch_size)
        counted = (rows < size).astype(np.float32)
        rows = np.minimum(rows, size - 1)
        yield tf.constant(image_set.images[rows], tf.float32), tf.constant(image_set.labels[rows]), tf.constant(counted)
