"""Hyperspherical convolution (SphereConv, Liu et al., NeurIPS 2017): the angle between patch and kernel."""

import tensorflow as tf

from neural_similarity.ops.fused import fused

# ε of the released code's norms, inside the root: √(Σx² + ε).
NORM_EPSILON = 1e-4


def _at_least_float32(x):
    x = tf.convert_to_tensor(x)
    return tf.cast(x, tf.float32) if x.dtype.size < 4 else x


def patch_norm(image, window, epsilon=NORM_EPSILON):
    """‖x‖ = √(Σ x² + ε) of every patch, zeros outside the image.

    Args:
        image: `(b, h, w, i)`.
        window: the `Window`.

    Returns:
        `(b, y, x, 1)`, float32 or the image's wider type.
    """
    squares = _squared_length(image)
    box = tf.ones((*window.kernel_size, 1, 1), squares.dtype)  # the sum over channels first: 1/i of the work
    total = tf.nn.conv2d(squares, box, window.strides, window.padding.upper(), dilations=window.dilation_rate)
    return tf.sqrt(total + epsilon)


def filter_norm(kernel, epsilon=NORM_EPSILON):
    """‖w‖ = √(Σ w² + ε) of every filter of a `(kh, kw, i, o)` kernel: `(o,)`, float32 or the kernel's wider type."""
    return tf.sqrt(tf.einsum("klio,klio->o", *[_at_least_float32(kernel)] * 2) + epsilon)


def cosine_sphere_conv2d(image, kernel, window, normalize_kernel=True):
    """Cosine SphereConv, y = wᵀx / (‖w‖‖x‖) = cos θ, so that |y| < 1.

    Args:
        image: `(b, h, w, i)`.
        kernel: `(kh, kw, i, o)`, of the image's dtype.
        window: the `Window`; its kernel size is the kernel's.
        normalize_kernel: False leaves out ‖w‖, as the released "partial" predictor does.

    Returns:
        `(b, y, x, o)` tensor of the image's dtype; the norms are computed in float32 or wider.
    """
    if normalize_kernel:
        kernel = tf.cast(_at_least_float32(kernel) / filter_norm(kernel), image.dtype)
    product = tf.nn.conv2d(image, kernel, window.strides, window.padding.upper(), dilations=window.dilation_rate)
    return _divided(product, patch_norm(image, window))


@fused
def _squared_length(image):
    """Σ x² over the channels: `(b, h, w, 1)`."""
    return tf.reduce_sum(tf.square(_at_least_float32(image)), axis=-1, keepdims=True)


@fused
def _divided(product, norm):
    return tf.cast(_at_least_float32(product) / norm, product.dtype)
