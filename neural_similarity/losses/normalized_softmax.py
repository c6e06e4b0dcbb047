"""Classification by cosines, to train embeddings (Zhai and Wu, BMVC 2019)."""

import keras
import tensorflow as tf

from neural_similarity.arguments import count, number
from neural_similarity.losses.proxy_loss import ProxyLoss


@keras.saving.register_keras_serializable("neural_similarity")
class NormalizedSoftmaxLoss(ProxyLoss):
    """−log softmax(s/τ) at the image's own class, the mean over the images; s are the cosines with all proxies.

    The proxies start as normal numbers with the variance 1/c, so that their lengths are about 1. That is our choice.

    Args:
        num_classes: n. The labels are from 0 to n − 1.
        embedding_size: c.
        temperature: τ.
        seed, distance, name, dtype: as for `ProxyLoss`.
    """

    def __init__(self, num_classes, embedding_size, *, temperature=0.05, **kwargs):
        stddev = count("embedding_size", embedding_size) ** -0.5
        super().__init__(num_classes, embedding_size, stddev=stddev, **kwargs)
        self.temperature = number("temperature", temperature, above=0)

    def of_cosines(self, cosines, own, labels):
        """See `ProxyLoss.of_cosines`."""
        logits = cosines / self.temperature
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "temperature": self.temperature}
