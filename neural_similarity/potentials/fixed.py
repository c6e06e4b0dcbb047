"""Potentials without weights whose divergences have a name."""

import keras
import tensorflow as tf

from neural_similarity.potentials.potential import Potential


@keras.saving.register_keras_serializable("neural_similarity")
class GeneralizedKL(Potential):
    """φ(x) = Σ x ln x − x for positive numbers: D(x, y) = Σ x ln(x/y) − x + y, on the simplex the KL divergence.

    Args:
        dtype, **kwargs: as for `Divergence`.
    """

    domain = "positive"

    def value_and_grad(self, x):
        """See `Potential.value_and_grad`."""
        log = tf.math.log(x)
        return tf.reduce_sum(x * log - x, -1), log


@keras.saving.register_keras_serializable("neural_similarity")
class ItakuraSaito(Potential):
    """φ(x) = −Σ ln x for positive numbers: D(x, y) = Σ x/y − ln(x/y) − 1. It does not change with the unit of x and y.

    Args:
        dtype, **kwargs: as for `Divergence`.
    """

    domain = "positive"

    def value_and_grad(self, x):
        """See `Potential.value_and_grad`."""
        return -tf.reduce_sum(tf.math.log(x), -1), -1 / x


@keras.saving.register_keras_serializable("neural_similarity")
class Logistic(Potential):
    """φ(x) = Σ x ln x + (1 − x) ln(1 − x) for numbers between 0 and 1: the sum of KL divergences of coin tosses.

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
