"""The magnitudes h(‖x‖) of a decoupled convolution h(‖x‖) · g(θ)  (Liu et al., CVPR 2018).

A magnitude says how the output grows with the length ‖x‖ of the patch. Two magnitudes need no function: h = 1 is
SphereConv, and h = ‖x‖ is a convolution with filters of length 1. The three here have a radius ρ for each filter.
"""

import tensorflow as tf


def tanh_magnitude(norm, radius):
    """h = tanh(‖x‖/ρ), which levels off at 1.

    Args:
        norm: ‖x‖, `(b, y, x, 1)`.
        radius: ρ, `(o,)`, above 0.

    Returns:
        `(b, y, x, o)`. The two other functions have the same arguments and the same shape of result.
    """
    return tf.tanh(norm / radius)


def ball_magnitude(norm, radius):
    """h = min(‖x‖/ρ, 1): grows in proportion to ‖x‖ up to ρ, and is 1 from there on."""
    return norm / (radius + tf.nn.relu(norm - radius))


def segmented_magnitude(norm, radius):
    """h = min(‖x‖, ½‖x‖ + ½ρ): is ‖x‖ up to ρ, and grows half as fast from there on."""
    return tf.minimum(norm, (norm + radius) / 2)
