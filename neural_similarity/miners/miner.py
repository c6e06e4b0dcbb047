"""What all miners have in common."""

import abc
from typing import NamedTuple

import tensorflow as tf

from neural_similarity.miners.draw import among, draw
from neural_similarity.ops import at_least_float32, dimensions


class Triplets(NamedTuple):
    """Places in a batch, one triplet for each image, which is its anchor: t = b.

    Attributes:
        anchors: `(t,)` int32, from 0 to b − 1.
        positives: `(t,)` int32, another image of the anchor's class.
        negatives: `(t,)` int32, an image of another class.
        valid: `(t,)` bool. False where the anchor's class has no other image in the batch, or where all images are of
            one class. Such a triplet has places too, but it must not count.
    """

    anchors: tf.Tensor
    positives: tf.Tensor
    negatives: tf.Tensor
    valid: tf.Tensor


class Miner(abc.ABC):
    """Chooses a positive and a negative for each image of a batch.

    The positive is any other image of the class, all with the same probability. Subclasses say which negative is
    chosen, by `log_weights`. Distances are those between the ends of vectors of length one, from 0 to 2, unless the
    distance has others to choose by. No gradient passes a miner.

    Example:
        >>> from neural_similarity.miners import RandomNegatives
        >>> miner = RandomNegatives()
        >>> miner(tf.eye(4), tf.constant([0, 0, 1, 1]), key=tf.constant([0, 1])).positives
        <tf.Tensor: shape=(4,), dtype=int32, numpy=array([1, 0, 3, 2], dtype=int32)>
    """

    # Whether `log_weights` has a meaning for distances of any kind.
    takes_any_distances = True

    def __call__(self, whole, labels, key, distances=None):
        """The `Triplets` of a batch.

        Args:
            whole: `(b, c)` vectors of length one, as `distance.whole(distance.prepare(embeddings))` returns them.
            labels: `(b,)` integers, the classes.
            key: `(2,)` integers. The same key gives the same triplets, whether XLA compiles the miner or not.
            distances: `(b, b)`, of anchors (rows) and other images, as `distance.mining_distances(…)` returns them.
                None for the distances between the ends of the vectors.

        Raises:
            ValueError: `whole` or `labels` has another shape.
        """
        whole, labels = tf.stop_gradient(at_least_float32(whole)), tf.convert_to_tensor(labels)
        if whole.shape.rank != 2 or labels.shape.rank != 1:
            raise ValueError(
                "A miner needs vectors (b, c) and labels (b,). Received the shapes "
                f"{tuple(whole.shape)} and {tuple(labels.shape)}"
            )
        positive_key, negative_key = tf.unstack(tf.random.split(tf.cast(key, tf.int32), 2, alg="philox"))
        images = tf.range(dimensions(whole)[0])
        same = labels[:, None] == labels
        positive, negative = same & (images[:, None] != images), ~same
        positives = draw(positive_key, among(positive))
        if distances is None:
            distances = tf.sqrt(tf.maximum(2 - 2 * tf.matmul(whole, whole, transpose_b=True), 0))
        elif not self.takes_any_distances:
            raise ValueError(
                f"{type(self).__name__} chooses by distances on a sphere, and this distance has others. Take "
                "SemiHard() or RandomNegatives()"
            )
        else:
            distances = tf.stop_gradient(at_least_float32(distances))
        to_positives = tf.gather(distances, positives, batch_dims=1)
        negatives = draw(negative_key, self.log_weights(distances, to_positives, negative, whole.shape[-1]))
        valid = tf.reduce_any(positive, 1) & tf.reduce_any(negative, 1)
        return Triplets(images, positives, negatives, valid)

    @abc.abstractmethod
    def log_weights(self, distances, to_positives, negative, channels):
        """The logarithm of how probable each image is as a negative, up to a constant in each row.

        Args:
            distances: `(b, b)`, of all pairs.
            to_positives: `(b,)`, of each anchor and its positive.
            negative: `(b, b)` bool, whether the second image is of another class than the first, the anchor.
            channels: c.

        Returns:
            `(b, b)`, −∞ where an image must not be chosen: at least where `negative` is False.
        """

    def get_config(self):
        """The constructor's arguments."""
        return {}


def or_any(preferred, negative):
    """The preferred negatives of each anchor, `(b, b)` bool, and all its negatives where none is preferred."""
    preferred = preferred & negative
    return tf.where(tf.reduce_any(preferred, 1, keepdims=True), preferred, negative)
