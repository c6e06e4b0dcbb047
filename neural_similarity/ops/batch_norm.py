"""Batch normalisation: `batch_norm` by the batch's own mean and variance, `batch_norm_by_averages` by given ones."""

import tensorflow as tf

from neural_similarity.ops.fused import fused

_FUSED_KERNEL_DTYPES = (tf.float16, tf.bfloat16, tf.float32)
# TensorFlow's fused kernel computes this many channels at once. It is several times slower where the number of channels
# is no multiple.
_CHANNELS_AT_ONCE = 16


def batch_norm(x, scale, offset, epsilon):
    """(x − mean) / √(variance + ε) · γ + β, with the batch's own mean and variance.

    TensorFlow's fused kernel computes it where that kernel is fast.

    Args:
        x: `(b, y, x, i)`.
        scale: γ, `(i,)`, float32 or wider.
        offset: β, `(i,)`, of the same dtype.
        epsilon: ε.

    Returns:
        The normalised `(b, y, x, i)` in the dtype of `x`; and the batch's mean and biased variance, `(i,)` each, in
        float32 or wider. Use the two for moving averages only: the fused kernel passes no gradient through them.
    """
    if x.dtype not in _FUSED_KERNEL_DTYPES or x.shape[-1] % _CHANNELS_AT_ONCE:
        return _by_moments(x, scale, offset, epsilon=epsilon)
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=offset, mean=[], variance=[], epsilon=epsilon, is_training=True
    )
    count = tf.cast(tf.size(x) // tf.size(scale), variance.dtype)
    return y, mean, variance * ((count - 1) / count)  # the kernel returns the unbiased variance: n / (n − 1) as much


@fused
def _by_moments(x, scale, offset, epsilon):
    wide = tf.cast(x, scale.dtype)
    # Not `tf.nn.moments`: it takes the mean for a constant in the variance. The gradient is right all the same, as the
    # deviations add up to 0, but the gradient of the gradient, which MAML needs, is not.
    mean = tf.reduce_mean(wide, (0, 1, 2))
    variance = tf.reduce_mean(tf.math.squared_difference(wide, mean), (0, 1, 2))
    return tf.cast(tf.nn.batch_normalization(wide, mean, variance, offset, scale, epsilon), x.dtype), mean, variance


def batch_norm_by_averages(x, scale, offset, mean, variance, epsilon):
    """(x − mean) / √(variance + ε) · γ + β, with a given mean and variance, as inference needs it.

    Args:
        x: `(b, y, x, i)`.
        scale, offset, epsilon: γ, β and ε, as for `batch_norm`.
        mean, variance: `(i,)` each, of the dtype of `scale`; in training they were averaged over many batches.

    Returns:
        `(b, y, x, i)` in the dtype of `x`.
    """
    if x.dtype not in _FUSED_KERNEL_DTYPES:
        return tf.nn.batch_normalization(x, mean, variance, offset, scale, epsilon)
    return tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=offset, mean=mean, variance=variance, epsilon=epsilon, is_training=False
    ).y
