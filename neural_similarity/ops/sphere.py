"""Hyperspherical convolution (SphereConv, Liu et al., NeurIPS 2017): the angle θ between patch x and filter w."""

import tensorflow as tf

from neural_similarity.ops.fused import fused
from neural_similarity.ops.wide import at_least_float32

# ε of the released code's norms, inside the root: √(Σx² + ε).
NORM_EPSILON = 1e-4


def patch_norm(image, window, epsilon=NORM_EPSILON):
    """‖x‖ = √(Σ x² + ε), the length of every patch; pixels outside the image count as zeros.

    Args:
        image: `(b, h, w, i)`.
        window: the `Window`.
        epsilon: ε.

    Returns:
        `(b, y, x, 1)`, in float32 or the image's wider dtype.
    """
    squares = _squared_length(tf.convert_to_tensor(image))
    # the squares are already summed over the channels, so this convolution has one channel instead of i
    box = tf.ones((*window.kernel_size, 1, 1), squares.dtype)
    return tf.sqrt(window.convolve(squares, box) + epsilon)


def filter_norm(kernel, epsilon=NORM_EPSILON):
    """‖w‖ = √(Σ w² + ε), the length of every filter.

    Args:
        kernel: `(kh, kw, i, o)`.
        epsilon: ε.

    Returns:
        `(o,)`, in float32 or the kernel's wider dtype.
    """
    return tf.sqrt(tf.einsum("klio,klio->o", *[at_least_float32(kernel)] * 2) + epsilon)


def weight_normalized_conv2d(image, kernel, window):
    """Convolution with filters of length 1: y = wᵀx / ‖w‖ = ‖x‖ cos θ.

    Args:
        image: `(b, h, w, i)`.
        kernel: `(kh, kw, i, o)`, of the image's dtype.
        window: the `Window`; its kernel size is the kernel's.

    Returns:
        `(b, y, x, o)` in the image's dtype; the norms are computed in float32 or wider.
    """
    return window.convolve(image, tf.cast(at_least_float32(kernel) / filter_norm(kernel), image.dtype))


def cosine_sphere_conv2d(image, kernel, window, normalize_kernel=True, norm=None):
    """Cosine SphereConv: y = wᵀx / (‖w‖‖x‖) = cos θ. Thus |y| < 1, up to rounding.

    Args:
        image, kernel, window: as for `weight_normalized_conv2d`.
        normalize_kernel: False leaves out the division by ‖w‖, as the released "partial" predictor does.
        norm: what `patch_norm(image, window)` returned, if the caller has it already.

    Returns:
        `(b, y, x, o)` in the image's dtype; the norms are computed in float32 or wider.
    """
    product = weight_normalized_conv2d(image, kernel, window) if normalize_kernel else window.convolve(image, kernel)
    return _divide(product, patch_norm(image, window) if norm is None else norm)


# The functions below define their gradients themselves: the gradient that TensorFlow derives of a compiled function
# would keep copies of the arguments in memory.


@tf.custom_gradient
def _squared_length(image):
    """Σ x² over the channels: `(b, h, w, 1)`."""
    return _sum_of_squares(image), lambda upstream: _sum_of_squares_gradient(image, upstream)


@fused
def _sum_of_squares(image):
    return tf.reduce_sum(tf.square(at_least_float32(image)), axis=-1, keepdims=True)


@fused
def _sum_of_squares_gradient(image, upstream):
    return tf.cast(2 * at_least_float32(image) * upstream, image.dtype)


def _divide(product, norm):
    """`(b, y, x, o)` divided by `(b, y, x, 1)`. The gradient needs the quotient only, so the product is not kept."""

    @tf.custom_gradient
    def divide(product, norm):
        def grad(upstream):
            # `quotient` is the result of `divide` below, not of `_quotient`: the tape knows how that one depends on the
            # arguments, and so can take the gradient of this gradient
            return _quotient_gradient(quotient, norm, upstream)

        return _quotient(product, norm), grad

    quotient = divide(product, norm)
    return quotient


@fused
def _quotient(product, norm):
    return tf.cast(at_least_float32(product) / norm, product.dtype)


@fused
def _quotient_gradient(quotient, norm, upstream):
    slope = at_least_float32(upstream) / norm
    d_norm = -tf.reduce_sum(slope * at_least_float32(quotient), axis=-1, keepdims=True)
    return tf.cast(slope, upstream.dtype), d_norm
