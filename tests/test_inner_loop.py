"""The inner loop, beside finite differences and by its properties."""

import numpy as np
import pytest
import tensorflow as tf

from neural_similarity.few_shot.functional import call_with
from neural_similarity.few_shot.heads import prototypes
from neural_similarity.few_shot.inner_loop import adapted
from neural_similarity.interop.merge import merge
from neural_similarity.layers import StaticSimilarityConv2D
from neural_similarity.models import conv4
from neural_similarity.models.seeding import seeded
from neural_similarity.ops import squared_distances

MATRICES = [f"conv{block}/similarity_matrix" for block in range(1, 5)]


@pytest.fixture(scope="module")
def model():
    with seeded(0):
        return conv4(StaticSimilarityConv2D, filters=3, image_size=16, dtype="float64")


@pytest.fixture(scope="module")
def images():
    """Two classes of three images."""
    return tf.constant(np.random.default_rng(0).uniform(0, 255, (6, 16, 16, 3)), tf.float32)


def episode_loss(model, images, parameters):
    features = call_with(model, parameters, images, training=True)
    features = tf.reshape(features, (2, 3, -1))
    centres = prototypes(tf.reshape(features[:, :2], (4, -1)), [0, 0, 1, 1], 2)
    logits = -squared_distances(tf.reshape(features[:, 2:], (2, -1)), centres)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits([0, 1], logits))


def outer_loss(model, images, rate=0.05, steps=2, second_order=True):
    """The loss after adaptation, on the same images, as a function of a kernel and of the matrices before."""

    def loss(kernel, *matrices):
        def inner(values):
            return episode_loss(model, images, {"conv2/kernel": kernel, **dict(zip(MATRICES, values, strict=True))})

        return inner(adapted(inner, matrices, [rate] * 4, steps, second_order))

    start = [model.get_layer("conv2").kernel.value]
    return loss, start + [model.get_layer(f"conv{b}").similarity_matrix.value for b in range(1, 5)]


def test_the_second_order_gradient_agrees_with_finite_differences(model, images):
    loss, start = outer_loss(model, images)
    exact, numeric = tf.test.compute_gradient(tf.function(loss), start, delta=1e-6)
    for one, other in zip(exact, numeric, strict=True):
        assert np.abs(other).max() > 1e-4
        np.testing.assert_allclose(one, other, atol=1e-6 + 1e-4 * np.abs(other).max())


def test_the_first_order_gradient_is_another_one(model, images):
    gradients = []
    for second_order in (True, False):
        loss, start = outer_loss(model, images, second_order=second_order)
        with tf.GradientTape() as tape:
            tape.watch(start)
            value = loss(*start)
        gradients.append((float(value), np.concatenate([np.ravel(g) for g in tape.gradient(value, start)])))
    (value, second), (same, first) = gradients
    assert value == same
    assert np.abs(first - second).max() > 1e-3 * np.abs(second).max()


def test_a_step_equals_plain_gradient_descent():
    def loss(values):
        return tf.reduce_sum(3 * values[0] ** 2) + values[1]

    x, y = tf.constant([1.0, -2.0]), tf.constant(5.0)
    for steps, factor in ((0, 1.0), (1, 0.4), (3, 0.4**3)):
        one, other = adapted(loss, [x, y], [0.1, 2.0], steps)
        np.testing.assert_allclose(one, factor * x, rtol=1e-6)
        assert float(other) == 5.0 - 2.0 * steps


def test_a_rate_can_be_learned():
    rate = tf.constant(0.1)
    with tf.GradientTape() as tape:
        tape.watch(rate)
        (x,) = adapted(lambda values: values[0] ** 2, [tf.constant(3.0)], [rate], 1)
        loss = x**2  # (3 − 6·rate)²
    assert float(tape.gradient(loss, rate)) == pytest.approx(2 * (3 - 0.6) * -6)


def test_adaptation_changes_nothing_but_what_it_returns_and_merges(model, images):
    before = [w.numpy() for w in model.weights]
    matrices = [model.get_layer(f"conv{b}").similarity_matrix for b in range(1, 5)]

    def inner(values):
        return episode_loss(model, images, dict(zip(MATRICES, values, strict=True)))

    after = adapted(inner, matrices, [0.5] * 4, 2)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    assert all(np.abs(a - m.numpy()).max() > 1e-4 for a, m in zip(after, matrices, strict=True))
    features = call_with(model, dict(zip(MATRICES, after, strict=True)), images, training=False)
    for matrix, value in zip(matrices, after, strict=True):
        matrix.assign(value)
    np.testing.assert_allclose(merge(model)(images), features, atol=1e-10)  # as plain kernels
    for weight, value in zip(model.weights, before, strict=True):
        weight.assign(value)


def test_a_parameter_without_effect_and_one_that_is_not_there_are_refused(model, images):
    with pytest.raises(ValueError, match=r"does not depend on the parameters at the places \[1\]"):
        adapted(lambda values: values[0] ** 2, [tf.constant(1.0), tf.constant(2.0)], [0.1, 0.1], 1)
    with pytest.raises(ValueError, match="no trainable weights"):
        call_with(model, {"conv9/kernel": tf.zeros(1)}, images, training=True)
