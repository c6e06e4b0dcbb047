"""A potential that is a network, convex in its input."""

import math

import keras
import tensorflow as tf

from neural_similarity.arguments import count, number
from neural_similarity.ops import InputConvexWeights, bregman_all_pairs, input_convex, jeffreys_all_pairs
from neural_similarity.potentials.potential import Described, Potential


@keras.saving.register_keras_serializable("neural_similarity")
class InputConvex(Potential):
    """φ is a network that is convex in its input whatever its weights are (Amos et al., ICML 2017).

    `ops.input_convex` says how it computes. The weights that must not be negative are softplus(v)/f of learned numbers
    v, with f the number of weights that are summed, so that an optimiser cannot make φ anything but convex. The larger
    μ, the nearer φ begins to ½ μ ‖x‖².

    Args:
        layers: L.
        width: the number of features of each layer.
        curvature: where μ starts, above 0; it is learned too, and stays positive.
        sharpness: s of the layers' softplus(s·t)/s.
        seed: of the weights.
        dtype, **kwargs: as for `Divergence`.
    """

    has_weights = True

    def __init__(self, layers=2, width=64, *, curvature=0.1, sharpness=1.0, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.depth = count("layers", layers)
        self.width = count("width", width)
        self.initial_curvature = number("curvature", curvature, above=0)
        self.sharpness = number("sharpness", sharpness, above=0)
        self.seed = seed

    def build(self, input_shape):
        """Creates the weights."""
        d = self._dimensions = input_shape[-1]
        seeds = keras.random.SeedGenerator(self.seed)

        def weight(name, shape, initializer):
            return self.add_weight(name=name, shape=shape, initializer=initializer)

        def normal(stddev):
            return keras.initializers.RandomNormal(stddev=stddev, seed=seeds)

        numbers = range(1, self.depth + 1)
        self.inputs = [weight(f"input_{i}", (self.width, d), normal(d**-0.5)) for i in numbers]
        self.biases = [weight(f"bias_{i}", (self.width,), "zeros") for i in numbers]
        self.passing = [weight(f"passing_{i}", (self.width, self.width), normal(1.0)) for i in numbers[1:]]
        self.output_weights = weight("output", (self.width,), normal(1.0))
        # Its softplus is μ.
        start = self.initial_curvature + math.log(-math.expm1(-self.initial_curvature))
        self.raw_curvature = weight("curvature", (), keras.initializers.Constant(start))

    def weights_of_network(self):
        """The `InputConvexWeights`: those that must not be negative are not."""
        lists = self.inputs, self.biases, self.passing
        inputs, biases, passing = ([tf.convert_to_tensor(w) for w in weights] for weights in lists)
        return InputConvexWeights(
            inputs=inputs,
            biases=biases,
            passing=[tf.nn.softplus(v) / self.width for v in passing],
            output=tf.nn.softplus(tf.convert_to_tensor(self.output_weights)) / self.width,
            curvature=self._mu(),
        )

    def _mu(self):
        return tf.nn.softplus(tf.convert_to_tensor(self.raw_curvature))

    def value_and_grad(self, x):
        """See `Potential.value_and_grad`."""
        return input_convex(x, self.weights_of_network(), self.sharpness)

    def describe(self, x):
        """See `Divergence.describe`: a `Described` of the network without ½ μ ‖x‖².

        What that term adds to D is computed from differences of vectors instead, which keeps its digits.
        """
        without = self.weights_of_network()._replace(curvature=tf.zeros((), x.dtype))
        return Described(x, *input_convex(x, without, self.sharpness))

    def all_pairs(self, samples, references):
        """See `Divergence.all_pairs`."""
        return bregman_all_pairs(samples.x, samples.phi, *references, curvature=self._mu())

    def pairs(self, samples, references):
        """See `Divergence.pairs`."""
        squares = tf.reduce_sum((samples.x - references.x) ** 2, -1)
        return super().pairs(samples, references) + self._mu() / 2 * squares

    def symmetric_all_pairs(self, samples, references):
        """See `Divergence.symmetric_all_pairs`."""
        return jeffreys_all_pairs(samples.x, samples.grad, references.x, references.grad, curvature=self._mu())

    def symmetric_pairs(self, samples, references):
        """See `Divergence.symmetric_pairs`."""
        squares = tf.reduce_sum((samples.x - references.x) ** 2, -1)
        return super().symmetric_pairs(samples, references) + self._mu() * squares

    def get_config(self):
        """The constructor's arguments."""
        own = {"layers": self.depth, "width": self.width, "curvature": self.initial_curvature}
        return {**super().get_config(), **own, "sharpness": self.sharpness, "seed": self.seed}
