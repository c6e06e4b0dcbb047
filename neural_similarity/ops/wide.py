"""The precision of sums and norms inside mixed precision."""

import tensorflow as tf


def at_least_float32(x):
    """`x` in float32, or in its own type where that is wider."""
    x = tf.convert_to_tensor(x)
    return tf.cast(x, tf.float32) if x.dtype.size < 4 else x
