"""Static bilinear similarity: one learned M for a whole layer."""

import tensorflow as tf


def similarity_kernel(kernel, matrix):
    """Folds M into the kernel: W'ᵀX = WᵀMX with W' = MᵀW  (Liu et al., NeurIPS 2019).

    Args:
        kernel: `(kh, kw, i, o)` convolution kernel W.
        matrix: M over the taps, of the kernel's dtype; `(k,)` is its diagonal (DNS), `(k, k)` the whole (UNS),
            first index the kernel's tap s, second the input's tap t.

    Returns:
        `(kh, kw, i, o)` tensor; equal to `kernel` when M is the identity.
    """
    spec = {1: "s,sio->sio", 2: "st,sio->tio"}[len(matrix.shape)]
    taps = tf.reshape(kernel, (-1, *kernel.shape[2:]))  # (k, i, o)
    return tf.reshape(tf.einsum(spec, matrix, taps), kernel.shape)


def static_similarity_conv2d(image, kernel, matrix, window):
    """Convolution under a bilinear similarity, y = Σ_s Σ_t M[s, t] ⟨w_s, x_t⟩, at the cost of a plain one.

    Args:
        image: `(b, h, w, i)`.
        kernel, matrix: as in `similarity_kernel`.
        window: the `Window`; its kernel size is the kernel's.

    Returns:
        `(b, y, x, o)` tensor.
    """
    return window.convolve(image, similarity_kernel(kernel, matrix))
