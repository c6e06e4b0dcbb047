"""The interface through which losses, miners and rankings compare images."""

import abc

import tensorflow as tf

from neural_similarity.ops import at_least_float32


class Distance(abc.ABC):
    """Compares images, for ranking, for losses and for miners, which are written once for all distances.

    `prepare` computes what is needed once for each image. All other methods take what it returned: a tensor, or a
    nested structure of tensors, whose first axis counts the images. Scores grow with nearness, so that the nearest
    image has the highest one. All results are float32 or wider.

    The letters of the shapes: b images of a batch · q queries · n images of a gallery · k candidates of each query ·
    p pairs · c channels
    """

    # Whether an image is described by one vector, which a loss can compare with vectors that it learns: proxies, or
    # the weights of classes.
    is_of_vectors = False

    # Whether `distances` are squared ones already, or like them, as divergences are.
    is_squared = False

    # What `coarse` compares images by, in one word.
    coarse_name = "cosine"

    # The layer that holds the weights of the distance itself, where it is learned; None if it has none.
    parameters = None

    @abc.abstractmethod
    def prepare(self, embeddings):
        """What is needed of each image. `embeddings` are a network's output for b images, at any precision."""

    @abc.abstractmethod
    def whole(self, prepared):
        """`(b, c)`: a vector of length one for each image.

        NMI and F1 cluster it, and miners compute their distances from it unless `mining_distances` has some.
        """

    @abc.abstractmethod
    def coarse(self, queries, gallery):
        """Scores of all pairs, `(q, n)`, by one matrix product."""

    def coarse_in_words(self, score: float) -> str:
        """A score of `coarse` for people: "cosine 0.830"."""
        return f"{self.coarse_name} {score:.3f}"

    @abc.abstractmethod
    def fine(self, queries, candidates):
        """Exact scores, `(q, k)`, of each query and its own candidates, whose first two axes are q and k."""

    @abc.abstractmethod
    def distances(self, first, second):
        """How far the two images of each pair are from each other, `(p,)`, at least 0, with a finite gradient."""

    def mining_distances(self, prepared):
        """The distances `(b, b)` by which miners choose negatives. None: those between the vectors of `whole`."""
        return

    def scores(self, prepared):
        """Scores of all pairs of a batch, `(b, b)`, that grow with nearness and have a gradient."""
        return self.coarse(prepared, prepared)

    def similarities(self, prepared):
        """How similar all pairs of a batch are, `(b, b)`, from −1 to 1 and symmetric. The diagonal has no meaning.

        Raises:
            TypeError: the distance has no upper limit, so that no similarity belongs to it.
        """
        raise TypeError(f"{type(self).__name__} has no similarities from −1 to 1, which this loss compares")

    def get_config(self):
        """The constructor's arguments, with which Keras saves a loss."""
        return {}


def vectors(embeddings):
    """`(b, c)` in float32 or wider: vectors as they are, and the mean over the pixels of maps.

    Args:
        embeddings: `(b, c)`, maps `(b, h, w, c)`, or pooled maps `(b, 1 + r, c)`; see `ops.pooled_map`.

    Raises:
        ValueError: the embeddings have another shape.
    """
    embeddings = at_least_float32(embeddings)
    if embeddings.shape.rank == 4:
        return tf.reduce_mean(embeddings, (1, 2))
    if embeddings.shape.rank == 3:
        return embeddings[:, 0]
    if embeddings.shape.rank != 2:
        raise ValueError(
            "embeddings must be vectors (b, c), maps (b, h, w, c) or pooled maps (b, 1 + r, c). "
            f"Received the shape {tuple(embeddings.shape)}"
        )
    return embeddings


def unit_vectors(embeddings):
    """`vectors`, `(b, c)`, each divided by its length. A vector of zeros stays one."""
    return tf.math.l2_normalize(vectors(embeddings), -1, epsilon=1e-12)


def chord(cosines):
    """The distance of the ends of two unit vectors, √(2 − 2·cos + 1e-6), of the shape of `cosines`.

    The small number keeps its gradient finite.
    """
    return tf.sqrt(tf.maximum(2 - 2 * cosines, 0) + 1e-6)
