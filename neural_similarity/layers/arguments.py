"""Checks of the layers' arguments."""

STRUCTURES = ("diagonal", "unconstrained")


def one_of(argument, value, known):
    """Returns `value`, or raises a `ValueError` in Keras' wording if `value` is not among the `known` ones."""
    if value not in known:
        raise ValueError(f"`{argument}` must be one of {', '.join(map(repr, known))}. Received: {value!r}")
    return value


def pair(argument, value):
    """Turns `3` into `(3, 3)`, and a sequence of two, as a list from a JSON file, into a tuple.

    Raises a `ValueError` in Keras' wording for anything else.
    """
    both = (value, value) if isinstance(value, (int, float)) else tuple(value)
    if len(both) != 2 or not all(isinstance(one, (int, float)) and one > 0 for one in both):
        raise ValueError(f"`{argument}` must be one or two numbers greater than 0. Received: {value!r}")
    return both
