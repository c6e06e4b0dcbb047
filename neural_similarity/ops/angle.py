"""The operators g(θ) of SphereConv, as functions of cos θ, where θ is the angle between patch and filter.

All fall from 1 at θ = 0 to −1 at θ = π, through 0 at a right angle (Liu et al., NeurIPS 2017 and CVPR 2018).
"""

import math

import tensorflow as tf

from neural_similarity.ops.fused import fused, recomputed
from neural_similarity.ops.wide import at_least_float32

SIGMOID_K = 0.3  # of the released sigmoid operator
# ε of `safe_acos`. It caps the slope beyond |x| = 1 − 5e-7, which is a few roundings of float32 away from 1.
_ACOS_EPSILON = 1e-6


@tf.custom_gradient
def safe_acos(x):
    """acos with a finite slope, −1/√max(1 − x², ε) with ε = 1e-6.

    The slope of acos itself is infinite at ±1. An x beyond ±1, as rounding makes it, counts as ±1.

    Args:
        x: any shape.

    Returns:
        The angle, 0 to π rad, in the shape and dtype of `x`; computed in float32 or wider.
    """
    # not fused: on a CPU, XLA's acos takes several times as long as TensorFlow's
    angle = tf.acos(tf.clip_by_value(at_least_float32(x), -1.0, 1.0))
    return tf.cast(angle, x.dtype), lambda upstream: _acos_gradient(x, upstream)


@fused
def _acos_gradient(x, upstream):
    slope = tf.math.rsqrt(tf.maximum(1 - tf.square(at_least_float32(x)), _ACOS_EPSILON))
    return _cast_finite(-at_least_float32(upstream) * slope, x.dtype)


def linear_operator(cosine):
    """g(θ) = 1 − 2θ/π.

    Args:
        cosine: cos θ, any shape.

    Returns:
        The same shape and dtype; computed in float32 or wider.
    """
    return tf.cast(1 - 2 / math.pi * safe_acos(_cast_to_wide(cosine)), cosine.dtype)


def sigmoid_operator(cosine, k):
    """g(θ) = (1 + e^(−π/2k)) / (1 − e^(−π/2k)) · (1 − e^(θ/k − π/2k)) / (1 + e^(θ/k − π/2k)).

    It is computed as tanh((π/2 − θ)/2k) / tanh(π/4k). The two are equal, but the powers of e overflow for a small k.

    Args:
        cosine: cos θ, `(…, o)`.
        k: how wide the fall from 1 to −1 is, in rad, 1e-30 or more: a number, or a tensor `(o,)` with one k for each
            filter. The larger k is, the closer g comes to `linear_operator`.

    Returns:
        The shape and dtype of `cosine`; computed in float32 or wider.
    """
    angle = safe_acos(_cast_to_wide(cosine))
    # a number is passed as a setting, so that no gradient is computed for it
    g = _sigmoid(angle, tf.cast(k, angle.dtype)) if tf.is_tensor(k) else _sigmoid(angle, k=k)
    return tf.cast(g, cosine.dtype)


@recomputed
def _sigmoid(angle, k):
    return tf.tanh((math.pi / 2 - angle) / (2 * k)) / tf.tanh(tf.cast(math.pi / 4 / k, angle.dtype))


@recomputed
def squared_cosine_operator(cosine):
    """g(θ) = sign(cos θ) · cos² θ.

    Args:
        cosine: cos θ, any shape.

    Returns:
        The same shape and dtype.
    """
    return cosine * tf.abs(cosine)


@tf.custom_gradient
def _cast_to_wide(x):
    """`at_least_float32`, with a gradient that stays finite when it is cast back to sixteen bits."""
    return at_least_float32(x), lambda upstream: _cast_finite(upstream, x.dtype)


def _cast_finite(x, dtype):
    """Casts, and turns what the dtype cannot hold into the largest number that it can."""
    return tf.cast(tf.clip_by_value(x, tf.cast(dtype.min, x.dtype), tf.cast(dtype.max, x.dtype)), dtype)
