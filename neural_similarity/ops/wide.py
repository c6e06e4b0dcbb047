"""The dtype in which sums, norms and logarithms are computed when a network runs in sixteen bits."""

import tensorflow as tf


def at_least_float32(x):
    """Casts float16 and bfloat16 to float32, and returns a wider `x` as it is."""
    x = tf.convert_to_tensor(x)
    return tf.cast(x, tf.float32) if x.dtype.size < 4 else x
