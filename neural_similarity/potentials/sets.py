"""Divergences between sets of points, such as samples of two distributions.

b sets · m points of each · d dimensions · k functions · f features of a function's hidden layer
"""

import keras
import tensorflow as tf

from neural_similarity.arguments import count, number
from neural_similarity.ops import largest_piece, pieces_all_pairs, pieces_pairs, squared_distances
from neural_similarity.potentials.divergence import Divergence


class SetDivergence(Divergence):
    """A divergence between sets of points `(b, m, d)`; single points `(b, d)` are sets of one.

    It does not depend on the order of a set's points.
    """

    of_sets = True

    def phi(self, x):
        """Φ of each set, `(b,)`. There is no `grad`, as `Potential` has it: Φ is convex in the distribution of a set.

        Raises:
            ValueError: the sets have another shape than `(b, m, d)` or `(b, d)`.
        """
        return self.call(self.ready(x))

    def check_shape(self, shape):
        """Raises a `ValueError` for inputs of another shape than `(b, m, d)` or `(b, d)`."""
        if len(shape) not in (2, 3):
            raise ValueError(
                f"{type(self).__name__} compares sets of points (b, m, d), or points (b, d). "
                f"Received the shape {tuple(shape)}"
            )
        if len(shape) == 3 and shape[1] == 0:
            raise ValueError(f"{type(self).__name__}: sets without points have no mean. Received {tuple(shape)}")


@keras.saving.register_keras_serializable("neural_similarity")
class FunctionalMaxAffine(SetDivergence):
    """Φ(p) = max_k F_k(p), where F_k(p) is the mean of a network f_k over the points of p (Cilingir et al., ICML 2020).

    Each f_k is a network of its own, with one hidden layer: ⟨v_k, relu(A_k x + a_k)⟩ + c_k. All of them are computed at
    once. Φ is convex in the sets' distribution, as each F_k is linear in it. In the points it is not convex. The layer
    itself is Φ: it returns `(b,)`.

    Args:
        pieces: k.
        width: f.
        temperature: τ, from 0; see `ops.max_affine`. With a small one, training may end with one function that is the
            largest of all sets. Then every divergence is 0, and no gradient brings the other functions back.
        seed: of the weights.
        dtype, **kwargs: as for `Divergence`.
    """

    has_weights = True

    def __init__(self, pieces=32, width=64, *, temperature=1.0, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.pieces = count("pieces", pieces)
        self.width = count("width", width)
        self.temperature = number("temperature", temperature, least=0)
        self.seed = seed

    def build(self, input_shape):
        """Creates the networks' weights, those of all k in one array each."""
        d = self._dimensions = input_shape[-1]
        seeds = keras.random.SeedGenerator(self.seed)

        def normal(stddev):
            return keras.initializers.RandomNormal(stddev=stddev, seed=seeds)

        shape = self.pieces, self.width
        self.hidden = self.add_weight(name="hidden", shape=(*shape, d), initializer=normal((2 / d) ** 0.5))
        self.hidden_bias = self.add_weight(name="hidden_bias", shape=shape, initializer="zeros")
        self.output_weights = self.add_weight(name="output", shape=shape, initializer=normal(self.width**-0.5))
        self.output_bias = self.add_weight(name="output_bias", shape=(self.pieces,), initializer="zeros")

    def describe(self, x):
        """See `Divergence.describe`: F_k, `(b, k)`."""
        hidden, output = tf.convert_to_tensor(self.hidden), tf.convert_to_tensor(self.output_weights)
        features = tf.nn.relu(tf.einsum("...d,kfd->...kf", x, hidden) + tf.convert_to_tensor(self.hidden_bias))
        values = tf.einsum("...kf,kf->...k", features, output) + tf.convert_to_tensor(self.output_bias)
        return tf.reduce_mean(values, 1) if len(x.shape) == 3 else values

    def call(self, inputs):
        """Φ."""
        return largest_piece(self.describe(inputs), self.temperature)

    def all_pairs(self, samples, references):
        """See `Divergence.all_pairs`."""
        return pieces_all_pairs(samples, references, self.temperature)

    def pairs(self, samples, references):
        """See `Divergence.pairs`."""
        return pieces_pairs(samples, references, self.temperature)

    def get_config(self):
        """The constructor's arguments."""
        names = ("pieces", "width", "temperature", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable("neural_similarity")
class MomentMatching(SetDivergence):
    """D(p, q) = ‖mean of p − mean of q‖², the symmetric special case of deep divergences (Cilingir et al., ICML 2020).

    The points are a network's output, so that the network learns which features the means are taken of. The layer
    itself returns ‖mean‖², `(b,)`.

    Args:
        dtype, **kwargs: as for `Divergence`.
    """

    def describe(self, x):
        """See `Divergence.describe`: the means, `(b, d)`."""
        return tf.reduce_mean(x, 1) if len(x.shape) == 3 else x

    def call(self, inputs):
        """‖mean‖²."""
        return tf.reduce_sum(self.describe(inputs) ** 2, -1)

    def all_pairs(self, samples, references):
        """See `Divergence.all_pairs`."""
        return squared_distances(samples, references)

    def pairs(self, samples, references):
        """See `Divergence.pairs`."""
        return tf.reduce_sum((samples - references) ** 2, -1)
