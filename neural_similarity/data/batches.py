"""Training batches and evaluation batches of an image set."""

import functools

import numpy as np
import tensorflow as tf

from neural_similarity.data.augment import AUGMENTATIONS
from neural_similarity.errors import remembered


def example_indices(seed: int, step: int, batch_size: int, size: int) -> np.ndarray:
    """Chooses the examples of a step's batch, out of a set of `size` examples: `(batch_size,)` integers.

    Every pass over the set has an order of its own. A batch that the end of a pass does not fill takes the rest from
    the beginning of the next pass, so that every batch is full. With 10 examples and batches of 4, step 2, which is the
    third, takes the last two of the first pass and the first two of the second.
    """
    positions = step * batch_size + np.arange(batch_size)
    passes, places = np.divmod(positions, size)
    return np.concatenate([_permutation(seed, p, size)[places[passes == p]] for p in np.unique(passes)])


@functools.lru_cache(maxsize=4)
def _permutation(seed, number, size):
    """The order of the examples in pass `number`: `(size,)` integers."""
    return np.random.default_rng((seed, number)).permutation(size)


def training_batch(image_set, seed, batch_size, augmentation):
    """Makes the function that gives the training batch of a step.

    Args:
        image_set: an ImageSet with images `(n, h, w, c)`.
        seed: integer; it decides the order of the examples and the augmentation.
        batch_size: b.
        augmentation: `"none"`, `"flip"` or `"crop_flip"`; see augment.py.

    Returns:
        `batch(step)`, which returns images `(b, h, w, c)` float32 in 0–255 and labels `(b,)` int32. It depends on the
        step alone, and `tf.data` can trace it.
    """
    augment = AUGMENTATIONS[augmentation]

    def examples(step):
        chosen = example_indices(seed, int(step), batch_size, len(image_set.labels))
        return image_set.images[chosen], image_set.labels[chosen]

    def batch(step):
        images, labels = tf.numpy_function(remembered(examples), [step], (tf.uint8, tf.int32), stateful=False)
        images = tf.ensure_shape(images, (batch_size, *image_set.images.shape[1:]))
        return tf.cast(augment(images, seed, step), tf.float32), tf.ensure_shape(labels, (batch_size,))

    return batch


def evaluation_batches(image_set, batch_size):
    """Yields all of an ImageSet in its order, in batches of the same size.

    The last batch is filled up with copies of the last example, which are not to be counted.

    Yields:
        (images `(b, h, w, c)` float32 in 0–255, labels `(b,)` int32, `(b,)` float32 that is 1 for an example to count
        and 0 for a copy).
    """
    size = len(image_set.labels)
    for start in range(0, size, batch_size):
        indices = np.arange(start, start + batch_size)
        counted = (indices < size).astype(np.float32)
        part = image_set.take(np.minimum(indices, size - 1))
        yield tf.constant(part.images, tf.float32), tf.constant(part.labels), tf.constant(counted)
