"""The loss of the released image-recognition code."""

import tensorflow as tf

from neural_similarity.ops.wide import at_least_float32


def smoothed_cross_entropy(labels, logits, label_smoothing=0.01, log_epsilon=1e-4):
    """−Σ ỹ log(softmax + ε) with ỹ = (1 − s)·onehot + s / classes  (released code).

    ε inside the logarithm bounds the loss of a confident mistake by −log ε; it also lets the slope of a class fade
    once its probability is below ε.

    Args:
        labels: `(b,)` integers.
        logits: `(b, classes)`.
        label_smoothing: s.
        log_epsilon: ε.

    Returns:
        `(b,)` losses, in float32 or the logits' wider type.
    """
    logits = at_least_float32(logits)
    classes = logits.shape[-1]
    targets = tf.one_hot(labels, classes, 1 - label_smoothing, 0.0, dtype=logits.dtype) + label_smoothing / classes
    return -tf.einsum("bc,bc->b", targets, tf.math.log(tf.nn.softmax(logits) + log_epsilon))
