"""Batch normalisation: `batch_norm` by the batch's own mean and variance, `batch_norm_by_averages` by given ones."""

import tensorflow as tf

from neural_similarity.ops.fused import fused
from neural_similarity.ops.wide import at_least_float32

_FUSED_KERNEL_DTYPES = (tf.float16, tf.bfloat16, tf.float32)
# TensorFlow's fused kernel computes this many channels at once. It is several times slower where the number of channels
# is no multiple.
_CHANNELS_AT_ONCE = 16
_NO_THIRD = "batch_norm has first and second derivatives, but no third ones"


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
        float32 or wider. Use the two for moving averages only: the fused kernel passes no gradient through them. The
        kernel's gradient has a gradient too, as MAML needs it, but that one has none.
    """
    if x.dtype not in _FUSED_KERNEL_DTYPES or x.shape[-1] % _CHANNELS_AT_ONCE:
        return _by_moments(x, scale, offset, epsilon=epsilon)
    return _by_fused_kernel(*map(tf.convert_to_tensor, (x, scale, offset)), epsilon)


def _by_fused_kernel(x, scale, offset, epsilon):
    @tf.custom_gradient
    def normalise(x, scale, offset):
        y, mean, variance, *reserved = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=scale, offset=offset, mean=[], variance=[], epsilon=epsilon, is_training=True
        )
        count = tf.cast(tf.size(x) // tf.size(scale), variance.dtype)
        variance *= (count - 1) / count  # the kernel returns the unbiased variance: n / (n − 1) as much

        def kernel_gradient(x, scale, upstream):
            """The gradients with respect to x, γ and β."""
            spaces = {f"reserve_space_{i}": value for i, value in enumerate(reserved, 1)}
            return tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=upstream, x=x, scale=scale, **spaces, epsilon=epsilon, is_training=True
            )[:3]

        # TensorFlow has a gradient of it, of some twenty operations with a pass over memory each: five times as slow.
        @tf.custom_gradient
        def gradient(x, scale, upstream):
            found = kernel_gradient(x, scale, upstream)

            def grad(of_x, of_scale, of_offset):
                # Without this, a third derivative would take the mean and the variance for constants.
                maps = [tf.raw_ops.PreventGradient(input=each, message=_NO_THIRD) for each in (x, upstream)]
                _, *sums_of_x = kernel_gradient(maps[0], scale, of_x)
                product = tf.reduce_sum(_products_of_images(maps[1], of_x), 0)
                means = [sums / count for sums in (*found[1:], *sums_of_x, product)]
                root = tf.math.rsqrt(variance + epsilon)
                covariance = means[4] - means[0] * means[2] - means[1] * means[3]
                vectors = tf.stack([mean, root, scale, of_scale, of_offset, *means[:4], covariance])
                d_x, d_upstream = _gradient_of_gradient(*maps, of_x, vectors)
                return d_x, root * count * covariance, d_upstream

            return found, grad

        return (y, mean, variance), lambda upstream, *_: gradient(x, scale, upstream)

    return normalise(x, scale, offset)


@fused
def _products_of_images(first, second):
    """Σ first · second of each image and channel, `(b, i)` float32. XLA computes several images at once."""
    return tf.reduce_sum(at_least_float32(first) * at_least_float32(second), (1, 2))


@fused
def _gradient_of_gradient(x, upstream, of_x, vectors):
    """The gradients with respect to x and the upstream gradient g, of the gradients that `batch_norm` has.

    Those are ∂x = γ r (g − mean g − z · mean gz), ∂γ = Σ gz and ∂β = Σ g, where z = (x − mean x) · r is the normalised
    x, and r = 1/√(variance + ε). `of_x` is the gradient with respect to ∂x, and `vectors` holds, `(10, i)`: the mean of
    x, r, γ, the gradients with respect to ∂γ and ∂β, the means of gz, of g, of `of_x` · z and of `of_x`, and the
    covariance of g and `of_x` that is left when z has explained its part.
    """
    mean, root, scale, of_scale, of_offset, gz, g_mean, uz, u_mean, covariance = tf.unstack(vectors)
    z = (at_least_float32(x) - mean) * root
    g = at_least_float32(upstream) - g_mean - z * gz
    u = at_least_float32(of_x) - u_mean - z * uz
    d_x = root * (of_scale * g - scale * root * (gz * u + uz * g + covariance * z))
    d_upstream = scale * root * u + of_scale * z + of_offset
    return tf.cast(d_x, x.dtype), tf.cast(d_upstream, upstream.dtype)


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
