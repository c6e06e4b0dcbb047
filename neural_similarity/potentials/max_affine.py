"""The potential that is the largest of several affine functions."""

import keras
import tensorflow as tf

from neural_similarity.arguments import count, number
from neural_similarity.ops import (
    affine_pieces,
    largest_piece,
    piece_shares,
    pieces_all_pairs,
    pieces_pairs,
    squared_distances,
)
from neural_similarity.potentials.potential import Potential


@keras.saving.register_keras_serializable("neural_similarity")
class MaxAffine(Potential):
    """φ(x) = max_k (⟨w_k, x⟩ + b_k) + ½ μ ‖x‖², with learned w and b.

    With a temperature τ > 0 the maximum is smoothed: τ log Σ_k exp(·/τ), which is larger by τ log k at most. With
    τ = 0 and μ = 0 the divergence of all vectors for which the same affine function is largest is 0, and it has no
    gradient with respect to the reference.

    Args:
        pieces: k, how many affine functions.
        temperature: τ, from 0.
        curvature: μ, from 0.
        scale: the length of every w_k at the start, whose direction is random. b starts at 0.
        seed: of the directions.
        dtype, **kwargs: as for `Divergence`.
    """

    has_weights = True

    def __init__(self, pieces=32, *, temperature=0.1, curvature=0.0, scale=1.0, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.pieces = count("pieces", pieces)
        self.temperature = number("temperature", temperature, least=0)
        self.curvature = number("curvature", curvature, least=0)
        self.scale = number("scale", scale, above=0)
        self.seed = seed

    def build(self, input_shape):
        """Creates w, `(k, d)`, and b, `(k,)`."""
        normal = keras.initializers.RandomNormal(seed=self.seed)

        def directions(shape, dtype):
            return self.scale * tf.math.l2_normalize(normal(shape, dtype), -1)

        self._dimensions = input_shape[-1]
        shape = self.pieces, self._dimensions
        self.slopes = self.add_weight(name="slopes", shape=shape, initializer=directions)
        self.offsets = self.add_weight(name="offsets", shape=(self.pieces,), initializer="zeros")

    def start_from(self, centres):
        """Makes the affine functions tangents of ‖x‖² at these vectors. With μ = 0, D then starts close to ‖x − y‖².

        Args:
            centres: `(k, d)`, such as the centres that k-means finds in the data.

        Raises:
            ValueError: there are not k of them.
        """
        centres = tf.convert_to_tensor(centres, self.compute_dtype)
        d = self.slopes.shape[1] if self.built else centres.shape[-1]
        if tuple(centres.shape) != (self.pieces, d):
            wanted = f"({self.pieces}, {d if self.built else 'd'})"
            raise ValueError(f"`centres` must be {wanted}. Received the shape {tuple(centres.shape)}")
        self.ready(centres)
        self.slopes.assign(2 * centres)
        self.offsets.assign(-tf.reduce_sum(centres**2, -1))

    def wins(self, x):
        """How many of the vectors `(b, d)` each affine function is the largest for, `(k,)` int32.

        A function that is largest nowhere is dead: with τ = 0 no gradient will ever reach it.
        """
        winners = tf.argmax(self._pieces(tf.cast(x, self.compute_dtype)), -1, output_type=tf.int32)
        return tf.math.bincount(winners, minlength=self.pieces)

    def value_and_grad(self, x):
        """See `Potential.value_and_grad`."""
        pieces = self._pieces(x)
        gradient = tf.einsum("bk,kd->bd", piece_shares(pieces, self.temperature), tf.convert_to_tensor(self.slopes))
        phi = largest_piece(pieces, self.temperature) + self.curvature / 2 * tf.reduce_sum(x**2, -1)
        return phi, gradient + self.curvature * x

    def _pieces(self, x):
        return affine_pieces(x, tf.convert_to_tensor(self.slopes), tf.convert_to_tensor(self.offsets))

    def describe(self, x):
        """See `Divergence.describe`: the functions' values, `(b, k)`, and the vectors where μ > 0.

        The mean of the k functions is subtracted from each of them first. That changes no divergence, and keeps the
        digits far from the origin.
        """
        slopes, offsets = tf.convert_to_tensor(self.slopes), tf.convert_to_tensor(self.offsets)
        pieces = affine_pieces(x, slopes - tf.reduce_mean(slopes, 0), offsets - tf.reduce_mean(offsets))
        return (pieces, x) if self.curvature else (pieces,)

    def all_pairs(self, samples, references):
        """See `Divergence.all_pairs`."""
        found = pieces_all_pairs(samples[0], references[0], self.temperature)
        if not self.curvature:
            return found
        return found + self.curvature / 2 * squared_distances(samples[1], references[1])

    def pairs(self, samples, references):
        """See `Divergence.pairs`."""
        found = pieces_pairs(samples[0], references[0], self.temperature)
        if not self.curvature:
            return found
        return found + self.curvature / 2 * tf.reduce_sum((samples[1] - references[1]) ** 2, -1)

    def get_config(self):
        """The constructor's arguments."""
        names = ("pieces", "temperature", "curvature", "scale", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
