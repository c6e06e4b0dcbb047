"""Random choices that are the same wherever they are computed."""

import tensorflow as tf


def draw(key, log_weights):
    """Chooses one column in each row, with a probability in proportion to exp(log_weights).

    Of x + g, where g are random numbers from Gumbel's distribution, the largest is at each place with a probability in
    proportion to exp(x).

    Args:
        key: `(2,)` int32. The same key gives the same choice.
        log_weights: `(rows, columns)`, −∞ where a column must not be chosen.

    Returns:
        `(rows,)` int32. It is 0 in a row where no column can be chosen.
    """
    # Random bits, not floats: from the same key, XLA draws the same bits as TensorFlow, but other floats.
    bits = tf.random.stateless_uniform(tf.shape(log_weights), key, None, None, tf.uint32, alg="philox")
    bits = tf.bitwise.right_shift(bits, tf.constant(9, tf.uint32))  # 23 of them, so that neither 0 nor 1 comes out
    uniform = (tf.cast(bits, tf.float32) + 0.5) * 2.0**-23
    gumbel = -tf.math.log(-tf.math.log(uniform))
    return tf.argmax(log_weights + tf.cast(gumbel, log_weights.dtype), -1, output_type=tf.int32)


def among(allowed, dtype=tf.float32):
    """Log-weights `(rows, columns)` by which `draw` chooses uniformly where `allowed` is True."""
    return tf.where(allowed, tf.zeros((), dtype), tf.constant(-float("inf"), dtype))
