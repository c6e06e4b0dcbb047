"""Batch normalisation on TensorFlow's fused kernel, with the statistics it computed on the way."""

import tensorflow as tf

from neural_similarity.ops.fused import fused

_FUSED = (tf.float16, tf.bfloat16, tf.float32)
_VECTOR = 16  # float32 numbers; the fused kernel is several times slower on channels that do not fill them


def batch_norm(x, scale, offset, epsilon):
    """Normalises by the batch's own mean and variance.

    Args:
        x: `(b, y, x, i)`.
        scale, offset: `(i,)`, γ and β, float32 or wider.
        epsilon: added to the variance.

    Returns:
        The normalised `(b, y, x, i)` in the dtype of `x`, and the batch's mean and biased variance, `(i,)` each in
        float32 or wider. They are for averages: no gradient flows back through them from the fused kernel.
    """
    if x.dtype not in _FUSED or x.shape[-1] % _VECTOR:
        return _by_moments(x, scale, offset, epsilon=epsilon)
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=offset, mean=[], variance=[], epsilon=epsilon, is_training=True
    )
    count = tf.cast(tf.size(x) // tf.size(scale), variance.dtype)
    return y, mean, variance * ((count - 1) / count)  # the kernel returns n / (n − 1) of the batch's variance


@fused
def _by_moments(x, scale, offset, epsilon):
    wide = tf.cast(x, scale.dtype)
    mean, variance = tf.nn.moments(wide, (0, 1, 2))
    return tf.cast(tf.nn.batch_normalization(wide, mean, variance, offset, scale, epsilon), x.dtype), mean, variance


def normalize(x, scale, offset, mean, variance, epsilon):
    """Normalises `(b, y, x, i)` by a given mean and variance, `(i,)` each; keeps the dtype of `x`."""
    if x.dtype not in _FUSED:
        return tf.nn.batch_normalization(x, mean, variance, offset, scale, epsilon)
    return tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=offset, mean=mean, variance=variance, epsilon=epsilon, is_training=False
    ).y
