"""What all losses of mined triplets have in common."""

import keras
import tensorflow as tf

from neural_similarity.losses import parts
from neural_similarity.losses.embedding_loss import EmbeddingLoss, class_labels
from neural_similarity.losses.masked import masked_mean
from neural_similarity.miners import DistanceWeighted, Miner, SemiHard


class MinedLoss(EmbeddingLoss):
    """A loss of the distances d_ap and d_an of triplets: anchor and positive, anchor and negative.

    Subclasses say what it is, by `of_triplets`. The miner sees the images as a whole, `distance.whole(…)`, and the
    distances between all of them where `distance.mining_distances(…)` has some. Only the pairs that it chose are
    compared by `distance`. A batch without a valid triplet has the loss 0, and no gradient.

    `measure` returns, beside the loss, `mean_positive_distance` and `mean_negative_distance`, which are the means of
    d_ap and d_an, and `active_share`, the share of the triplets whose loss is above 0.

    Args:
        miner: a `Miner`, or a function that is called as one. None means `DistanceWeighted()`; if the
            distance is a divergence, it means `SemiHard()`.
        seed: where the miner's random choices start in `model.fit`. None for a seed that differs from run to run.
        distance, name, dtype: as for `EmbeddingLoss`.
    """

    # How many classes the labels may have; None for any number.
    num_classes = None

    def __init__(self, *, miner=None, seed=None, **kwargs):
        super().__init__(**kwargs)
        usual = SemiHard if self.distance.is_squared else DistanceWeighted
        self.miner = usual() if miner is None else miner
        if not callable(self.miner):
            raise TypeError(f"`miner` must be a Miner, such as DistanceWeighted(). Received: {miner!r}")
        if self.distance.is_squared and not getattr(self.miner, "takes_any_distances", True):
            raise TypeError(
                f"{type(self.miner).__name__} chooses by distances on a sphere, and {type(self.distance).__name__} has "
                "others. Take SemiHard() or RandomNegatives()"
            )
        self.seed = seed
        self._keys = keras.random.SeedGenerator(seed)

    def measure(self, embeddings, labels, key):
        """See `EmbeddingLoss.measure`, and the class for the names of the scalars."""
        labels = class_labels(labels, self.num_classes)
        prepared = self.distance.prepare(embeddings)
        anchors, positives, negatives, valid = self.miner(
            self.distance.whole(prepared), labels, key, **self._mined_by(prepared)
        )

        def images(*places):
            return tf.nest.map_structure(lambda x: tf.gather(x, tf.concat(places, 0)), prepared)

        distances = self.distance.distances(images(anchors, anchors), images(positives, negatives))
        to_positives, to_negatives = tf.split(distances, 2)
        loss, scalars = self.of_triplets(to_positives, to_negatives, tf.gather(labels, anchors), valid)
        means = {
            "mean_positive_distance": masked_mean(to_positives, valid),
            "mean_negative_distance": masked_mean(to_negatives, valid),
        }
        return loss, {**means, **scalars}

    def _mined_by(self, prepared):
        """The argument `distances` of the miner, where the distance has one. A plain function gets none."""
        distances = self.distance.mining_distances(prepared) if isinstance(self.miner, Miner) else None
        return {} if distances is None else {"distances": distances}

    def of_triplets(self, to_positives, to_negatives, classes, valid):
        """The loss of t triplets.

        Args:
            to_positives: d_ap, `(t,)`.
            to_negatives: d_an, `(t,)`.
            classes: `(t,)` integers, of the anchors.
            valid: `(t,)` bool. Other triplets do not count.

        Returns:
            (the loss, a scalar; name → scalar, with `active_share` among the names).
        """
        raise NotImplementedError

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "miner": parts.to_config(self.miner), "seed": self.seed}
