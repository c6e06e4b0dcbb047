"""Heads that compare queries with classes of a few examples, in float32 or wider.

n ways · s support images of each class · q queries · f features
"""

import tensorflow as tf

from neural_similarity.ops.wide import at_least_float32


def prototypes(support):
    """The mean feature of each class (Snell et al., 2017, equation 1).

    Args:
        support: `(n, s, f)` features of the support images, class by class.

    Returns:
        `(n, f)`, in float32 or wider.
    """
    return tf.reduce_mean(at_least_float32(support), axis=1)


def negative_squared_distances(queries, centres):
    """−‖query − centre‖², the logits of prototypical networks.

    Multiplied out, ‖a − b‖² is one matrix product, without a tensor of n·q·f numbers. Means are taken away first: the
    distance does not change, and far from the origin the product would lose its digits.

    Args:
        queries: `(q, f)`.
        centres: `(n, f)`.

    Returns:
        `(q, n)`, in float32 or wider.
    """
    queries, centres = at_least_float32(queries), at_least_float32(centres)
    origin = tf.stop_gradient(tf.reduce_mean(centres, axis=0))
    queries, centres = queries - origin, centres - origin
    squares = tf.reduce_sum(queries**2, -1)[:, None] + tf.reduce_sum(centres**2, -1)
    return 2 * tf.einsum("qf,nf->qn", queries, centres) - squares


def cosine_logits(queries, weights, scale):
    """`scale` · cos(query, weight), the logits of Baseline++ (Chen et al., 2019).

    Args:
        queries: `(q, f)`.
        weights: `(n, f)`.
        scale: what the cosine is multiplied by, as it reaches 1 at most.

    Returns:
        `(q, n)`, in float32 or wider. The gradient is finite at zero vectors, where the cosine counts as 0.
    """
    queries, weights = (tf.math.l2_normalize(at_least_float32(x), axis=-1, epsilon=1e-12) for x in (queries, weights))
    return scale * tf.einsum("qf,nf->qn", queries, weights)
