"""The loss of divergences that are learned from known ones."""

import tensorflow as tf


def relative_squared_error(found, known, unit=None):
    """The mean of (found − known)², divided by a unit, a scalar.

    Args:
        found: `(p,)` divergences of p pairs, such as `divergence.paired(x, y)`.
        known: `(p,)`, what they should be.
        unit: a number that makes the loss comparable between tasks, as the mean of known² over all training pairs. None
            for that of these pairs.
    """
    known = tf.cast(known, found.dtype)
    unit = tf.reduce_mean(known**2) if unit is None else unit
    return tf.reduce_mean((found - known) ** 2) / unit
