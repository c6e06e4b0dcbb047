"""What the layers accept, checked once."""

STRUCTURES = ("diagonal", "unconstrained")
INITIALIZERS = ("identity", "released")
MOVING_AVERAGES = ("debiased", "released")


def one_of(argument, value, known):
    """Returns `value`, or raises a `ValueError` in Keras' manner when it is not among the `known`."""
    if value not in known:
        raise ValueError(f"`{argument}` must be one of {', '.join(map(repr, known))}. Received: {value!r}")
    return value
