"""Images as grids of cells, matched by optimal transport at the cost of a Bregman divergence."""

import tensorflow as tf

from neural_similarity.distances.bregman import Bregman
from neural_similarity.distances.distance import Distance
from neural_similarity.distances.structural import Structural
from neural_similarity.ops import dimensions


class StructuralBregman(Structural):
    """Ranks by the structural similarity of DIML (Zhao et al., ICCV 2021) with another cost of transport.

    The cosine of two vectors is replaced by 1 − ½ D, where D is a Bregman divergence; this holds for cells and for
    whole images. All vectors have length one. There ‖x − y‖² = 2 − 2 cos, so that `Structural` is the case of the
    squared Euclidean distance. This is an experiment of this project, and of no paper.

    1 − ½ D may be far below −1. So losses that need similarities from −1 to 1 refuse it, and the transport uses
    logarithms where they are needed. A divergence with weights must have them before it is used; see `Bregman`.

    `distances` are ½ Σ T √D of the cells + ½ √D of the whole images. Miners choose by the angle of the whole images'
    vectors, as with `Structural`, and not by D.

    Args:
        divergence: a `potentials.Potential`, such as `InputConvex()`.
        direction: whose cells are the samples; see `Bregman`.
        **kwargs: as for `Structural`.

    Raises:
        TypeError: it is no divergence.
        ValueError: the divergence compares sets, or takes positive numbers only; or `direction` is unknown.
    """

    coarse_name = "divergence"
    is_bounded = False

    def __init__(self, divergence, *, direction="forward", **kwargs):
        super().__init__(**kwargs)
        self.bregman = Bregman(divergence, direction=direction)
        kind = type(self.bregman.divergence).__name__
        if self.bregman.divergence.of_sets:
            raise ValueError(f"`divergence` must compare vectors, as cells are. Received: {kind}, which compares sets")
        if self.bregman.divergence.domain != "real":
            raise ValueError(f"`divergence` must take all numbers. Received: {kind}, which takes positive ones alone")

    def described(self, descriptors):
        """See `Structural.described`: the descriptors, and what the divergence needs of each vector."""
        descriptors = tf.convert_to_tensor(descriptors)
        b, one_and_r, c = dimensions(descriptors)
        _, of_vectors = self.bregman.prepare(tf.reshape(descriptors, (b * one_and_r, c)))
        shaped = tf.nest.map_structure(lambda x: tf.reshape(x, (b, one_and_r, *dimensions(x)[1:])), of_vectors)
        return descriptors, shaped

    def whole(self, prepared):
        """See `Distance.whole`."""
        return prepared[0][:, 0]

    @property
    def divergence(self):
        """D."""
        return self.bregman.divergence

    @property
    def parameters(self):
        """See `Distance.parameters`: the divergence, if it has weights."""
        return self.bregman.parameters

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), **self.bregman.get_config()}

    def compare(self, first, second):
        """See `Structural.compare`: 1 − ½ D."""
        return 1 + self.bregman.coarse(first, second) / 2

    def coarse_in_words(self, score):
        """See `Distance.coarse_in_words`."""
        return f"1 − D/2 = {score:.3f}"

    def scores(self, prepared):
        """See `Distance.scores`. Where D(x, y) and D(y, x) differ, all pairs are matched in both orders."""
        if self.bregman.direction in ("jeffreys", "minimum"):
            return 2 * self._half_of_scores(prepared)
        b, one_and_r, _ = dimensions(prepared[0])
        products = tf.transpose(self._all_products(prepared), (0, 2, 1, 3))
        found = self._match(tf.reshape(products, (b * b, one_and_r, one_and_r)))
        return tf.reshape(found.score, (b, b))

    def similarities(self, prepared):
        """See `Distance.similarities`: a `TypeError`, as 1 − ½ D has no lower limit."""
        return Distance.similarities(self, prepared)
