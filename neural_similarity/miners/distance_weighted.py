"""Negatives of all distances (Wu et al., ICCV 2017)."""

import tensorflow as tf

from neural_similarity.arguments import count, number
from neural_similarity.miners.miner import Miner, or_any

# The least 1 − D²/4, which is 0 at the largest distance, D = 2, and has no logarithm there.
_LEAST = 1e-8


class DistanceWeighted(Miner):
    """Negatives weighted by 1/q(D), where q is how frequent the distance D is among random points of a sphere.

    On a sphere of many dimensions almost all distances are near √2. Negatives that are drawn at random are all as far
    as that, and the loss learns nothing from them. The weights undo this, so that near and far negatives come equally
    often. For a sphere in d dimensions

        log(1/q(D)) = (2 − d)·log D − ((d − 3)/2)·log(1 − D²/4)

    Args:
        lower: smaller distances count as this one. Without it, the nearest negative would be chosen almost always.
        dimension: d. None for the number of channels of the vectors, which is right. The released code of DIML takes
            128 for vectors of every size.
        upper: negatives at this distance or farther are not chosen, unless the anchor has no other. None for no limit:
            the released code names one, 1.4, and does not use it.
    """

    takes_any_distances = False

    def __init__(self, lower=0.5, dimension=None, upper=None):
        self.lower = number("lower", lower, above=0, below=2)
        self.dimension = None if dimension is None else count("dimension", dimension, least=2)
        self.upper = None if upper is None else number("upper", upper, above=self.lower)

    def log_weights(self, distances, to_positives, negative, channels):
        """See `Miner.log_weights`."""
        d = self.dimension or channels
        clamped = tf.maximum(distances, self.lower)
        weights = (2 - d) * tf.math.log(clamped) - (d - 3) / 2 * tf.math.log(tf.maximum(1 - clamped**2 / 4, _LEAST))
        allowed = negative if self.upper is None else or_any(distances < self.upper, negative)
        return tf.where(allowed, weights, -float("inf"))

    def get_config(self):
        """The constructor's arguments."""
        return {"lower": self.lower, "dimension": self.dimension, "upper": self.upper}
