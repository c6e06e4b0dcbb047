"""Distances between all pairs of vectors by one matrix product.  q queries · n others · f features"""

import tensorflow as tf

from neural_similarity.ops.inner_products import inner_products_plus
from neural_similarity.ops.wide import at_least_float32


def squared_distances(queries, others):
    """‖query − other‖² of all pairs.

    Multiplied out, it is one matrix product, without a tensor of n·q·f numbers. The mean of the others is taken away
    first: the distance does not change, and far from the origin the product would lose its digits. Rounding may leave
    small negative numbers, and differences between (a, b) and (b, a).

    Args:
        queries: `(…, q, f)`.
        others: `(…, n, f)`.

    Returns:
        `(…, q, n)`, in float32 or wider.
    """
    queries, others = at_least_float32(queries), at_least_float32(others)
    origin = tf.stop_gradient(tf.reduce_mean(others, axis=-2, keepdims=True))
    queries, others = queries - origin, others - origin
    return inner_products_plus(-2 * queries, tf.reduce_sum(queries**2, -1), others, tf.reduce_sum(others**2, -1))
