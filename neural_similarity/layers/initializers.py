"""How filters start."""

import keras


def he_normal(scale=1.0):
    """The released code's start of every filter: untruncated normal of std `scale`·√(2 / (kh·kw·i))."""
    return keras.initializers.VarianceScaling(2.0 * scale**2, "fan_in", "untruncated_normal")
