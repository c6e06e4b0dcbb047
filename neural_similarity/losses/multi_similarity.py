"""All informative pairs of a batch, weighted by how similar they are (Wang et al., CVPR 2019)."""

import keras
import tensorflow as tf

from neural_similarity.arguments import number
from neural_similarity.distances import Distance
from neural_similarity.losses.embedding_loss import EmbeddingLoss, class_labels
from neural_similarity.losses.masked import log_one_plus_sum_exp, masked_mean
from neural_similarity.ops import dimensions


@keras.saving.register_keras_serializable("neural_similarity")
class MultiSimilarityLoss(EmbeddingLoss):
    """log(1 + Σ exp(−α(s_p − λ)))/α + log(1 + Σ exp(β(s_n − λ)))/β, the mean over the anchors that count.

    s_p are the similarities of the anchor with other images of its class, s_n those with images of other classes. Each
    sum is over the pairs that tell something: positives with s_p − ε < max s_n, and negatives with s_n + ε > min s_p.
    An anchor without such a positive, or without such a negative, does not count. If no anchor does, the loss is 0. The
    loss needs no miner. With `distance=Structural(whole="cells")` this is the multi-similarity loss of DIML (Zhao et
    al., ICCV 2021).

    `measure` returns, beside the loss, `mean_positive_similarity` and `mean_negative_similarity`, over all pairs, and
    `active_share`, the share of the images that count as anchors.

    Args:
        alpha: α, how steep the loss of positives is.
        beta: β, how steep the loss of negatives is.
        base: λ, the similarity at which both change most.
        epsilon: ε. The larger, the more pairs tell something.
        distance: with similarities from −1 to 1: `Cosine()`, the default, or a `Structural(…)`.
        name, dtype: as for `EmbeddingLoss`.
    """

    def __init__(self, *, alpha=2.0, beta=40.0, base=0.5, epsilon=0.1, **kwargs):
        super().__init__(**kwargs)
        if type(self.distance).similarities is Distance.similarities:
            raise TypeError(
                "`distance` must have similarities from −1 to 1, as Cosine() and Structural() have. Received: "
                f"{type(self.distance).__name__}"
            )
        self.alpha = number("alpha", alpha, above=0)
        self.beta = number("beta", beta, above=0)
        self.base = number("base", base)
        self.epsilon = number("epsilon", epsilon, least=0)

    def measure(self, embeddings, labels, key=None):
        """See `EmbeddingLoss.measure`, and the class for the names of the scalars."""
        labels = class_labels(labels)
        similarities = self.distance.similarities(self.distance.prepare(embeddings))  # (b, b)
        same = labels[:, None] == labels
        images = tf.range(dimensions(labels)[0])
        positive, negative = same & (images[:, None] != images), ~same
        infinity = tf.constant(float("inf"), similarities.dtype)
        least_positive = tf.reduce_min(tf.where(positive, similarities, infinity), 1, keepdims=True)
        largest_negative = tf.reduce_max(tf.where(negative, similarities, -infinity), 1, keepdims=True)
        positives = positive & (similarities - self.epsilon < largest_negative)
        negatives = negative & (similarities + self.epsilon > least_positive)
        counts = tf.reduce_any(positives, 1) & tf.reduce_any(negatives, 1)
        above = similarities - self.base
        losses = log_one_plus_sum_exp(-self.alpha * above, positives, 1) / self.alpha
        losses += log_one_plus_sum_exp(self.beta * above, negatives, 1) / self.beta
        return masked_mean(losses, counts), {
            "mean_positive_similarity": masked_mean(similarities, positive),
            "mean_negative_similarity": masked_mean(similarities, negative),
            "active_share": tf.reduce_mean(tf.cast(counts, tf.float32)),
        }

    def get_config(self):
        """The constructor's arguments."""
        numbers = {"alpha": self.alpha, "beta": self.beta, "base": self.base, "epsilon": self.epsilon}
        return {**super().get_config(), **numbers}
