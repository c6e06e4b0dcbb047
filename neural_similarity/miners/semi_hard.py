"""Negatives a little farther than the positive (Schroff et al., CVPR 2015)."""

from neural_similarity.arguments import number
from neural_similarity.miners.draw import among
from neural_similarity.miners.miner import Miner, or_any


class SemiHard(Miner):
    """Negatives with d_ap < d_an < d_ap + margin, all with the same probability; any negative if there is none.

    They are farther than the positive p, but by less than a triplet loss asks for. d is the distance itself, as in the
    code that DIML builds on, also for losses of squared distances.

    Args:
        margin: how much farther a negative may be.
    """

    def __init__(self, margin=0.2):
        self.margin = number("margin", margin, above=0)

    def log_weights(self, distances, to_positives, negative, channels):
        """See `Miner.log_weights`."""
        nearest, farthest = to_positives[:, None], to_positives[:, None] + self.margin
        return among(or_any((nearest < distances) & (distances < farthest), negative))

    def get_config(self):
        """The constructor's arguments."""
        return {"margin": self.margin}
