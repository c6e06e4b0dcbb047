"""Dynamic bilinear similarity: an M for every pixel, predicted from the image."""

import tensorflow as tf


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

    @tf.custom_gradient
    def convolve(image, kernel, matrix):
        def grad(upstream):
            with tf.control_dependencies([upstream]):  # or graph optimisation would keep the forward pass' patches
                patches = window.taps(tf.identity(image))
            mixed = _mix(patches, matrix)
            d_kernel = tf.einsum("byxsi,byxo->sio", mixed, upstream)
            d_mixed = tf.einsum("byxo,sio->byxsi", upstream, _by_tap(kernel))
            d_patches, d_matrix = _mix_gradient(patches, matrix, d_mixed)
            return window.fold(d_patches, image), tf.reshape(d_kernel, kernel.shape), d_matrix

        return tf.einsum("byxsi,sio->byxo", _mix(window.taps(image), matrix), _by_tap(kernel)), grad

    # tensors, as a custom gradient treats a variable among its arguments apart
    return convolve(*map(tf.convert_to_tensor, (image, kernel, matrix)))


def _by_tap(kernel):
    return tf.reshape(kernel, (-1, *kernel.shape[2:]))  # (k, i, o)


def _mix(patches, matrix):
    """Σ_t M[s, t] x_t: k patches `(b, y, x, i)` → `(b, y, x, s, i)`."""
    if len(matrix.shape) == 4:  # tap by tap, as an einsum without a sum becomes many 1×1 matrix products
        return tf.stack([patch * matrix[..., t, None] for t, patch in enumerate(patches)], axis=-2)
    return tf.einsum("byxst,byxti->byxsi", matrix, tf.stack(patches, axis=-2))


def _mix_gradient(patches, matrix, d_mixed):
    """Gradients of `_mix`: the k patches' and the matrix'."""
    if len(matrix.shape) == 4:
        by_tap = tf.unstack(d_mixed, axis=-2)
        d_matrix = tf.stack([tf.reduce_sum(d * patch, -1) for d, patch in zip(by_tap, patches, strict=True)], -1)
        return [d * matrix[..., t, None] for t, d in enumerate(by_tap)], d_matrix
    d_matrix = tf.einsum("byxsi,byxti->byxst", d_mixed, tf.stack(patches, axis=-2))
    return tf.unstack(tf.einsum("byxst,byxsi->byxti", matrix, d_mixed), axis=-2), d_matrix
