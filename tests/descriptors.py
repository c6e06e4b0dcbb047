"""Feature maps and descriptors that the tests of structural similarity share."""

import numpy as np
import tensorflow as tf

from neural_similarity.ops import structural_descriptors


def maps(*shape, seed=0, offset=0.3):
    """Float64 maps; the offset correlates their cells."""
    return np.random.default_rng(seed).normal(size=shape) + offset


def descriptors(count, cells=2, channels=5, seed=0, offset=0.3):
    """`(count, 1 + cells², channels)`."""
    return structural_descriptors(maps(count, 3, 3, channels, seed=seed, offset=offset), cells).numpy()


def all_products(queries, candidates):
    """`(q, 1 + r, k, 1 + s)`, the inner products of queries `(q, 1 + r, c)` and candidates `(q, k, 1 + s, c)`."""
    return tf.einsum("qrc,qksc->qrks", queries, candidates)
