"""Means and sums over a part of a tensor, with gradients that are finite, also where the part is empty."""

import tensorflow as tf


def masked_mean(values, mask):
    """The mean of the values where `mask` is True, a scalar; 0 where it is True nowhere.

    Args:
        values: a tensor. Of bools, the mean in float32 is the share of them that are True.
        mask: bools of the same shape.
    """
    values = tf.cast(values, tf.float32) if values.dtype == tf.bool else values
    total = tf.reduce_sum(tf.where(mask, values, 0))
    return total / tf.maximum(tf.reduce_sum(tf.cast(mask, values.dtype)), 1)


def log_one_plus_sum_exp(values, mask, axis):
    """log(1 + Σ exp(values)), summed along an axis where `mask` is True; 0 where it is True nowhere.

    Neither exp nor its sum has to fit into the dtype, as the largest term is taken out before: 1 is exp(0).

    Args:
        values: a tensor of floats.
        mask: bools of the same shape.
        axis: an integer. The result lacks this axis.
    """
    masked = tf.where(mask, values, -float("inf"))
    one = tf.zeros_like(tf.reduce_sum(values, axis, keepdims=True))
    return tf.reduce_logsumexp(tf.concat([one, masked], axis), axis)
