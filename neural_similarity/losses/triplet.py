"""The positive nearer than the negative, by a margin (Schroff et al., CVPR 2015)."""

import keras
import tensorflow as tf

from neural_similarity.arguments import number, switch
from neural_similarity.losses.masked import masked_mean
from neural_similarity.losses.mined_loss import MinedLoss


@keras.saving.register_keras_serializable("neural_similarity")
class TripletLoss(MinedLoss):
    """relu(d_ap² − d_an² + m), the mean over the triplets.

    Args:
        margin: m.
        squared: whether the distances are squared. Divergences, which are like squared ones, stay as they are.
        miner, distance, seed, name, dtype: as for `MinedLoss`.
    """

    def __init__(self, *, margin=0.2, squared=True, **kwargs):
        super().__init__(**kwargs)
        self.margin = number("margin", margin, least=0)
        self.squared = switch("squared", squared)

    def of_triplets(self, to_positives, to_negatives, classes, valid):
        """See `MinedLoss.of_triplets`."""
        if self.squared and not self.distance.is_squared:
            to_positives, to_negatives = to_positives**2, to_negatives**2
        losses = tf.nn.relu(to_positives - to_negatives + self.margin)
        return masked_mean(losses, valid), {"active_share": masked_mean(losses > 0, valid)}

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "margin": self.margin, "squared": self.squared}
