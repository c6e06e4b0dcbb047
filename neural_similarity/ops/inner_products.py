"""Inner products of all pairs of vectors, with a term of each vector added.  q samples · n references · d dimensions"""

import tensorflow as tf


def inner_products_plus(x, term_x, y, term_y):
    """⟨x, y⟩ + term_x + term_y of all pairs.

    On a CPU it is one matrix product, of (x, term_x, 1) and (y, 1, term_y). Adding them afterwards takes further passes
    over the q·n results (docs/performance.md). On a GPU they are added afterwards, as its products round what they
    multiply to 10 bits (TF32) where that is not turned off.

    Args:
        x: `(…, q, d)`.
        term_x: `(…, q)`.
        y: `(…, n, d)`.
        term_y: `(…, n)`. All have one dtype.

    Returns:
        `(…, q, n)`. Rounding may make the results of (x, y) and (y, x) differ.
    """
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    if not on_gpu:
        x = tf.concat([x, term_x[..., None], tf.ones_like(term_x)[..., None]], -1)
        y = tf.concat([y, tf.ones_like(term_y)[..., None], term_y[..., None]], -1)
    products = tf.einsum("...qd,...nd->...qn", x, y)
    return products + term_x[..., None] + term_y[..., None, :] if on_gpu else products
