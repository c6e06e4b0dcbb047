"""A convex function of vectors, and the Bregman divergence that belongs to it."""

from typing import NamedTuple

import tensorflow as tf

from neural_similarity.ops import bregman_all_pairs, bregman_pairs
from neural_similarity.potentials.divergence import Divergence


class Described(NamedTuple):
    """Vectors with what a Bregman divergence needs of them.

    Attributes:
        x: `(b, d)`.
        phi: `(b,)`.
        grad: `(b, d)`.
    """

    x: tf.Tensor
    phi: tf.Tensor
    grad: tf.Tensor


class Potential(Divergence):
    """A convex function φ. Its divergence is D(x, y) = φ(x) − φ(y) − ⟨∇φ(y), x − y⟩.

    The layer itself is φ: `potential(x)` is `(b,)` for vectors `(b, d)`. Subclasses say what `value_and_grad` is, and
    may have a form of the divergence that is faster or more exact.

    `domain` says which numbers φ is for: `"real"`, `"positive"`, or `"unit"` for those between 0 and 1. Outside of it
    the result is not a number. `domains.into_domain` maps a network's output there.
    """

    domain = "real"

    def value_and_grad(self, x):
        """(φ(x) `(b,)`, ∇φ(x) `(b, d)`) of vectors `(b, d)`; where φ has no gradient, one of its subgradients."""
        raise NotImplementedError

    def call(self, inputs):
        """φ."""
        return self.value_and_grad(inputs)[0]

    def phi(self, x):
        """φ(x), `(b,)`.

        Raises:
            ValueError: the vectors have another shape than `(b, d)`.
        """
        return self._value_and_grad(x)[0]

    def grad(self, x):
        """∇φ(x), `(b, d)`.

        Raises:
            ValueError: the vectors have another shape than `(b, d)`.
        """
        return self._value_and_grad(x)[1]

    def _value_and_grad(self, x):
        x = tf.cast(x, self.compute_dtype)
        self.check_shape(x.shape)
        if not self.built:
            self.build(tuple(x.shape))
        return self.value_and_grad(x)

    def describe(self, x):
        """See `Divergence.describe`: a `Described`."""
        return Described(x, *self.value_and_grad(x))

    def all_pairs(self, samples, references):
        """See `Divergence.all_pairs`."""
        return bregman_all_pairs(samples.x, samples.phi, *references)

    def pairs(self, samples, references):
        """See `Divergence.pairs`."""
        return bregman_pairs(samples.x, samples.phi, *references)
