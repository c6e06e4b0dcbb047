"""Inner products of all pairs of vectors, with a term of each vector added.  q samples · n references · d dimensions"""

import tensorflow as tf


def inner_products_plus(x, of_x, y, of_y):
    """⟨x, y⟩ + of_x + of_y of all pairs, as one matrix product: that of (x, of_x, 1) and (y, 1, of_y).

    To add the terms afterwards would take two passes over the q·n results, which takes about as long as the product.

    Args:
        x: `(…, q, d)`.
        of_x: `(…, q)`.
        y: `(…, n, d)`.
        of_y: `(…, n)`. All have one dtype.

    Returns:
        `(…, q, n)`.
    """
    samples = tf.concat([x, of_x[..., None], tf.ones_like(of_x)[..., None]], -1)
    references = tf.concat([y, tf.ones_like(of_y)[..., None], of_y[..., None]], -1)
    return tf.einsum("...qd,...nd->...qn", samples, references)
