"""Potentials without weights whose divergences have a name."""

import keras
import tensorflow as tf

from neural_similarity.ops import pieces_all_pairs, pieces_pairs
from neural_similarity.potentials.potential import Potential


@keras.saving.register_keras_serializable("neural_similarity")
class GeneralizedKL(Potential):
    """φ(x) = Σ (x ln x − x) for positive numbers: D(x, y) = Σ (x ln(x/y) − x + y), on the simplex KL.

    Args:
        dtype, **kwargs: as for `Divergence`.
    """

    domain = "positive"

    def value_and_grad(self, x):
        """See `Potential.value_and_grad`."""
        log = tf.math.log(x)
        return tf.reduce_sum(x * log - x, -1), log

    def pairs(self, samples, references):
        """See `Divergence.pairs`: x ln(x/y) − x + y, without a difference of large numbers."""
        x, y = samples.x, references.x
        return tf.reduce_sum(x * _log_of_ratio(x, y) - (x - y), -1)


@keras.saving.register_keras_serializable("neural_similarity")
class ItakuraSaito(Potential):
    """φ(x) = −Σ ln x for positive numbers: D(x, y) = Σ (x/y − ln(x/y) − 1).

    It does not change with the unit of x and y.

    Args:
        dtype, **kwargs: as for `Divergence`.
    """

    domain = "positive"

    def value_and_grad(self, x):
        """See `Potential.value_and_grad`."""
        return -tf.reduce_sum(tf.math.log(x), -1), -1 / x

    def pairs(self, samples, references):
        """See `Divergence.pairs`: x/y − 1 − ln(x/y), without a difference of large numbers."""
        x, y = samples.x, references.x
        return tf.reduce_sum((x - y) / y - _log_of_ratio(x, y), -1)


@keras.saving.register_keras_serializable("neural_similarity")
class Logistic(Potential):
    """φ(x) = Σ (x ln x + (1 − x) ln(1 − x)) for numbers between 0 and 1: the sum of KL divergences of coin tosses.

    Args:
        dtype, **kwargs: as for `Divergence`.
    """

    domain = "unit"

    def value_and_grad(self, x):
        """See `Potential.value_and_grad`."""
        log, log_of_rest = tf.math.log(x), tf.math.log1p(-x)
        return tf.reduce_sum(x * log + (1 - x) * log_of_rest, -1), log - log_of_rest


@keras.saving.register_keras_serializable("neural_similarity")
class LogSumExp(Potential):
    """φ(x) = ln Σ exp x: D(x, y) is the KL divergence of softmax(y) and softmax(x), in this order.

    It does not see a number that is added to all of x.

    Args:
        dtype, **kwargs: as for `Divergence`.
    """

    def value_and_grad(self, x):
        """See `Potential.value_and_grad`."""
        return tf.reduce_logsumexp(x, -1), tf.nn.softmax(x)

    def describe(self, x):
        """See `Divergence.describe`: the vectors themselves."""
        return x

    def all_pairs(self, samples, references):
        """See `Divergence.all_pairs`: the KL divergence itself, without a difference of large numbers."""
        return pieces_all_pairs(samples, references, 1.0)

    def pairs(self, samples, references):
        """See `Divergence.pairs`."""
        return pieces_pairs(samples, references, 1.0)


def _log_of_ratio(x, y):
    """ln(x/y) of positive numbers, with all digits where they are nearly equal."""
    more = (x - y) / y
    near = tf.abs(more) < 0.5
    # Each form gets numbers that it has a finite gradient for, also where the other one counts.
    return tf.where(near, tf.math.log1p(tf.where(near, more, 0)), tf.math.log(tf.where(near, 1, x / y)))
