"""What decoupled convolution makes of a patch's length: the magnitudes h(‖x‖) of h(‖x‖) · g(θ) (Liu et al., CVPR 2018).

SphereConv is h = 1, and h = ‖x‖ is a convolution with filters of length 1; neither needs a function. The others have a
radius ρ for every filter.
"""

import tensorflow as tf


def tanh_magnitude(norm, radius):
    """h = tanh(‖x‖/ρ), which saturates at 1.

    Args:
        norm: ‖x‖, `(b, y, x, 1)`.
        radius: ρ, `(o,)`, above 0.

    Returns:
        `(b, y, x, o)`, as from the two others.
    """
    return tf.tanh(norm / radius)


def ball_magnitude(norm, radius):
    """h = min(‖x‖/ρ, 1): linear inside the ball, 1 outside."""
    return norm / (radius + tf.nn.relu(norm - radius))


def segmented_magnitude(norm, radius):
    """h = ‖x‖ up to ρ, and half as steep from there on: ½‖x‖ + ½ρ."""
    return tf.minimum(norm, (norm + radius) / 2)
