"""Static bilinear similarity: one learned similarity matrix M for a whole layer."""

import tensorflow as tf


def similarity_kernel(kernel, matrix):
    """Folds M into the kernel: W' = MᵀW, so that W'ᵀX = WᵀMX  (Liu et al., NeurIPS 2019).

    Args:
        kernel: `(kh, kw, i, o)` convolution kernel W.
        matrix: M over the taps, in the kernel's dtype. `(k,)` is its diagonal (DNS), `(k, k)` all of it (UNS). Its
            first index is the kernel's tap s, its second the input's tap t.

    Returns:
        `(kh, kw, i, o)` tensor; equal to `kernel` when M is the identity.
    """
    spec = {1: "s,sio->sio", 2: "st,sio->tio"}[len(matrix.shape)]
    taps = tf.reshape(kernel, (-1, *kernel.shape[2:]))  # (k, i, o)
    return tf.reshape(tf.einsum(spec, matrix, taps), kernel.shape)


def static_similarity_conv2d(image, kernel, matrix, window):
    """Convolution under a bilinear similarity: y = Σ_s Σ_t M[s, t] ⟨w_s, x_t⟩.

    It is a plain convolution with the kernel that `similarity_kernel` returns, and costs as much as a plain one.

    Args:
        image: `(b, h, w, i)`, of the kernel's dtype.
        kernel, matrix: as for `similarity_kernel`.
        window: the `Window`; its kernel size is the kernel's.

    Returns:
        `(b, y, x, o)` tensor.
    """
    return window.convolve(image, similarity_kernel(kernel, matrix))
