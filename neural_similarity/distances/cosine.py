"""Images as vectors of length one, compared by their cosine."""

import tensorflow as tf

from neural_similarity.distances.distance import Distance, chord, unit_vectors


class Cosine(Distance):
    """Scores are cosines; the distance is that of the ends of two vectors of length one, from 0 to 2.

    It takes embeddings `(b, c)`; or maps `(b, h, w, c)`, pooled or not, of which it takes the mean.
    """

    is_of_vectors = True

    def prepare(self, embeddings):
        """See `Distance.prepare`: `(b, c)`, vectors of length one."""
        return unit_vectors(embeddings)

    def whole(self, prepared):
        """See `Distance.whole`."""
        return prepared

    def coarse(self, queries, gallery):
        """See `Distance.coarse`."""
        return tf.matmul(queries, gallery, transpose_b=True)

    def fine(self, queries, candidates):
        """See `Distance.fine`."""
        return tf.einsum("qc,qkc->qk", queries, candidates)

    def distances(self, first, second):
        """See `Distance.distances`."""
        return chord(tf.reduce_sum(first * second, -1))

    def similarities(self, prepared):
        """See `Distance.similarities`."""
        return tf.matmul(prepared, prepared, transpose_b=True)
