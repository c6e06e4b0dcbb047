"""Images as grids of cells, which optimal transport matches (DIML: Zhao et al., ICCV 2021)."""

import numpy as np
import tensorflow as tf

from neural_similarity.distances.distance import Distance, chord
from neural_similarity.ops import dimensions, match, structural_descriptors, structural_scores


class Structural(Distance):
    """Ranks by the cosine of whole images plus their structural similarity, cos + SS. `ops.structural` has both.

    It takes maps `(b, h, w, c)`, or what `ops.pooled_map` makes of them, `(b, 1 + r, c)`. `coarse` compares
    only the images as a whole. To compare the cells too would take about r² times as long.

    Args:
        cells: the number of cells in height and in width, 4 in the paper, so that r = 16.
        whole: what describes the image as a whole: `"map"` for networks that were trained without structure, `"cells"`
            for those that this distance trains; see `ops.structural_descriptors`.
        entropy: ε, 0.05 in the paper.
        sweeps: of Sinkhorn's algorithm.
        marginals: how the cells are weighted, `"correlation"` or `"uniform"`; see `ops.match`.
        gradient: `"detached"`, `"unrolled"` or `"implicit"`; see `ops.transport_plan`.
        swap_marginals: gives the cells of each image the other one's weights in `distances` and `similarities`, that
            is in training, as the released code does.
    """

    # Whether `compare` gives numbers from −1 to 1.
    is_bounded = True

    def __init__(
        self,
        *,
        cells=4,
        whole="map",
        entropy=0.05,
        sweeps=20,
        marginals="correlation",
        gradient="detached",
        swap_marginals=False,
    ):
        self.cells = cells
        self.whole_is = whole
        self.matching = {"entropy": entropy, "sweeps": sweeps, "marginals": marginals}
        self.training = {"gradient": gradient, "swap_marginals": swap_marginals}

    def get_config(self):
        """The constructor's arguments."""
        return {"cells": self.cells, "whole": self.whole_is, **self.matching, **self.training}

    def prepare(self, embeddings):
        """See `Distance.prepare`.

        Two steps: `descriptors` makes vectors of the embeddings, `described` computes what a comparison needs of them.
        For cosines the second step has nothing to do.
        """
        return self.described(self.descriptors(embeddings))

    def descriptors(self, embeddings):
        """The image as a whole and its cells as vectors of length one, `(b, 1 + r, c)`, in float32 or wider.

        Raises:
            ValueError: the embeddings are no maps.
        """
        embeddings = tf.convert_to_tensor(embeddings)
        if embeddings.shape.rank not in (3, 4):
            raise ValueError(
                "embeddings must be maps (b, h, w, c) or pooled maps (b, 1 + r, c), as a vector has no cells. "
                f"Received the shape {tuple(embeddings.shape)}"
            )
        return structural_descriptors(embeddings, self.cells, self.whole_is)

    def described(self, descriptors):
        """What all other methods take: here the descriptors themselves, `(b, 1 + r, c)`.

        A subclass may return a structure of several tensors `(b, 1 + r, …)`.
        """
        return descriptors

    def whole(self, prepared):
        """See `Distance.whole`."""
        return prepared[:, 0]

    def coarse(self, queries, gallery):
        """See `Distance.coarse`: `compare` of the images as a whole."""
        return self.compare(*(tf.nest.map_structure(lambda x: x[:, 0], images) for images in (queries, gallery)))

    def fine(self, queries, candidates):
        """See `Distance.fine`: cos + SS."""
        q, k, one_and_s, *_ = _axes(candidates)
        # One product for all candidates of a query, not one for each.
        together = tf.nest.map_structure(lambda x: tf.reshape(x, (q, k * one_and_s, *dimensions(x)[3:])), candidates)
        products = tf.reshape(self.compare(queries, together), (q, _axes(queries)[1], k, one_and_s))
        return structural_scores(products, **self.matching, bounded=self.is_bounded)[0]

    def match(self, first, second):
        """The `Match` of each pair, of what `described` returned for the first and the second images."""
        return self._match(self.compare(first, second))

    def compare(self, first, second):
        """The similarities `(…, r, s)` of described vectors: here the cosines of `(…, r, c)` and `(…, s, c)`."""
        return tf.matmul(first, second, transpose_b=True)

    def _match(self, products):
        return match(products, **self.matching, **self.training, bounded=self.is_bounded)

    def distances(self, first, second):
        """See `Distance.distances`: half of Σ T_rs d_rs, the transported distance of the cells, plus half of that of
        the whole images."""
        found = self.match(first, second)
        return (tf.reduce_sum(found.plan * chord(found.similarities), (-2, -1)) + chord(found.whole)) / 2

    def scores(self, prepared):
        """See `Distance.scores`: cos + SS."""
        return 2 * self._half_of_scores(prepared)

    def similarities(self, prepared):
        """See `Distance.similarities`: (SS + cos)/2."""
        return self._half_of_scores(prepared)

    def _half_of_scores(self, prepared):
        """(SS + cos)/2 of all pairs.

        It does not depend on which image comes first, up to the residual of the sweeps. So only half of the pairs are
        matched.
        """
        b = _axes(prepared)[0]
        pairs = _pairs(b)
        products = self._all_products(prepared)
        found = self._match(tf.gather_nd(tf.transpose(products, (0, 2, 1, 3)), pairs))
        half = tf.scatter_nd(pairs, found.score / 2, (b, b))
        return half + tf.transpose(half)

    def _all_products(self, prepared):
        """`compare` of all vectors of all images, `(b, 1 + r, b, 1 + r)`."""
        b, one_and_r, *_ = _axes(prepared)
        flat = tf.nest.map_structure(lambda x: tf.reshape(x, (b * one_and_r, *dimensions(x)[2:])), prepared)
        return tf.reshape(self.compare(flat, flat), (b, one_and_r, b, one_and_r))


def _axes(prepared):
    """The sizes of the axes of the first of the tensors."""
    return dimensions(tf.convert_to_tensor(tf.nest.flatten(prepared)[0]))


def _pairs(b):
    """The pairs i < j of b images, `(b·(b − 1)/2, 2)` int32; `b` is an integer or a tensor."""
    if isinstance(b, int):
        return np.stack(np.triu_indices(b, 1), -1).astype(np.int32)
    numbers = tf.range(b)
    return tf.cast(tf.where(numbers[:, None] < numbers), tf.int32)
