"""What all losses have in common that learn a vector for each class."""

import keras
import tensorflow as tf

from neural_similarity.arguments import count
from neural_similarity.distances import Cosine
from neural_similarity.losses.embedding_loss import EmbeddingLoss, class_labels
from neural_similarity.losses.masked import masked_mean


class ProxyLoss(EmbeddingLoss):
    """A loss of the cosines between images and proxies: vectors that are learned, one for each class.

    Subclasses say what it is, by `of_cosines`. `parameters` holds the proxies, `(n, c)`, which are also at
    `loss.proxies`. They start at random.

    `measure` returns, beside the loss, `mean_positive_similarity`, the mean cosine of the images and the proxies of
    their own classes, and `mean_negative_similarity`, that of the images and all other proxies.

    Args:
        num_classes: n. The labels are from 0 to n − 1.
        embedding_size: c.
        stddev: of the normal distribution in which the proxies start.
        seed: of that start. None for a seed that differs from run to run.
        distance: `Cosine()`, the default. Structural distances are refused: a proxy is one vector and has no
            cells that could be matched. A network that was trained with proxies can be ranked by one.
        name, dtype: as for `EmbeddingLoss`.
    """

    def __init__(self, num_classes, embedding_size, *, stddev, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not self.distance.is_of_vectors:
            raise TypeError(
                f"{type(self).__name__} compares images with proxies, which are single vectors. Images of "
                f"{type(self.distance).__name__} are more than one vector, and a proxy has no cells to match with "
                "theirs. Train with Cosine(), and rank by the structural distance"
            )
        if not isinstance(self.distance, Cosine):
            raise TypeError(
                f"`distance` must be Cosine(), as {type(self).__name__} is one of cosines. Received: "
                f"{type(self.distance).__name__}"
            )
        self.num_classes = count("num_classes", num_classes)
        self.embedding_size = count("embedding_size", embedding_size)
        self.seed = seed
        start = keras.initializers.RandomNormal(stddev=stddev, seed=seed)
        self.proxies = self._add_weight("proxies", (self.num_classes, self.embedding_size), start)

    def measure(self, embeddings, labels, key=None):
        """See `EmbeddingLoss.measure`, and the class for the names of the scalars."""
        labels = class_labels(labels, self.num_classes)
        prepared = self.distance.prepare(embeddings)
        if prepared.shape[-1] != self.embedding_size:
            raise ValueError(
                f"embeddings must have `embedding_size` channels, {self.embedding_size}. Received: {prepared.shape[-1]}"
            )
        proxies = self.distance.prepare(tf.cast(self.proxies.value, prepared.dtype))
        cosines = self.distance.coarse(prepared, proxies)
        own = labels[:, None] == tf.range(self.num_classes, dtype=labels.dtype)
        return self.of_cosines(cosines, own, labels), {
            "mean_positive_similarity": masked_mean(cosines, own),
            "mean_negative_similarity": masked_mean(cosines, ~own),
        }

    def of_cosines(self, cosines, own, labels):
        """The loss of a batch, a scalar.

        Args:
            cosines: `(b, n)`, of images and proxies.
            own: `(b, n)` bool, whether the proxy is that of the image's class.
            labels: `(b,)` integers from 0 to n − 1.
        """
        raise NotImplementedError

    def get_config(self):
        """The constructor's arguments."""
        sizes = {"num_classes": self.num_classes, "embedding_size": self.embedding_size}
        return {**super().get_config(), **sizes, "seed": self.seed}
