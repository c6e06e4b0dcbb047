"""Negatives without a preference."""

from neural_similarity.miners.draw import among
from neural_similarity.miners.miner import Miner


class RandomNegatives(Miner):
    """All images of other classes have the same probability."""

    def log_weights(self, distances, to_positives, negative, channels):
        """See `Miner.log_weights`."""
        return among(negative)
