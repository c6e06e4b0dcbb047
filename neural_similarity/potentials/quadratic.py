"""Potentials whose divergence is a squared distance."""

import keras
import tensorflow as tf

from neural_similarity.arguments import count, number
from neural_similarity.ops import squared_distances
from neural_similarity.potentials.potential import Potential


@keras.saving.register_keras_serializable("neural_similarity")
class SquaredEuclidean(Potential):
    """φ(x) = ‖x‖², so that D(x, y) = ‖x − y‖².

    Args:
        dtype, **kwargs: as for `Divergence`.
    """

    def value_and_grad(self, x):
        """See `Potential.value_and_grad`."""
        return tf.reduce_sum(x**2, -1), 2 * x

    def describe(self, x):
        """See `Divergence.describe`: the vectors themselves."""
        return x

    def all_pairs(self, samples, references):
        """See `Divergence.all_pairs`."""
        return squared_distances(samples, references)

    def pairs(self, samples, references):
        """See `Divergence.pairs`."""
        return tf.reduce_sum((samples - references) ** 2, -1)


@keras.saving.register_keras_serializable("neural_similarity")
class Mahalanobis(Potential):
    """φ(x) = ½ xᵀMx with M = LLᵀ + μI, so that D(x, y) = ½ ‖Lᵀ(x − y)‖² + ½ μ ‖x − y‖². L is learned.

    Args:
        rank: r, the number of columns of L. None for d.
        curvature: μ, from 0.
        dtype, **kwargs: as for `Divergence`.
    """

    has_weights = True

    def __init__(self, rank=None, *, curvature=0.0, **kwargs):
        super().__init__(**kwargs)
        self.rank = None if rank is None else count("rank", rank)
        self.curvature = number("curvature", curvature, least=0)

    def build(self, input_shape):
        """Creates L, `(d, r)`: √2 times the unit matrix as far as it goes. So D begins as ‖x − y‖² where r = d, μ = 0.

        Raises:
            ValueError: r is larger than d.
        """
        d = self._dimensions = input_shape[-1]
        if self.rank is not None and self.rank > d:
            raise ValueError(f"`rank` must be at most {d}, the number of dimensions. Received: {self.rank}")
        start = keras.initializers.Identity(2**0.5)
        self.factor = self.add_weight(name="factor", shape=(d, self.rank or d), initializer=start)

    def value_and_grad(self, x):
        """See `Potential.value_and_grad`."""
        factor = tf.convert_to_tensor(self.factor)
        along = tf.einsum("bd,dr->br", x, factor)
        gradient = tf.einsum("br,dr->bd", along, factor) + self.curvature * x
        return (tf.reduce_sum(along**2, -1) + self.curvature * tf.reduce_sum(x**2, -1)) / 2, gradient

    def describe(self, x):
        """See `Divergence.describe`: the vectors themselves."""
        return x

    def all_pairs(self, samples, references):
        """See `Divergence.all_pairs`."""
        # Far from the origin, Lᵀx would lose its digits.
        origin = tf.stop_gradient(tf.reduce_mean(references, -2, keepdims=True))
        return squared_distances(self._stretched(samples - origin), self._stretched(references - origin))

    def pairs(self, samples, references):
        """See `Divergence.pairs`."""
        return tf.reduce_sum(self._stretched(samples - references) ** 2, -1)

    def _stretched(self, x):
        """(Lᵀx, √μ x)/√2, `(…, r)` or `(…, r + d)`."""
        along = tf.einsum("...d,dr->...r", x, tf.convert_to_tensor(self.factor))
        parts = [along, self.curvature**0.5 * x] if self.curvature else [along]
        return tf.concat(parts, -1) / 2**0.5

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "rank": self.rank, "curvature": self.curvature}
