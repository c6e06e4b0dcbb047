"""Moving averages that start at zero, as the released code's do, and the correction for that start."""

import numpy as np
import tensorflow as tf


def rate_of(decay):
    """1 − decay, computed in float32 at any precision, as TensorFlow 1 computed it."""
    return float(1 - np.float32(decay))


def update(average, value, decay):
    """Takes one value into an average, which is a variable: m ← m + (1 − decay)(value − m)."""
    average.assign(average + (value - average) * tf.cast(rate_of(decay), value.dtype))


def debiased(average, updates, decay, initial):
    """Corrects an average for its start at zero: divides it by 1 − decayᵗ, as Adam does.

    After one update with decay 0.99 the average is a hundredth of the value that it saw. Divided by 1 − 0.99 it is that
    value.

    Args:
        average: the average, any shape.
        updates: t, the number of updates so far, a float scalar.
        decay: of the average.
        initial: what to return before the first update, when there is nothing to correct.

    Returns:
        A tensor of the shape and dtype of `average`.
    """
    weight = -tf.math.expm1(updates * tf.math.log1p(tf.cast(-rate_of(decay), updates.dtype)))  # 1 − decayᵗ
    started = updates > 0
    return tf.where(started, average / tf.where(started, weight, 1.0), tf.cast(initial, average.dtype))
