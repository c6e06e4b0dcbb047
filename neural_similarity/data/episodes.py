"""Few-shot episodes: n_way classes, k_shot labelled images of each, and n_query images of each to be recognised.

An episode is a function of the seed, the name of its stream and its number. The episodes of the stream "test" do not
depend on a run's seed, so that every run is tested on the same ones.
"""

import zlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from neural_similarity.data.augment import AUGMENTATIONS
from neural_similarity.data.class_splits import ClassImages
from neural_similarity.errors import UserError


def check_episodes(
    part: ClassImages, split: str, n_way: int, images_per_class: int, key: str = "episode.n_way"
) -> None:
    """Raises a `UserError` unless there are enough classes, and enough images in each, for an episode.

    Args:
        part: the images of a split.
        split: the name of the split, for the message.
        n_way: the number of classes in an episode.
        images_per_class: k_shot + n_query.
        key: the dotted path of the config's key that says `n_way`, for the message.
    """
    if len(part.classes) < n_way:
        raise UserError(
            f"the split `{split}` has {len(part.classes)} classes, and an episode takes {n_way}. "
            f"Next: --set {key}={max(len(part.classes), 2)}, or more classes"
        )
    sizes = [len(rows) for rows in part.rows]
    if min(sizes) < images_per_class:
        smallest = part.classes[int(np.argmin(sizes))]
        raise UserError(
            f"the class `{smallest}` of the split `{split}` has {min(sizes)} images, and an episode takes "
            f"{images_per_class} (k_shot + n_query). Next: more images, or a smaller --set episode.n_query=N"
        )


def episode_rows(
    part: ClassImages, seed: int, stream: str, number: int, n_way: int, images_per_class: int
) -> np.ndarray:
    """Chooses the classes and the images of an episode.

    Args:
        part: the images to choose from.
        seed: integer.
        stream: names an independent sequence of episodes, as "train" or "test".
        number: which episode of the stream, from 0.
        n_way: the number of classes. Their order is random, and their place in it is their label in the episode.
        images_per_class: k_shot + n_query.

    Returns:
        `(n_way, images_per_class)` indices into `part.images`; no image comes twice.
    """
    generator = np.random.default_rng((seed, zlib.crc32(stream.encode()), number))
    classes = generator.choice(len(part.rows), n_way, replace=False)
    return np.stack([generator.choice(part.rows[label], images_per_class, replace=False) for label in classes])


def training_episodes(
    part: ClassImages, seed: int, tasks: int, n_way: int, images_per_class: int, augmentation: str
) -> Callable:
    """Makes the function that gives the episodes of a training step.

    Args:
        part: the training classes.
        seed: integer; it decides the episodes and the augmentation.
        tasks: t, how many episodes a step takes.
        n_way, images_per_class: n and m, as in `episode_rows`.
        augmentation: `"none"`, `"flip"` or `"crop_flip"`; see augment.py.

    Returns:
        `batch(step)`, which returns images `(t, n, m, h, w, 3)` float32 in 0–255, the class on the second axis. It
        depends on the step alone, and `tf.data` can trace it.
    """
    augment = AUGMENTATIONS[augmentation]

    def chosen(step):
        numbers = int(step) * tasks + np.arange(tasks)
        rows = [episode_rows(part, seed, "train", number, n_way, images_per_class) for number in numbers]
        return part.images[np.concatenate(rows).ravel()]

    def batch(step):
        shape = part.images.shape[1:]
        images = tf.numpy_function(chosen, [step], tf.uint8, stateful=False)
        images = tf.ensure_shape(images, (tasks * n_way * images_per_class, *shape))
        images = tf.cast(augment(images, seed, step), tf.float32)
        return tf.reshape(images, (tasks, n_way, images_per_class, *shape))

    return batch
