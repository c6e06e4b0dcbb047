"""How filters start."""

import keras


def he_normal(scale=1.0):
    """The released code's start of every filter: a normal distribution of std `scale`·√(2 / (kh·kw·i)).

    `keras.initializers.HeNormal` differs: it cuts the distribution off at two standard deviations.
    """
    return keras.initializers.VarianceScaling(2.0 * scale**2, "fan_in", "untruncated_normal")
