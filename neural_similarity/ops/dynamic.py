"""Dynamic bilinear similarity: every pixel has a similarity matrix M of its own, predicted from the image."""

import math

import tensorflow as tf

from neural_similarity.ops.fused import fused
from neural_similarity.ops.wide import at_least_float32
from neural_similarity.ops.window import Window


def dynamic_similarity_conv2d(image, kernel, matrix, window):
    """Convolution with an M per pixel: y(p) = Σ_s Σ_t M(p)[s, t] ⟨w_s, x_t(p)⟩  (Liu et al., NeurIPS 2019).

    M is applied to the patch first, which gives "mixed" patches Σ_t M(p)[s, t] x_t(p); the kernel follows. The sum over
    channels and taps is then one matrix product with the kernel as it is. The patches are k times as large as the
    image, nine times for a 3×3 kernel. The gradient builds them again, so that no layer has to keep them.

    Args:
        image: `(b, h, w, i)`.
        kernel: `(kh, kw, i, o)`.
        matrix: M at every output pixel. `(b, y, x, k)` is its diagonal (DNS), `(b, y, x, k, k)` all of it (UNS). Its
            first index is the kernel's tap s, its second the input's tap t.
        window: the `Window`; its kernel size is the kernel's. Image, kernel and matrix have one dtype.

    Returns:
        `(b, y, x, o)` in that dtype.
    """
    mix, mix_gradient = (_diagonal, _diagonal_gradient) if len(matrix.shape) == 4 else (_full, _full_gradient)
    window = Window(*(each if isinstance(each, str) else tuple(each) for each in window))  # hashable, as `fused` needs
    *size, channels, filters = kernel.shape
    taps = math.prod(size)

    @tf.custom_gradient
    def convolve(image, kernel, matrix):
        kernel = tf.reshape(kernel, (taps, channels, filters))

        def grad(upstream):
            mixed = mix(image, matrix, window=window, wait_for=upstream)
            # Σ_p mixed(p) upstream(p)ᵀ; an einsum would transpose `mixed` first, which costs a copy
            d_kernel = tf.matmul(
                tf.reshape(mixed, (-1, taps * channels)), tf.reshape(upstream, (-1, filters)), transpose_a=True
            )
            with tf.control_dependencies([d_kernel]):  # by then the memory of the mixed patches is free again
                d_mixed = tf.einsum("byxo,sio->byxsi", upstream, kernel)
            d_image, d_matrix = mix_gradient(image, matrix, d_mixed, window=window, wait_for=upstream)
            return d_image, tf.reshape(d_kernel, (*size, channels, filters)), d_matrix

        return tf.einsum("byxsi,sio->byxo", mix(image, matrix, window=window), kernel), grad

    # converted, as a custom gradient treats a variable among its arguments in another way
    return convolve(*map(tf.convert_to_tensor, (image, kernel, matrix)))


# Mixing, Σ_t M[s, t] x_t, turns the image `(b, h, w, i)` into the mixed patches `(b, y, x, s, i)`. For a diagonal M and
# for a full one there are two functions each. One mixes. The other is its gradient: it takes the gradient with respect
# to the mixed patches and returns those with respect to image and M. All four take `wait_for`, as `fused` describes it.


@fused
def _diagonal(image, matrix, window):
    return window.patches(image) * matrix[..., None]


@fused
def _diagonal_gradient(image, matrix, d_mixed, window):
    products = at_least_float32(window.patches(image)) * at_least_float32(d_mixed)
    return window.fold(d_mixed, image, matrix), tf.cast(tf.reduce_sum(products, axis=-1), matrix.dtype)


def _full(image, matrix, window, wait_for=None):
    return tf.einsum("byxst,byxti->byxsi", matrix, _patches(image, window=window, wait_for=wait_for))


def _full_gradient(image, matrix, d_mixed, window, wait_for=None):
    patches = _patches(image, window=window, wait_for=wait_for)
    d_patches = tf.einsum("byxst,byxsi->byxti", matrix, d_mixed)
    return _fold(d_patches, image, window=window), tf.einsum("byxsi,byxti->byxst", d_mixed, patches)


@fused
def _patches(image, window):
    return window.patches(image)


@fused
def _fold(patches, image, window):
    return window.fold(patches, image)
