"""Batch normalisation: `batch_norm` by the batch's own mean and variance, `batch_norm_by_averages` by given ones."""

import functools

import tensorflow as tf

from neural_similarity.ops.fused import fused
from neural_similarity.ops.wide import at_least_float32

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
    return _by_fused_kernel(*map(tf.convert_to_tensor, (x, scale, offset)), epsilon)


def _by_fused_kernel(x, scale, offset, epsilon):
    @tf.custom_gradient
    def normalise(x, scale, offset):
        y, mean, variance, *reserved = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=scale, offset=offset, mean=[], variance=[], epsilon=epsilon, is_training=True
        )
        count = tf.cast(tf.size(x) // tf.size(scale), variance.dtype)
        variance *= (count - 1) / count  # the kernel returns the unbiased variance: n / (n − 1) as much
        known = mean, variance, count, *reserved
        return (y, mean, variance), lambda upstream, *_: _gradient(x, scale, upstream, known, epsilon)

    return normalise(x, scale, offset)


# The gradient of that, and the gradient of the gradient, and so on. `known` is what the kernel has computed of x: the
# mean, the biased variance, how many numbers a channel has, and what it reserves for its gradient. TensorFlow has a
# second gradient, too, of some twenty operations that each pass over memory. Ours has three, and a step of second-order
# MAML takes a quarter less time with it (docs/performance.md).


def _gradient(x, scale, upstream, known, epsilon):
    """The gradients with respect to x, γ and β."""

    @tf.custom_gradient
    def gradient(x, scale, upstream):
        x, scale, upstream, *here = _in_this_graph(x, scale, upstream, *known)
        spaces = {f"reserve_space_{i}": value for i, value in enumerate(here[3:], 1)}
        found = tf.raw_ops.FusedBatchNormGradV3(
            y_backprop=upstream, x=x, scale=scale, **spaces, epsilon=epsilon, is_training=True
        )[:3]
        return found, functools.partial(_second_gradient, x, scale, upstream, tuple(found[1:]), here, epsilon)

    return gradient(x, scale, upstream)


def _second_gradient(x, scale, upstream, sums, known, epsilon, of_x, of_scale, of_offset):
    """The gradients with respect to x, γ and the upstream gradient of a function of what `_gradient` returns.

    `sums` are the gradients with respect to γ and β that it has returned, and the last three arguments the gradients
    with respect to all that it has returned.
    """
    mean, variance = _mean_and_variance(x, known)
    count, root = known[2], tf.math.rsqrt(variance + epsilon)
    gz, g = (total / count for total in _sums(x, scale, upstream, sums, known, epsilon))
    uz, u = (total / count for total in _gradient(x, scale, of_x, known, epsilon)[1:])
    gu = tf.reduce_sum(_sums_of_products(upstream, of_x), 0) / count
    rest = gu - g * u - gz * uz
    vectors = tf.stack([mean, root, scale, of_scale, of_offset, gz, g, uz, u, rest])
    d_x, d_upstream = _gradient_of_gradient(x, upstream, of_x, vectors)
    return d_x, root * count * rest, d_upstream


def _mean_and_variance(x, known):
    """The mean and the variance, which are known, with their gradients."""

    @tf.custom_gradient
    def statistics(x):
        x, *here = _in_this_graph(x, *known)
        mean, variance, count, *_ = here

        def grad(of_mean, of_variance):
            deviations = at_least_float32(x) - _mean_and_variance(x, here)[0]
            return tf.cast((of_mean + 2 * of_variance * deviations) / count, x.dtype)

        return (mean, variance), grad

    return statistics(x)


def _sums(x, scale, upstream, sums, known, epsilon):
    """The gradients with respect to γ and β, which are known, with their gradients."""

    @tf.custom_gradient
    def both(x, scale, upstream):
        x, scale, upstream, first, second, *here = _in_this_graph(x, scale, upstream, *sums, *known)
        found = first, second

        def grad(of_scale, of_offset):
            return _second_gradient(x, scale, upstream, found, here, epsilon, tf.zeros_like(x), of_scale, of_offset)

        return found, grad

    return both(x, scale, upstream)


def _in_this_graph(*tensors):
    """The tensors in the graph that is being built. A gradient that uses those of another graph cannot be called."""
    return map(tf.identity, tensors)


@fused
def _sums_of_products(first, second):
    """Σ first · second of each image and channel, `(b, i)` float32. XLA computes several images at once."""
    return tf.reduce_sum(at_least_float32(first) * at_least_float32(second), (1, 2))


@fused
def _gradient_of_gradient(x, upstream, of_x, vectors):
    """(∂L/∂x, ∂L/∂g) of a function L of the gradients that `batch_norm` has.

    With z = (x − mean x) · r, the normalised x, and r = 1/√(variance + ε), those gradients are

        ∂x = γ r (g − mean g − z · mean gz),    ∂γ = Σ gz,    ∂β = Σ g.

    Args:
        x: `(b, y, x, i)`.
        upstream: g, of the same shape.
        of_x: u = ∂L/∂(∂x), of the same shape.
        vectors: `(10, i)`: mean x, r, γ, ∂L/∂(∂γ), ∂L/∂(∂β), the means of gz, g, uz and u, and what is left of the mean
            of gu without these: mean gu − mean g · mean u − mean gz · mean uz.
    """
    mean, root, scale, of_scale, of_offset, gz, g, uz, u, rest = tf.unstack(vectors)
    z = (at_least_float32(x) - mean) * root
    g_rest = at_least_float32(upstream) - g - z * gz
    u_rest = at_least_float32(of_x) - u - z * uz
    d_x = root * (of_scale * g_rest - scale * root * (gz * u_rest + uz * g_rest + rest * z))
    d_upstream = scale * root * u_rest + of_scale * z + of_offset
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
