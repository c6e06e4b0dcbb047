"""The loss of the released image-recognition code."""

import tensorflow as tf

from neural_similarity.ops.wide import at_least_float32


def smoothed_cross_entropy(labels, logits, label_smoothing=0.01, log_epsilon=1e-4):
    """L[b] = −Σ_c ỹ[b, c] log(softmax(logits)[b, c] + ε), with ỹ = (1 − s)·onehot + s / classes  (released code).

    ε bounds the loss of a confident mistake: without smoothing it is at most −log ε, which is 9.2 for ε = 1e-4. Where
    the right class has a probability far below ε, its gradient fades away.

    Args:
        labels: `(b,)` integers.
        logits: `(b, c)`, one for each class.
        label_smoothing: s, from 0 (none) to 1 (all classes alike).
        log_epsilon: ε.

    Returns:
        `(b,)` losses, in float32 or the logits' wider dtype.
    """
    logits = at_least_float32(logits)
    classes = logits.shape[-1]
    targets = tf.one_hot(labels, classes, 1 - label_smoothing, 0.0, dtype=logits.dtype) + label_smoothing / classes
    return -tf.einsum("bc,bc->b", targets, tf.math.log(tf.nn.softmax(logits) + log_epsilon))
