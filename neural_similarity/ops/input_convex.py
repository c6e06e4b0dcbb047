"""A network that is convex in its input, with its gradient (Amos, Xu and Kolter, ICML 2017).

    z_1 = σ(A_1 x + b_1)
    z_l = σ(W_l z_{l−1} + A_l x + b_l),  W_l ≥ 0,  l = 2 … L
    φ(x) = ⟨w, z_L⟩ + ½ μ ‖x‖²,  w ≥ 0, μ ≥ 0

There is no term ⟨a, x⟩, as an affine function changes no divergence. σ is softplus(s·t)/s, which is convex and grows,
so that φ is convex. Its slope changes everywhere, so that the gradient of D(x, y) reaches y. With relu it would not, as
the second derivative of relu is zero.

b vectors · d dimensions · f features of a layer (g of the layer before)
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from neural_similarity.ops.wide import at_least_float32


class InputConvexWeights(NamedTuple):
    """The weights of a network of L layers.

    Attributes:
        inputs: A_l, L tensors `(f, d)`.
        biases: b_l, L tensors `(f,)`.
        passing: W_l from the second layer on, L − 1 tensors `(f, g)` of numbers from 0.
        output: w, `(f,)` of numbers from 0.
        curvature: μ, a scalar from 0.
    """

    inputs: Sequence
    biases: Sequence
    passing: Sequence
    output: tf.Tensor
    curvature: tf.Tensor


def input_convex(x, weights, sharpness=1.0):
    """φ(x) and ∇φ(x).

    The gradient is the reverse pass, written out as operations of its own. So a training whose loss contains ∇φ needs
    first derivatives alone, and no tape within a tape.

    Args:
        x: `(b, d)`.
        weights: `InputConvexWeights`.
        sharpness: s; large ones make σ nearly relu.

    Returns:
        (`(b,)`, `(b, d)`), in float32 or wider.
    """
    x = at_least_float32(x)
    weights = tf.nest.map_structure(lambda w: tf.cast(w, x.dtype), weights)
    slopes, z = [], None
    for layer, (matrix, bias) in enumerate(zip(weights.inputs, weights.biases, strict=True)):
        before = tf.einsum("bd,fd->bf", x, matrix) + bias
        if layer:
            before += tf.einsum("bg,fg->bf", z, weights.passing[layer - 1])
        z = tf.nn.softplus(sharpness * before) / sharpness
        slopes.append(tf.nn.sigmoid(sharpness * before))
    phi = tf.einsum("bf,f->b", z, weights.output) + weights.curvature / 2 * tf.einsum("bd,bd->b", x, x)
    gradient = weights.curvature * x
    reaching = weights.output * slopes[-1]
    for layer in reversed(range(len(slopes))):
        gradient += tf.einsum("bf,fd->bd", reaching, weights.inputs[layer])
        if layer:
            reaching = tf.einsum("bf,fg->bg", reaching, weights.passing[layer - 1]) * slopes[layer - 1]
    return phi, gradient
