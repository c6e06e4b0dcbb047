"""Positives nearer, and negatives farther, than a distance that is learned (Wu et al., ICCV 2017)."""

import keras
import tensorflow as tf

from neural_similarity.arguments import count, number, switch
from neural_similarity.losses.masked import masked_mean
from neural_similarity.losses.mined_loss import MinedLoss


@keras.saving.register_keras_serializable("neural_similarity")
class MarginLoss(MinedLoss):
    """Σ relu(d_ap − β_y + m) + relu(β_y − d_an + m), divided by the number of triplets of which a term is not zero.

    β_y is the distance that separates the images of the anchor's class y from the others. It is learned: `parameters`
    holds the n numbers, which are also at `loss.beta`. With `distance=Structural(whole="cells")` this is the margin
    loss of DIML (Zhao et al., ICCV 2021).

    `measure` also returns `mean_beta`, over the anchors of the triplets.

    Args:
        num_classes: n. The labels are from 0 to n − 1.
        margin: m.
        beta: where every β starts.
        nu: ν, the factor of a penalty. ν times the sum of β_y over all triplets is added to the loss. Unlike the rest,
            it is not divided by the number of triplets, as in the code that DIML builds on. In DIML's released code any
            ν but 0 ends in an error.
        every_beta: as in DIML's released code, where a tensor of the shape (t, 1) meets one of (t,). Each distance is
            compared with the β of all t anchors, t² comparisons, and not with that of its own anchor alone. The sum is
            divided by the number of the t² comparisons that are not zero. So all β move together.
        miner, distance, seed, name, dtype: as for `MinedLoss`.
    """

    def __init__(self, num_classes, *, margin=0.2, beta=1.2, nu=0.0, every_beta=False, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = count("num_classes", num_classes)
        self.margin = number("margin", margin, least=0)
        self.initial_beta = number("beta", beta)
        self.nu = number("nu", nu, least=0)
        self.every_beta = switch("every_beta", every_beta)
        start = keras.initializers.Constant(self.initial_beta)
        self.beta = self._add_weight("beta", (self.num_classes,), start)

    def of_triplets(self, to_positives, to_negatives, classes, valid):
        """See `MinedLoss.of_triplets`."""
        # As a sum, the gradient is a tensor. Of a gather it would be one of few rows, which optimisers treat otherwise.
        beta = tf.one_hot(classes, self.num_classes, dtype=self.dtype) * self.beta.value
        own = tf.cast(tf.reduce_sum(beta, 1), to_positives.dtype)
        counts = valid
        if self.every_beta:  # DEVIATION M2: (t, 1) beside (t,)
            to_positives, to_negatives = to_positives[:, None], to_negatives[:, None]
            counts = valid[:, None] & valid
        nearer = tf.nn.relu(to_positives - own + self.margin)
        farther = tf.nn.relu(own - to_negatives + self.margin)
        active = counts & ((nearer > 0) | (farther > 0))
        loss = masked_mean(nearer + farther, active) + self.nu * tf.reduce_sum(tf.where(valid, own, 0))
        return loss, {"active_share": masked_mean(active, counts), "mean_beta": masked_mean(own, valid)}

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "margin": self.margin,
            "beta": self.initial_beta,
            "nu": self.nu,
            "every_beta": self.every_beta,
        }
