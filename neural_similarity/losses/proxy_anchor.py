"""Proxies of classes as the anchors of all images of a batch (Kim et al., CVPR 2020)."""

import keras
import tensorflow as tf

from neural_similarity.arguments import count, number
from neural_similarity.losses.masked import log_one_plus_sum_exp
from neural_similarity.losses.proxy_loss import ProxyLoss


@keras.saving.register_keras_serializable("neural_similarity")
class ProxyAnchorLoss(ProxyLoss):
    """Σ₊ log(1 + Σ exp(−α(s − δ)))/n₊ + Σ log(1 + Σ exp(α(s + δ)))/n, with s the cosine of an image and a proxy.

    The first outer sum is over the n₊ proxies of classes that are in the batch, its inner one over the images of the
    class. The second outer sum is over all n proxies, its inner one over the images of other classes.

    The proxies start as normal numbers with the variance 2/n, as in the code that Kim et al. released.

    Args:
        num_classes: n. The labels are from 0 to n − 1.
        embedding_size: c.
        alpha: α, how steep the loss is.
        margin: δ. Cosines with the own proxy are pulled above δ, those with the others pushed below −δ.
        seed, distance, name, dtype: as for `ProxyLoss`.
    """

    def __init__(self, num_classes, embedding_size, *, alpha=32.0, margin=0.1, **kwargs):
        stddev = (2 / count("num_classes", num_classes)) ** 0.5
        super().__init__(num_classes, embedding_size, stddev=stddev, **kwargs)
        self.alpha = number("alpha", alpha, above=0)
        self.margin = number("margin", margin)

    def of_cosines(self, cosines, own, labels):
        """See `ProxyLoss.of_cosines`."""
        pulled = log_one_plus_sum_exp(-self.alpha * (cosines - self.margin), own, 0)
        pushed = log_one_plus_sum_exp(self.alpha * (cosines + self.margin), ~own, 0)
        there = tf.reduce_sum(tf.cast(tf.reduce_any(own, 0), cosines.dtype))  # n₊
        return tf.reduce_sum(pulled) / tf.maximum(there, 1) + tf.reduce_mean(pushed)

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "alpha": self.alpha, "margin": self.margin}
