"""Feature maps and descriptors that the tests of structural similarity share."""

import numpy as np

from neural_similarity.ops import structural_descriptors


def maps(*shape, seed=0, offset=0.3):
    """Float64 maps; the offset correlates their cells."""
    return np.random.default_rng(seed).normal(size=shape) + offset


def descriptors(count, cells=2, channels=5, seed=0, offset=0.3):
    """`(count, 1 + cells², channels)`."""
    return structural_descriptors(maps(count, 3, 3, channels, seed=seed, offset=offset), cells).numpy()
