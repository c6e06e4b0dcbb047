"""Images as vectors, compared by a Bregman divergence, or by another one that `potentials` has."""

import keras
import tensorflow as tf

from neural_similarity.distances.distance import Distance, unit_vectors, vectors
from neural_similarity.ops import at_least_float32, dimensions
from neural_similarity.potentials import Divergence

DIRECTIONS = ("forward", "backward", "jeffreys", "minimum")


class Bregman(Distance):
    """The distance is a divergence D, which is no metric: it knows which image comes first. Scores are its negative.

    It takes embeddings `(b, c)`; or maps `(b, h, w, c)`, pooled or not, of which it takes the mean. Where the
    divergence is one of sets, maps are sets of their pixels, and three axes are sets of points, `(b, m, c)`.

    `losses.TripletLoss` takes D as it is, since D is like a squared distance. `miners.DistanceWeighted` is for
    distances on a sphere, and does not go with it.

    A divergence with weights must have them before it is used, by `divergence.build((None, c))`. A loss hands them to
    the model that trains them as `loss.parameters`.

    Args:
        divergence: a `potentials.Divergence`, such as `InputConvex()`.
        direction: which image is the sample. `"forward"`: the first one, that is a query or an anchor, so that images
            of a gallery are references. `"backward"`: the second one. `"jeffreys"`: the sum of both, D(x, y) + D(y, x).
            `"minimum"`: the smaller of both.

    Raises:
        TypeError: it is no divergence.
        ValueError: `direction` is unknown.
    """

    is_squared = True

    coarse_name = "divergence"

    def __init__(self, divergence, *, direction="forward"):
        if direction not in DIRECTIONS:
            raise ValueError(f"`direction` must be one of {', '.join(map(repr, DIRECTIONS))}. Received: {direction!r}")
        if isinstance(divergence, dict):  # from a file
            divergence = keras.saving.deserialize_keras_object(divergence)
        if not isinstance(divergence, Divergence):
            raise TypeError(
                f"`divergence` must be a layer of neural_similarity.potentials, as InputConvex(). Received: "
                f"{divergence!r}"
            )
        self.divergence = divergence
        self.direction = direction

    @property
    def parameters(self):
        """See `Distance.parameters`: the divergence, if it has weights.

        Raises:
            ValueError: it does not have them yet.
        """
        self._check_built()
        return self.divergence if self.divergence.weights else None

    def _check_built(self):
        if self.divergence.has_weights and not self.divergence.built:
            raise ValueError(
                f"{type(self.divergence).__name__} has no weights yet, so that no optimiser could train them. Next: "
                "divergence.build((None, c)), with c the number of channels of the embedding"
            )

    def get_config(self):
        """The constructor's arguments."""
        return {"divergence": keras.saving.serialize_keras_object(self.divergence), "direction": self.direction}

    def prepare(self, embeddings):
        """See `Distance.prepare`: (vectors of length one, for `whole`; what the divergence needs)."""
        self._check_built()
        embeddings = at_least_float32(embeddings)
        if not self.divergence.of_sets or embeddings.shape.rank == 2:
            means = points = vectors(embeddings)
        else:
            points = tf.reshape(embeddings, (dimensions(embeddings)[0], -1, embeddings.shape[-1]))
            means = tf.reduce_mean(points, 1)
        return unit_vectors(means), self.divergence.described(points)

    def whole(self, prepared):
        """See `Distance.whole`: the directions of the vectors."""
        return prepared[0]

    def coarse(self, queries, gallery):
        """See `Distance.coarse`."""
        (_, x), (_, y), divergence = queries, gallery, self.divergence
        if self.direction == "jeffreys":
            return -divergence.symmetric_all_pairs(x, y)
        forward = divergence.all_pairs(x, y) if self.direction != "backward" else None
        backward = tf.linalg.matrix_transpose(divergence.all_pairs(y, x)) if self.direction != "forward" else None
        return -self._directed(forward, backward)

    def coarse_in_words(self, score):
        """See `Distance.coarse_in_words`."""
        return f"D = {-score:.3f}"

    def fine(self, queries, candidates):
        """See `Distance.fine`."""
        q, k = tf.unstack(tf.shape(tf.nest.flatten(candidates)[0])[:2])
        queries = tf.nest.map_structure(lambda x: tf.repeat(x, k, axis=0), queries)
        candidates = tf.nest.map_structure(
            lambda x: tf.reshape(x, tf.concat([[q * k], tf.shape(x)[2:]], 0)), candidates
        )
        return tf.reshape(-self.distances(queries, candidates), (q, k))

    def distances(self, first, second):
        """See `Distance.distances`: D. Rounding may make it a little less than 0."""
        (_, x), (_, y), divergence = first, second, self.divergence
        if self.direction == "jeffreys":
            return divergence.symmetric_pairs(x, y)
        forward = divergence.pairs(x, y) if self.direction != "backward" else None
        backward = divergence.pairs(y, x) if self.direction != "forward" else None
        return self._directed(forward, backward)

    def mining_distances(self, prepared):
        """See `Distance.mining_distances`: D of all pairs."""
        return -self.coarse(prepared, prepared)

    def _directed(self, forward, backward):
        if self.direction == "minimum":
            return tf.minimum(forward, backward)
        return forward if self.direction == "forward" else backward
