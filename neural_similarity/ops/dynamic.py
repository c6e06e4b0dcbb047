"""Dynamic bilinear similarity: an M for every pixel, predicted from the image."""

import math

import tensorflow as tf

from neural_similarity.ops.fused import fused
from neural_similarity.ops.wide import at_least_float32
from neural_similarity.ops.window import Window


def dynamic_similarity_conv2d(image, kernel, matrix, window):
    """Convolution under a per-pixel similarity, y(p) = Σ_s Σ_t M(p)[s, t] ⟨w_s, x_t(p)⟩  (Liu et al., NeurIPS 2019).

    M acts on the patch before the kernel does, so that the product over channels is one matrix product and no
    filter bank is blown up. The gradient rebuilds the k-fold larger patches instead of keeping them for every layer.

    Args:
        image: `(b, h, w, i)`.
        kernel: `(kh, kw, i, o)`.
        matrix: M at every output pixel; `(b, y, x, k)` its diagonal (DNS), `(b, y, x, k, k)` the whole (UNS), first
            index the kernel's tap s, second the input's tap t.
        window: the `Window`; its kernel size is the kernel's.

    Returns:
        `(b, y, x, o)` tensor. All of one dtype.
    """
    mix, mix_gradient = (_diagonal, _diagonal_gradient) if len(matrix.shape) == 4 else (_full, _full_gradient)
    window = Window(*(each if isinstance(each, str) else tuple(each) for each in window))  # hashable
    *size, channels, filters = kernel.shape
    taps = math.prod(size)

    @tf.custom_gradient
    def convolve(image, kernel, matrix):
        kernel = tf.reshape(kernel, (taps, channels, filters))

        def grad(upstream):
            mixed = mix(image, matrix, window=window, after=upstream)
            # Σ_p mixed(p) upstream(p)ᵀ, which an einsum would transpose first
            d_kernel = tf.matmul(
                tf.reshape(mixed, (-1, taps * channels)), tf.reshape(upstream, (-1, filters)), transpose_a=True
            )
            with tf.control_dependencies([d_kernel]):  # by then the mixed patches have left the memory
                d_mixed = tf.einsum("byxo,sio->byxsi", upstream, kernel)
            d_image, d_matrix = mix_gradient(image, matrix, d_mixed, window=window, after=upstream)
            return d_image, tf.reshape(d_kernel, (*size, channels, filters)), d_matrix

        return tf.einsum("byxsi,sio->byxo", mix(image, matrix, window=window), kernel), grad

    # tensors, as a custom gradient treats a variable among its arguments apart
    return convolve(*map(tf.convert_to_tensor, (image, kernel, matrix)))


# Σ_t M[s, t] x_t: the image's patches `(b, y, x, t, i)` mixed to `(b, y, x, s, i)`, and the gradients of that. Each
# takes `after`, as every fused piece does.


@fused
def _diagonal(image, matrix, window):
    return window.patches(image) * matrix[..., None]


@fused
def _diagonal_gradient(image, matrix, d_mixed, window):
    products = at_least_float32(window.patches(image)) * at_least_float32(d_mixed)
    return window.fold(d_mixed, image, matrix), tf.cast(tf.reduce_sum(products, axis=-1), matrix.dtype)


def _full(image, matrix, window, after=None):
    return tf.einsum("byxst,byxti->byxsi", matrix, _patches(image, window=window, after=after))


def _full_gradient(image, matrix, d_mixed, window, after=None):
    patches = _patches(image, window=window, after=after)
    d_patches = tf.einsum("byxst,byxsi->byxti", matrix, d_mixed)
    return _fold(d_patches, image, window=window), tf.einsum("byxsi,byxti->byxst", d_mixed, patches)


@fused
def _patches(image, window):
    return window.patches(image)


@fused
def _fold(patches, image, window):
    return window.fold(patches, image)
