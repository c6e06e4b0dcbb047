"""Logits that are cosines."""

import tensorflow as tf

from neural_similarity.ops.wide import at_least_float32


def cosine_logits(features, weights, scale):
    """`scale` · cos(feature, weight), the logits of Baseline++ (Chen et al., 2019).

    Args:
        features: `(b, f)`.
        weights: `(n, f)`, a vector for each of n classes.
        scale: what the cosine is multiplied by, as it reaches 1 at most.

    Returns:
        `(b, n)`, in float32 or wider. The gradient is finite at zero vectors, where the cosine counts as 0.
    """
    features, weights = (tf.math.l2_normalize(at_least_float32(x), axis=-1, epsilon=1e-12) for x in (features, weights))
    return scale * tf.einsum("bf,nf->bn", features, weights)
