"""The smoothed cross-entropy against NumPy, and its gradient."""

import math

import numpy as np
import pytest
import tensorflow as tf

from neural_similarity.losses import smoothed_cross_entropy

LABELS = np.array([0, 2, 1, 2])
LOGITS = 3 * np.random.default_rng(0).standard_normal((4, 3))


def slow_loss(labels, logits, smoothing, epsilon):
    losses = []
    for label, row in zip(labels, logits, strict=True):
        probabilities = np.exp(row) / np.exp(row).sum()
        total = 0.0
        for c, probability in enumerate(probabilities):
            target = (1 - smoothing) * (c == label) + smoothing / len(row)
            total -= target * math.log(probability + epsilon)
        losses.append(total)
    return losses


@pytest.mark.parametrize(("smoothing", "epsilon"), [(0.01, 1e-4), (0.0, 1e-4), (0.3, 0.1)])
def test_smoothed_cross_entropy(smoothing, epsilon):
    expected = slow_loss(LABELS, LOGITS, smoothing, epsilon)
    for dtype, tolerance in [(tf.float64, 1e-12), (tf.float32, 1e-5)]:
        found = smoothed_cross_entropy(tf.constant(LABELS), tf.constant(LOGITS, dtype), smoothing, epsilon)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=tolerance)


def test_defaults_are_the_released_numbers():
    found = smoothed_cross_entropy(tf.constant(LABELS), tf.constant(LOGITS))
    np.testing.assert_allclose(found, slow_loss(LABELS, LOGITS, 0.01, 1e-4))


def test_gradient():
    def loss(logits):
        return smoothed_cross_entropy(tf.constant(LABELS), logits)

    exact, numeric = tf.test.compute_gradient(loss, [tf.constant(LOGITS)], delta=1e-5)
    np.testing.assert_allclose(exact[0], numeric[0], atol=1e-8)


def test_a_confident_mistake_costs_no_more_than_minus_log_epsilon():
    logits = tf.constant([[0.0, 1e4], [0.0, -1e4]], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = smoothed_cross_entropy(tf.constant([0, 0]), logits, label_smoothing=0.0)
    np.testing.assert_allclose(loss, [-math.log(1e-4), -math.log(1 + 1e-4)], rtol=1e-6, atol=1e-12)
    np.testing.assert_array_equal(tape.gradient(loss, logits), np.zeros((2, 2)))


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16], ids=lambda dtype: dtype.name)
def test_sixteen_bit_logits_are_computed_in_float32(dtype):
    logits = tf.cast(LOGITS, dtype)
    found = smoothed_cross_entropy(tf.constant(LABELS), logits)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, slow_loss(LABELS, tf.cast(logits, tf.float64).numpy(), 0.01, 1e-4), rtol=1e-5)
