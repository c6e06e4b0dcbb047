"""Checks of the numbers that potentials, miners and losses are given."""

import math
import numbers


def number(argument, value, *, least=-math.inf, above=-math.inf, below=math.inf):
    """Returns `value` as a float, or raises a `ValueError` in Keras' wording.

    Args:
        argument: its name.
        value: what was given.
        least: the smallest number that is allowed.
        above, below: numbers that are not allowed any more.
    """
    real = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    if not (real and value >= least and above < value < below):
        limits = [("of at least", least), ("greater than", above), ("less than", below)]
        wanted = " and ".join(f"{words} {limit:g}" for words, limit in limits if math.isfinite(limit))
        raise ValueError(f"`{argument}` must be a number{wanted and ' ' + wanted}. Received: {value!r}")
    return float(value)


def count(argument, value, least=1):
    """Returns `value` as an int, or raises a `ValueError` in Keras' wording unless it is an integer from `least` on."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"`{argument}` must be an integer of at least {least}. Received: {value!r}")
    return int(value)


def switch(argument, value):
    """Returns `value`, or raises a `ValueError` in Keras' wording unless it is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"`{argument}` must be True or False. Received: {value!r}")
    return value
