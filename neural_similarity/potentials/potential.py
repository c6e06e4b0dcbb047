"""A convex function of vectors, and the Bregman divergence that belongs to it."""

from typing import NamedTuple

import tensorflow as tf

from neural_similarity.ops import bregman_all_pairs, bregman_pairs, jeffreys_all_pairs, jeffreys_pairs
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

    `domain` says which numbers φ is for; `into_domain` maps a network's output there.
    """

    def value(self, x):
        """φ(x), `(b,)`, of vectors `(b, d)`. A subclass has this, or `value_and_grad`, or both."""
        return self.value_and_grad(x)[0]

    def value_and_grad(self, x):
        """(φ(x) `(b,)`, ∇φ(x) `(b, d)`) of vectors `(b, d)`; where φ has no gradient, one of its subgradients.

        Without a form of its own, the gradient comes from one reverse pass through `value`.
        """
        if type(self).value is Potential.value:
            raise NotImplementedError(f"{type(self).__name__} must define `value` or `value_and_grad`")
        with tf.GradientTape() as tape:
            tape.watch(x)
            phi = self.value(x)
        return phi, tape.gradient(phi, x)

    def call(self, inputs):
        """φ."""
        return self.value(inputs)

    def phi(self, x):
        """φ(x), `(b,)`.

        Raises:
            ValueError: the vectors have another shape than `(b, d)`.
        """
        return self.value(self.ready(x))

    def grad(self, x):
        """∇φ(x), `(b, d)`.

        Raises:
            ValueError: the vectors have another shape than `(b, d)`.
        """
        return self.value_and_grad(self.ready(x))[1]

    def describe(self, x):
        """See `Divergence.describe`: a `Described`."""
        return Described(x, *self.value_and_grad(x))

    def all_pairs(self, samples, references):
        """See `Divergence.all_pairs`."""
        return bregman_all_pairs(samples.x, samples.phi, *references)

    def pairs(self, samples, references):
        """See `Divergence.pairs`."""
        return bregman_pairs(samples.x, samples.phi, *references)

    def symmetric_all_pairs(self, samples, references):
        """See `Divergence.symmetric_all_pairs`: ⟨∇φ(x) − ∇φ(y), x − y⟩."""
        if not isinstance(samples, Described):
            return super().symmetric_all_pairs(samples, references)
        return jeffreys_all_pairs(samples.x, samples.grad, references.x, references.grad)

    def symmetric_pairs(self, samples, references):
        """See `Divergence.symmetric_pairs`."""
        if not isinstance(samples, Described):
            return super().symmetric_pairs(samples, references)
        return jeffreys_pairs(samples.x, samples.grad, references.x, references.grad)
