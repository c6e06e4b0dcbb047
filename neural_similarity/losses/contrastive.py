"""Pairs of one class together, pairs of two classes apart (Hadsell et al., CVPR 2006)."""

import keras
import tensorflow as tf

from neural_similarity.arguments import number
from neural_similarity.losses.masked import masked_mean
from neural_similarity.losses.mined_loss import MinedLoss


@keras.saving.register_keras_serializable("neural_similarity")
class ContrastiveLoss(MinedLoss):
    """relu(d_ap − m₊) + relu(m₋ − d_an), the mean over the triplets.

    Without squares, as in the code that DIML builds on.

    Args:
        positive_margin: m₊. Images of one class need not be nearer than that.
        negative_margin: m₋. Images of two classes need not be farther than that.
        miner, distance, seed, name, dtype: as for `MinedLoss`.
    """

    def __init__(self, *, positive_margin=0.0, negative_margin=1.0, **kwargs):
        super().__init__(**kwargs)
        self.positive_margin = number("positive_margin", positive_margin, least=0)
        self.negative_margin = number("negative_margin", negative_margin, least=0)

    def of_triplets(self, to_positives, to_negatives, classes, valid):
        """See `MinedLoss.of_triplets`."""
        together = tf.nn.relu(to_positives - self.positive_margin)
        apart = tf.nn.relu(self.negative_margin - to_negatives)
        active = (together > 0) | (apart > 0)
        return masked_mean(together + apart, valid), {"active_share": masked_mean(active, valid)}

    def get_config(self):
        """The constructor's arguments."""
        margins = {"positive_margin": self.positive_margin, "negative_margin": self.negative_margin}
        return {**super().get_config(), **margins}
