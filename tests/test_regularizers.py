"""The penalties: their values, their gradients, and the names under which they are reported."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_checks import IMAGE, check_config, randomise
from slow_forms import normal

from neural_similarity.layers import (
    BatchNormalization2D,
    DynamicSimilarityConv2D,
    NeuralSimilarityPredictor,
    Orthogonality,
    StaticSimilarityConv2D,
    TowardsIdentity,
    penalty_terms,
    weight_decay,
)


def test_weight_decay():
    """Half the squares, so that the gradient is `strength · w`; and Keras' own class, which every Keras can read."""
    w = tf.Variable(normal(1, 3, 4))
    with tf.GradientTape() as tape:
        penalty = weight_decay(0.3)(w)
    assert float(penalty) == pytest.approx(0.15 * np.sum(np.square(w)))
    np.testing.assert_allclose(tape.gradient(penalty, w), 0.3 * w.numpy(), rtol=1e-6)
    assert type(weight_decay(0.3)) is keras.regularizers.L2


@pytest.mark.parametrize(("identity", "inside"), [(np.ones(9), np.ones(9)), (np.eye(9), np.ones((9, 9)))])
def test_towards_identity(identity, inside):
    check_config(TowardsIdentity(0.25))
    penalty = TowardsIdentity(0.25)
    assert float(penalty(tf.constant(identity))) == 0
    assert float(penalty(tf.constant(identity + 2 * inside))) == 0.25 * 4 * inside.size
    assert float(penalty(tf.Variable(0 * identity))) == 0.25 * 9


@pytest.mark.parametrize("normalize", [False, True])
def test_orthogonality(normalize):
    kernel = normal(1, 3, 2, 2, 4)
    w = kernel.reshape(12, 4)
    columns = w / np.sqrt(np.sum(w**2, axis=0) + 1e-4) if normalize else w
    expected = 0.1 * sum((columns[:, i] @ columns[:, j] - (i == j)) ** 2 for i, j in np.ndindex(4, 4))
    penalty = Orthogonality(0.1, l2=0.5, normalize=normalize)
    check_config(penalty)
    terms = penalty.terms(tf.constant(kernel))
    assert {name: float(value) for name, value in terms.items()} == {
        "orthogonality": pytest.approx(expected),
        "penalty": pytest.approx(0.5 * np.sum(kernel**2)),
    }
    assert float(penalty(tf.constant(kernel))) == pytest.approx(expected + 0.5 * np.sum(kernel**2))
    exact, numeric = tf.test.compute_gradient(penalty, [tf.constant(kernel)], delta=1e-6)
    np.testing.assert_allclose(exact[0], numeric[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_orthogonality_of_narrow_filters_is_computed_in_float32(dtype):
    kernel = tf.cast(normal(1, 3, 3, 2, 4), dtype)
    for normalize in (False, True):
        penalty = Orthogonality(0.1, 0.2, normalize)
        found = penalty(kernel)
        assert found.dtype == tf.float32
        np.testing.assert_allclose(found, penalty(tf.cast(kernel, tf.float64)), rtol=1e-5)


def test_orthonormal_filters_pay_nothing():
    kernel = np.linalg.qr(normal(1, 18, 5))[0].reshape(3, 3, 2, 5)
    assert float(Orthogonality(1.0)(tf.constant(kernel))) == pytest.approx(0, abs=1e-12)
    assert float(Orthogonality(1.0)(tf.Variable(2 * kernel))) == pytest.approx(5 * 9)


@pytest.mark.parametrize(
    ("regularizer", "names"),
    [
        (None, []),
        ("l1", ["penalty"]),
        (weight_decay(0.1), ["penalty"]),
        (TowardsIdentity(0.1), ["penalty"]),
        (Orthogonality(0.1), ["orthogonality"]),
        (Orthogonality(0.1, l2=0.2), ["orthogonality", "penalty"]),
    ],
)
def test_names_of_the_terms(regularizer, names):
    """And their sum is what Keras adds to the loss."""
    layer = keras.layers.Conv2D(2, 3, kernel_regularizer=regularizer)
    if isinstance(regularizer, TowardsIdentity):
        layer = StaticSimilarityConv2D(2, 3, similarity_regularizer=regularizer)
    layer.build(IMAGE)
    randomise(layer)
    weight = layer.similarity_matrix if isinstance(regularizer, TowardsIdentity) else layer.kernel
    terms = penalty_terms(weight)
    assert sorted(terms) == names
    assert all(float(value) > 0 for value in terms.values())
    assert sum(map(float, terms.values())) == pytest.approx(sum(map(float, layer.losses)), rel=1e-6)


def test_static_layer_pays_for_w_and_m():
    layer = StaticSimilarityConv2D(
        4,
        3,
        structure="unconstrained",
        kernel_regularizer=keras.regularizers.L2(0.1),
        similarity_regularizer=TowardsIdentity(10),
    )
    model = keras.Sequential([keras.Input(IMAGE[1:]), layer])
    randomise(model)
    expected = [0.1 * np.sum(np.square(layer.kernel)), 10 * np.sum((layer.similarity_matrix - np.eye(9)) ** 2)]
    np.testing.assert_allclose(model.losses, expected, rtol=1e-5)


def test_dynamic_layer_pays_for_w_and_its_predictor():
    predictor = NeuralSimilarityPredictor(regularizer="l1", batch_norm_regularizer="l2")
    layer = DynamicSimilarityConv2D(4, 3, kernel_regularizer="l2", predictor=predictor)
    model = keras.Sequential([keras.Input(IMAGE[1:]), layer])
    randomise(model)
    expected = [0.01 * np.sum(np.square(layer.kernel))]
    expected += [0.01 * np.sum(np.abs(kernel)) for kernel in layer.predictor.kernels]
    for norm in layer.predictor.batch_norms:
        expected += [0.01 * np.sum(np.square(weight)) for weight in (norm.gamma, norm.beta)]
    np.testing.assert_allclose(sorted(model.losses), sorted(expected), rtol=1e-5)


def test_batch_norm_pays_for_gamma_and_beta():
    norm = BatchNormalization2D(gamma_regularizer="l1", beta_regularizer="l2")
    norm.build(IMAGE)
    randomise(norm)
    expected = [0.01 * np.sum(np.abs(norm.gamma)), 0.01 * np.sum(np.square(norm.beta))]
    np.testing.assert_allclose(norm.losses, expected, rtol=1e-5)
