"""The loss of the released image-recognition code."""

import tensorflow as tf

from neural_similarity.ops.wide import at_least_float32


def smoothed_cross_entropy(labels, logits, label_smoothing=0.01, log_epsilon=1e-4):
    """Cross-entropy −Σ ỹ log(softmax + ε) with smoothed labels ỹ = (1 − s)·onehot + s / classes  (released code).

    With s = 0.01 and 10 classes the true class has ỹ = 0.991 and every other one 0.001. ε limits what a confident
    mistake can cost, to −log ε, 9.2 for ε = 1e-4. It also weakens the gradient of a class whose probability is below ε.

    Args:
        labels: `(b,)` integers.
        logits: `(b, classes)`.
        label_smoothing: s.
        log_epsilon: ε.

    Returns:
        `(b,)` losses, one per example, in float32 or the logits' wider type.

    Example:
        >>> smoothed_cross_entropy([0, 1], keras.ops.zeros((2, 10))).shape
        TensorShape([2])
    """
    logits = at_least_float32(logits)
    classes = logits.shape[-1]
    targets = tf.one_hot(labels, classes, 1 - label_smoothing, 0.0, dtype=logits.dtype) + label_smoothing / classes
    return -tf.einsum("bc,bc->b", targets, tf.math.log(tf.nn.softmax(logits) + log_epsilon))
