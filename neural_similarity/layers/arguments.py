"""Checks of the layers' arguments."""

STRUCTURES = ("diagonal", "unconstrained")


def one_of(argument, value, known):
    """Returns `value`, or raises a `ValueError` in Keras' wording if `value` is not among the `known` ones."""
    if value not in known:
        raise ValueError(f"`{argument}` must be one of {', '.join(map(repr, known))}. Received: {value!r}")
    return value


def pair(value):
    """Turns `3` into `(3, 3)`, and any sequence of two, as a list from a JSON file, into a tuple."""
    return (value, value) if isinstance(value, int) else tuple(value)
