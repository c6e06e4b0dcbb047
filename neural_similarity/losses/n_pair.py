"""Each image nearest to one of its class, among all images of the batch (Sohn, NeurIPS 2016; InfoNCE)."""

import keras
import tensorflow as tf

from neural_similarity.arguments import number
from neural_similarity.losses.embedding_loss import EmbeddingLoss, class_labels
from neural_similarity.losses.masked import masked_mean
from neural_similarity.ops import dimensions


@keras.saving.register_keras_serializable("neural_similarity")
class NPairLoss(EmbeddingLoss):
    """−log(exp(s_p/τ) / Σ exp(s/τ)), the mean over all pairs of an anchor and another image p of its class.

    s are the scores of the anchor with all other images of the batch, `distance.scores`: cosines, negative distances or
    negative divergences. The sum is over the positive p itself and the images of other classes; other positives of the
    anchor do not compete with it.

    `measure` returns, beside the loss, `mean_positive_score` and `mean_negative_score`, and `active_share`, the share
    of the images that have another one of their class, and one of another class, in the batch.

    Args:
        temperature: τ.
        distance, name, dtype: as for `EmbeddingLoss`.
    """

    def __init__(self, *, temperature=0.1, **kwargs):
        super().__init__(**kwargs)
        self.temperature = number("temperature", temperature, above=0)

    def measure(self, embeddings, labels, key=None):
        """See `EmbeddingLoss.measure`, and the class for the names of the scalars."""
        labels = class_labels(labels)
        scores = self.distance.scores(self.distance.prepare(embeddings))  # (b, b)
        same = labels[:, None] == labels
        images = tf.range(dimensions(labels)[0])
        positive, negative = same & (images[:, None] != images), ~same
        logits = scores / self.temperature
        # log Σ over the negatives; −∞ would have no gradient where an anchor has none.
        lowest = tf.constant(logits.dtype.min / 2, logits.dtype)
        of_negatives = tf.reduce_logsumexp(tf.where(negative, logits, lowest), 1, keepdims=True)
        losses = tf.nn.softplus(of_negatives - logits)  # −log of e^s / (e^s + Σ)
        counts = positive & tf.reduce_any(negative, 1, keepdims=True)
        return masked_mean(tf.where(counts, losses, 0), counts), {
            "mean_positive_score": masked_mean(scores, positive),
            "mean_negative_score": masked_mean(scores, negative),
            "active_share": tf.reduce_mean(tf.cast(tf.reduce_any(counts, 1), tf.float32)),
        }

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "temperature": self.temperature}
