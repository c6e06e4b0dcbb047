"""`NeuralSimilarityPredictor`: the identity plus a small SphereNet."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_checks import IMAGE, assert_near, normal, randomise

from neural_similarity.layers import DynamicSimilarityConv2D, NeuralSimilarityPredictor
from neural_similarity.models.seeding import seeded


def sphere(x, kernel, over_w):
    """Convolution ÷ ‖x‖, and ÷ ‖w‖ if asked for."""
    squares = tf.nn.conv2d(x * x, tf.ones((3, 3, x.shape[-1], 1)), 1, "SAME")
    if over_w:
        kernel = kernel / tf.sqrt(tf.reduce_sum(kernel * kernel, (0, 1, 2)) + 1e-4)
    return tf.nn.conv2d(x, kernel, 1, "SAME") / tf.sqrt(squares + 1e-4)


def batch_normalised(x, gamma, beta):
    mean, variance = tf.nn.moments(x, (0, 1, 2))
    return (x - mean) / tf.sqrt(variance + 1e-3) * gamma + beta


@pytest.mark.parametrize(
    "arguments",
    [
        {"structure": "diagonal"},
        {"structure": "diagonal", "normalization": "full"},
        {"structure": "unconstrained"},
        {"structure": "unconstrained", "normalization": "full", "batch_norm": True},
        {"structure": "diagonal", "batch_norm": False, "filters": 7},
    ],
    ids=str,
)
def test_it_is_the_identity_plus_a_spherenet(arguments):
    x = normal(1, *IMAGE)
    predictor = NeuralSimilarityPredictor(kernel_size=(3, 1), **arguments)
    predictor.build(IMAGE)
    randomise(predictor)
    full, norms = predictor.normalization == "full", predictor.batch_norms
    w_1, w_2 = map(tf.convert_to_tensor, predictor.kernels)
    hidden = sphere(x, w_1, full)
    if norms:
        hidden = batch_normalised(hidden, norms[0].gamma, norms[0].beta)
    hidden = tf.nn.relu(hidden)
    residual = sphere(hidden, w_2, True) if full else tf.nn.conv2d(hidden, w_2, 1, "SAME")
    if norms:
        residual = batch_normalised(residual, norms[1].gamma, norms[1].beta)
    shape = (3,) if predictor.structure == "diagonal" else (3, 3)
    identity = tf.ones(3) if predictor.structure == "diagonal" else tf.eye(3)
    found = predictor(x, training=True)
    assert found.shape == predictor.compute_output_shape(IMAGE) == (*IMAGE[:3], *shape)
    assert_near(found, identity + tf.reshape(residual, found.shape), 1e-4)


def test_it_has_the_released_sizes_by_default():
    for structure, width, outputs, norms in [("diagonal", 64, 9, 2), ("unconstrained", 128, 81, 0)]:
        predictor = NeuralSimilarityPredictor(structure=structure)
        predictor.build((None, 8, 8, 5))
        assert [kernel.shape for kernel in predictor.kernels] == [(3, 3, 5, width), (3, 3, width, outputs)]
        assert len(predictor.batch_norms) == norms
        for kernel, fan_in, scale in zip(predictor.kernels, (45, 9 * width), (0.1, 0.001), strict=True):
            assert np.std(kernel) == pytest.approx(scale * np.sqrt(2 / fan_in), rel=0.06)


@pytest.mark.parametrize("kernel_size", [3, (3, 3), [3, 3]])
def test_kernel_size_is_a_number_or_a_pair(kernel_size):
    assert NeuralSimilarityPredictor(kernel_size=kernel_size).kernel_size == (3, 3)


@pytest.mark.parametrize("normalization", ["partial", "full"])
def test_it_starts_at_the_identity_and_leaves_it(normalization):
    x = normal(1, *IMAGE)
    starts = {}
    for gamma in ("zeros", "ones"):
        with seeded(0):
            predictor = NeuralSimilarityPredictor(6, normalization=normalization, gamma_initializer=gamma)
            starts[gamma] = predictor(x, training=True)
    np.testing.assert_array_equal(starts["zeros"], np.ones((*IMAGE[:3], 9)))
    assert 1e-3 < np.abs(starts["ones"] - 1).mean() < 0.5

    layer = DynamicSimilarityConv2D(4, 3, predictor=NeuralSimilarityPredictor(6, normalization=normalization))
    model = keras.Sequential([keras.Input(IMAGE[1:]), layer])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(x, normal(2, *model(x).shape), epochs=2, verbose=0)
    first = [kernel.numpy() for kernel in layer.predictor.kernels]
    assert np.abs(layer.predictor.batch_norms[1].gamma).min() > 0
    model.fit(x, normal(2, *model(x).shape), epochs=1, verbose=0)
    for before, kernel in zip(first, layer.predictor.kernels, strict=True):
        assert np.abs(kernel - before).max() > 0  # once γ has left 0, its filters learn as well


def test_gamma_starts_where_any_initializer_says():
    predictor = NeuralSimilarityPredictor(6, gamma_initializer=keras.initializers.Constant(0.25))
    predictor.build(IMAGE)
    first, last = predictor.batch_norms
    np.testing.assert_array_equal(first.gamma, np.ones(6))
    np.testing.assert_array_equal(last.gamma, np.full(9, 0.25))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"structure": "dns"}, "`structure` must be one of 'diagonal', 'unconstrained'. Received: 'dns'"),
        ({"normalization": "none"}, "`normalization` must be one of 'partial', 'full'. Received: 'none'"),
    ],
)
def test_what_is_refused(arguments, expected):
    with pytest.raises(ValueError) as caught:
        NeuralSimilarityPredictor(**arguments)
    assert expected in str(caught.value)


def test_it_keeps_to_the_width_that_it_was_built_for():
    predictor = NeuralSimilarityPredictor(6)
    predictor(normal(1, *IMAGE))
    with pytest.raises(ValueError, match=r"axis -1 of input shape to have value 3, but received .*\(2, 6, 5, 4\)"):
        predictor(normal(1, 2, 6, 5, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": 0}, "`filters` must be 1 or more. Received: 0"),
        ({"kernel_size": (3, 3, 3)}, "`kernel_size` must be one or two numbers"),
        ({"kernel_size": 0}, "`kernel_size` must be one or two numbers"),
        ({"init_scales": (1,)}, "`init_scales` must be one or two numbers"),
    ],
)
def test_arguments_that_cannot_work_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        NeuralSimilarityPredictor(**arguments)
