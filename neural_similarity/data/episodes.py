"""Few-shot episodes: n_way classes, k_shot labelled images of each, and n_query images of each to be recognised.

An episode is a function of the seed, the name of its stream and its number. The episodes of the stream "test" do not
depend on a run's seed, so that every run is tested on the same ones.
"""

import zlib
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from neural_similarity.data.augment import AUGMENTATIONS
from neural_similarity.data.class_splits import ClassImages
from neural_similarity.errors import UserError, remembered


def check_classes(split: str, count: int, needed: int, key: str) -> None:
    """Raises a `UserError` unless a split has enough classes.

    Args:
        split: its name, for the message.
        count: how many classes it has.
        needed: how many are needed.
        key: the dotted path of the config's key that says so.
    """
    if count < needed:
        classes = "1 class" if count == 1 else f"{count} classes"
        fewer = f"--set {key}={count}, or " if count >= 2 else ""
        raise UserError(
            f"the split `{split}` has {classes}, and `{key}` is {needed}. Next: {fewer}more classes in this split"
        )


def check_images(split: str, sizes: Mapping[str, int], k_shot: int, n_query: int) -> None:
    """Raises a `UserError` unless every class of a split has enough images for an episode.

    Args:
        split: its name, for the message.
        sizes: the number of images of each class.
        k_shot, n_query: how many support images and queries an episode takes of a class.
    """
    smallest = min(sizes, key=sizes.get)
    if sizes[smallest] < k_shot + n_query:
        fewer = "a smaller --set episode.k_shot=N"
        if sizes[smallest] > k_shot:
            fewer = f"--set episode.n_query={sizes[smallest] - k_shot}"
        raise UserError(
            f"the class `{smallest}` of the split `{split}` has {sizes[smallest]} images, and an episode takes "
            f"{k_shot + n_query} (k_shot + n_query). Next: more images, or {fewer}"
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
        images = tf.numpy_function(remembered(chosen), [step], tf.uint8, stateful=False)
        images = tf.ensure_shape(images, (tasks * n_way * images_per_class, *shape))
        images = tf.cast(augment(images, seed, step), tf.float32)
        return tf.reshape(images, (tasks, n_way, images_per_class, *shape))

    return batch
