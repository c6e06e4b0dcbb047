"""Dynamic bilinear similarity: every pixel has a similarity matrix M of its own, predicted from the image."""

import functools
import math

import tensorflow as tf

from neural_similarity.ops.fused import fused
from neural_similarity.ops.wide import at_least_float32
from neural_similarity.ops.window import Window

_SLICE_BYTES = 10_000_000  # of patches (docs/performance.md)
_MOST_SLICES = 32  # each adds its operations to the graph


def dynamic_similarity_conv2d(image, kernel, matrix, window):
    """Convolution with an M per pixel: y(p) = Σ_s Σ_t M(p)[s, t] ⟨w_s, x_t(p)⟩  (Liu et al., NeurIPS 2019).

    M is applied to the patch first, which gives "mixed" patches Σ_t M(p)[s, t] x_t(p); the kernel follows. The sum over
    channels and taps is then one matrix product with the kernel as it is. The patches are k times as large as the
    image, nine times for a 3×3 kernel. The gradient builds them again, so that no layer has to keep them.

    On a CPU the batch is cut into slices that do not depend on each other, so that each core works on one of its own.

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
        image = tf.ensure_shape(image, (None, None, None, channels))
        kernel = tf.reshape(kernel, (taps, channels, filters))
        slices = functools.partial(_slices, _number_of_slices(image, matrix, taps))

        def of_slice(image, matrix):
            return tf.einsum("byxsi,sio->byxo", mix(image, matrix, window=window), kernel)

        def gradient_of_slice(image, matrix, upstream):
            mixed = mix(image, matrix, window=window, wait_for=upstream)
            # Σ_p upstream(p) mixed(p)ᵀ, and later its transpose: to transpose `mixed` first costs a copy of it
            rows = tf.reshape(upstream, (-1, filters)), tf.reshape(mixed, (-1, taps * channels))
            d_kernel = tf.matmul(*rows, transpose_a=True)
            with tf.control_dependencies([d_kernel]):  # by then the memory of the mixed patches is free again
                d_mixed = tf.einsum("byxo,sio->byxsi", upstream, kernel)
            d_image, d_matrix = mix_gradient(image, matrix, d_mixed, window=window, wait_for=upstream)
            return d_image, d_kernel, d_matrix

        def grad(upstream):
            found = [gradient_of_slice(*part) for part in slices(image, matrix, upstream)]
            d_images, d_kernels, d_matrices = zip(*found, strict=True)
            d_kernel = tf.reshape(tf.transpose(tf.add_n(d_kernels)), (*size, channels, filters))
            return tf.concat(d_images, axis=0), d_kernel, tf.concat(d_matrices, axis=0)

        return tf.concat([of_slice(*part) for part in slices(image, matrix)], axis=0), grad

    # converted, as a custom gradient treats a variable among its arguments in another way
    return convolve(*map(tf.convert_to_tensor, (image, kernel, matrix)))


def _number_of_slices(image, matrix, taps):
    """The number of equal slices that the batch is cut into, so that each has about `_SLICE_BYTES` of patches.

    128 images with 1.18 MB of patches each become 16 slices of 8 images. The answer is 1 if the batch's size is
    unknown, if no divisor of it makes such slices, or if there is a GPU, which a single slice keeps busy.
    """
    b, *pixels = matrix.shape[:3]
    if not b or None in pixels or tf.config.list_physical_devices("GPU"):
        return 1
    bytes_of_one = math.prod(pixels) * taps * image.shape[-1] * image.dtype.size  # 0 where there are no pixels
    least = math.ceil(b / _MOST_SLICES)
    most = max(_SLICE_BYTES // max(bytes_of_one, 1), least)
    sizes = (size for size in range(min(b, most), max(most // 2, least - 1), -1) if b % size == 0)
    return b // next(sizes, b)


def _slices(number, *tensors):
    """The slices of some tensors with a common first axis: for each slice a tuple of tensors."""
    return [tensors] if number == 1 else zip(*(tf.split(tensor, number) for tensor in tensors), strict=True)


# Mixing, Σ_t M[s, t] x_t, turns the image `(b, h, w, i)` into the mixed patches `(b, y, x, s, i)`. For a diagonal M and
# for a full one there are two functions each. One mixes. The other is its gradient: it takes the gradient with respect
# to the mixed patches and returns those with respect to image and M. All four take `wait_for`, as `fused` describes it.


@fused
def _diagonal(image, matrix, window):
    return window.patches(image) * matrix[..., None]


@fused
def _diagonal_gradient(image, matrix, d_mixed, window):
    products = at_least_float32(window.patches(image)) * at_least_float32(d_mixed)
    return window.fold(d_mixed, image, matrix), tf.cast(_sum_of_channels(products), matrix.dtype)


def _sum_of_channels(products):
    """Σ over the last axis.

    Along the last axis, XLA's code for CPUs adds one number after the other. So the second half of the channels is
    added to the first, as one vector to another, and so on with the halves of the sum, while their number is even.
    """
    while products.shape[-1] % 2 == 0 and products.shape[-1]:
        first, second = tf.split(products, 2, axis=-1)
        products = first + second
    return tf.reduce_sum(products, axis=-1)


def _full(image, matrix, window, wait_for=None):
    return tf.einsum("byxst,byxti->byxsi", matrix, _patches(image, window=window, wait_for=wait_for))


def _full_gradient(image, matrix, d_mixed, window, wait_for=None):
    patches = _patches(image, window=window, wait_for=wait_for)
    d_matrix = tf.einsum("byxsi,byxti->byxst", d_mixed, patches)
    return _image_gradient(image, matrix, d_mixed, window=window), d_matrix


@fused
def _patches(image, window):
    return window.patches(image)


def _image_gradient_by_products(image, matrix, d_mixed, window):
    return window.fold(tf.einsum("byxst,byxsi->byxti", matrix, d_mixed), image)


@functools.partial(fused, otherwise=_image_gradient_by_products)
def _image_gradient(image, matrix, d_mixed, window):
    # Written as a sum over s: XLA computes it faster than one small matrix product for each pixel.
    terms = at_least_float32(matrix)[..., None] * at_least_float32(d_mixed)[..., None, :]
    return tf.cast(window.fold(tf.reduce_sum(terms, axis=-3), image), image.dtype)
