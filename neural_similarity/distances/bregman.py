"""Images as vectors, compared by a Bregman divergence, or by another one that `potentials` has."""

import keras
import tensorflow as tf

from neural_similarity.distances.distance import Distance, unit_vectors, vectors

DIRECTIONS = ("forward", "backward", "jeffreys", "minimum")


class Bregman(Distance):
    """The distance is a divergence D, which is no metric: it knows which image comes first. Scores are its negative.

    It takes embeddings `(b, c)`; or maps `(b, h, w, c)`, pooled or not, of which it takes the mean. Where the
    divergence is one of sets, three axes are sets of points, `(b, m, c)`.

    A divergence with weights must have them before it is used, by `divergence.build((None, c))`. A loss hands them to
    the model that trains them as `loss.parameters`.

    Args:
        divergence: a `potentials.Divergence`, such as `InputConvex()`.
        direction: which image is the sample. `"forward"`: the first one, that is a query or an anchor, so that images
            of a gallery are references. `"backward"`: the second one. `"jeffreys"`: the sum of both, D(x, y) + D(y, x).
            `"minimum"`: the smaller of both.

    Raises:
        ValueError: there is no such direction.
    """

    def __init__(self, divergence, *, direction="forward"):
        if direction not in DIRECTIONS:
            raise ValueError(f"`direction` must be one of {', '.join(map(repr, DIRECTIONS))}. Received: {direction!r}")
        if isinstance(divergence, dict):  # from a file
            divergence = keras.saving.deserialize_keras_object(divergence)
        self.divergence = divergence
        self.direction = direction

    @property
    def parameters(self):
        """See `Distance.parameters`: the divergence, if it has weights.

        Raises:
            ValueError: it does not have them yet.
        """
        if not self.divergence.has_weights:
            return None
        if not self.divergence.built:
            raise ValueError(
                f"{type(self.divergence).__name__} has no weights yet, so that no optimiser could train them. Next: "
                "divergence.build((None, c)), with c the number of channels of the embedding"
            )
        return self.divergence

    def get_config(self):
        """The constructor's arguments."""
        return {"divergence": keras.saving.serialize_keras_object(self.divergence), "direction": self.direction}

    def prepare(self, embeddings):
        """See `Distance.prepare`: (vectors of length one, for `whole`; what the divergence needs)."""
        embeddings = tf.convert_to_tensor(embeddings)
        points = embeddings if self.divergence.of_sets and embeddings.shape.rank == 3 else vectors(embeddings)
        means = tf.reduce_mean(points, 1) if points.shape.rank == 3 else points
        return unit_vectors(means), self.divergence.described(points)

    def whole(self, prepared):
        """See `Distance.whole`: the directions of the vectors."""
        return prepared[0]

    def coarse(self, queries, gallery):
        """See `Distance.coarse`."""
        forward, backward = self._both(queries[1], gallery[1], self.divergence.all_pairs, tf.transpose)
        return -self._directed(forward, backward)

    def fine(self, queries, candidates):
        """See `Distance.fine`."""
        q, k = tf.unstack(tf.shape(tf.nest.flatten(candidates)[0])[:2])
        queries = tf.nest.map_structure(lambda x: tf.repeat(x, k, axis=0), queries)
        candidates = tf.nest.map_structure(
            lambda x: tf.reshape(x, tf.concat([[q * k], tf.shape(x)[2:]], 0)), candidates
        )
        return tf.reshape(-self.distances(queries, candidates), (q, k))

    def distances(self, first, second):
        """See `Distance.distances`: D, to the power of one. Rounding may make it a little less than 0."""
        return self._directed(*self._both(first[1], second[1], self.divergence.pairs, tf.identity))

    def mining_distances(self, prepared):
        """See `Distance.mining_distances`: D of all pairs."""
        return -self.coarse(prepared, prepared)

    def _both(self, first, second, compare, exchanged):
        """(D(first, second), D(second, first)) by one comparison each; None for the one that does not count."""
        forward = compare(first, second) if self.direction != "backward" else None
        backward = exchanged(compare(second, first)) if self.direction != "forward" else None
        return forward, backward

    def _directed(self, forward, backward):
        if self.direction == "jeffreys":
            return forward + backward
        if self.direction == "minimum":
            return tf.minimum(forward, backward)
        return forward if self.direction == "forward" else backward
