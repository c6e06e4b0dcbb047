"""Images as vectors of any length, compared by their Euclidean distance."""

import tensorflow as tf

from neural_similarity.distances.distance import Distance, unit_vectors, vectors
from neural_similarity.ops import squared_distances


class Euclidean(Distance):
    """The distance is ‖a − b‖, without an upper limit, and scores are its negative.

    It takes embeddings `(b, c)`; or maps `(b, h, w, c)`, pooled or not, of which it takes the mean.
    """

    is_of_vectors = True
    coarse_name = "distance"

    def coarse_in_words(self, score):
        """See `Distance.coarse_in_words`."""
        return f"distance {-score:.3f}"

    def prepare(self, embeddings):
        """See `Distance.prepare`: `(b, c)`."""
        return vectors(embeddings)

    def whole(self, prepared):
        """See `Distance.whole`."""
        return unit_vectors(prepared)

    def coarse(self, queries, gallery):
        """See `Distance.coarse`."""
        return -tf.sqrt(tf.maximum(squared_distances(queries, gallery), 0))

    def fine(self, queries, candidates):
        """See `Distance.fine`."""
        return -tf.norm(queries[:, None] - candidates, axis=-1)

    def scores(self, prepared):
        """See `Distance.scores`: −√(‖a − b‖² + 1e-6), whose gradient is finite for equal vectors, too."""
        return -tf.sqrt(tf.maximum(squared_distances(prepared, prepared), 0) + 1e-6)

    def distances(self, first, second):
        """See `Distance.distances`: √(‖a − b‖² + 1e-6). The small number keeps the gradient finite."""
        return tf.sqrt(tf.reduce_sum((first - second) ** 2, -1) + 1e-6)
