"""The heads of few-shot recognition, beside loops and by their properties."""

import numpy as np
import pytest
import tensorflow as tf

from neural_similarity.few_shot import heads
from neural_similarity.ops import cosine_logits, squared_distances


def normal(*shape, dtype="float64", seed=0):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape), dtype)


def prototypes(support):
    """Those of support features `(n, s, f)`, class by class."""
    n_way, shots = support.shape[:2]
    return heads.prototypes(tf.reshape(support, (n_way * shots, -1)), tf.repeat(tf.range(n_way), shots), n_way)


def test_one_hot_features_are_recognised_exactly():
    support = tf.repeat(tf.eye(5)[:, None], 3, axis=1)
    queries = tf.repeat(tf.eye(5), 2, axis=0)
    logits = -squared_distances(queries, prototypes(support))
    np.testing.assert_allclose(logits, -2.0 * (1 - np.repeat(np.eye(5), 2, axis=0)), atol=1e-6)
    np.testing.assert_allclose(cosine_logits(queries, tf.eye(5), 10.0), 10 * np.repeat(np.eye(5), 2, axis=0), atol=1e-6)


def test_logits_equal_a_loop():
    support, queries = normal(4, 3, 6), normal(7, 6, seed=1)
    centres = prototypes(support)
    for way in range(4):
        mean = sum(support[way, shot] for shot in range(3)) / 3
        np.testing.assert_allclose(centres[way], mean, rtol=1e-12)
        for query in range(7):
            difference = queries[query] - mean
            expected = -sum(float(d) ** 2 for d in difference)
            assert float(-squared_distances(queries, centres)[query, way]) == pytest.approx(expected, rel=1e-12)
            cosine = np.dot(queries[query], mean) / np.linalg.norm(queries[query]) / np.linalg.norm(mean)
            assert float(cosine_logits(queries, centres, 3.0)[query, way]) == pytest.approx(3 * cosine, rel=1e-10)


def test_permuting_the_classes_permutes_the_predictions():
    support, queries = normal(5, 2, 8), normal(9, 8, seed=1)
    order = [3, 0, 4, 2, 1]
    logits = -squared_distances(queries, prototypes(support))
    permuted = -squared_distances(queries, prototypes(tf.gather(support, order)))
    np.testing.assert_allclose(permuted, tf.gather(logits, order, axis=1), atol=1e-12)


def test_distances_keep_their_digits_far_from_the_origin():
    queries, centres = normal(6, 16), normal(3, 16, seed=1)
    exact = -squared_distances(queries, centres)
    far = -squared_distances(tf.cast(queries + 1000, tf.float32), tf.cast(centres + 1000, tf.float32))
    np.testing.assert_allclose(far, exact, atol=0.02)


@pytest.mark.parametrize("head", [lambda q, c: -squared_distances(q, c), lambda q, c: cosine_logits(q, c, 5.0)])
def test_gradients_agree_with_finite_differences(head):
    queries, support = normal(3, 4), normal(2, 3, 4, seed=1)

    def logits(queries, support):
        return head(queries, prototypes(support))

    exact, numeric = tf.test.compute_gradient(logits, [queries, support], delta=1e-5)
    for one, other in zip(exact, numeric, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


def test_the_gradient_at_zero_vectors_is_finite():
    zeros = tf.zeros((2, 4))
    with tf.GradientTape() as tape:
        tape.watch(zeros)
        logits = cosine_logits(zeros, zeros, 10.0)
    np.testing.assert_array_equal(logits, np.zeros((2, 2)))
    assert np.isfinite(tape.gradient(logits, zeros)).all()


def test_sixteen_bits_are_widened():
    support, queries = (tf.cast(normal(*shape), tf.bfloat16) for shape in ((2, 3, 4), (5, 4)))
    for logits in (-squared_distances(queries, prototypes(support)), cosine_logits(queries, support[:, 0], 1)):
        assert logits.dtype == tf.float32
