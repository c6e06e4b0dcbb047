"""Moving averages that start at zero, as the released code's do, and what corrects them for that."""

import numpy as np
import tensorflow as tf


def rate_of(decay):
    """1 − decay, computed in float32 at any precision, as TensorFlow 1 computed it."""
    return float(1 - np.float32(decay))


def move(average, value, decay):
    """Moves an average, a variable, by one update: m ← m + (1 − decay)(value − m)."""
    average.assign(average + (value - average) * tf.cast(rate_of(decay), value.dtype))


def debiased(average, updates, decay, before):
    """An average after so many updates, divided by 1 − decayᵗ as in Adam; `before` the first one."""
    weight = -tf.math.expm1(updates * tf.math.log1p(tf.cast(-rate_of(decay), updates.dtype)))  # 1 − decayᵗ
    started = updates > 0
    return tf.where(started, average / tf.where(started, weight, 1.0), tf.cast(before, average.dtype))
