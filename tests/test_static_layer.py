"""`StaticSimilarityConv2D`: the plain convolution with its merged kernel, in every geometry and from every start."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_checks import GEOMETRIES, IMAGE, assert_near, check_config, each_structure, normal, plain_twin, randomise

from neural_similarity.layers import StaticSimilarityConv2D


@pytest.mark.parametrize("geometry", [*GEOMETRIES, {"kernel_size": 2, "padding": "same"}], ids=str)
@each_structure
def test_layer_is_the_convolution_with_its_merged_kernel(geometry, structure):
    x = normal(1, *IMAGE)
    layer = StaticSimilarityConv2D(4, structure=structure, **geometry)
    first = layer(x)
    assert first.shape == layer.compute_output_shape(IMAGE)
    assert_near(first, plain_twin(layer, layer.kernel)(x))  # M starts as the identity
    randomise(layer)
    twin = plain_twin(layer, layer.merged_kernel())
    assert_near(layer(x), twin(x))
    assert np.abs(twin(x) - plain_twin(layer, layer.kernel)(x)).max() > 0.1


def test_groups():
    x = normal(1, 2, 5, 5, 4)
    layer = StaticSimilarityConv2D(6, 3, groups=2)
    layer.build(x.shape)
    randomise(layer)
    merged = layer.merged_kernel()
    halves = [tf.nn.conv2d(x[..., i : i + 2], merged[..., o : o + 3], 1, "VALID") for i, o in [(0, 0), (2, 3)]]
    assert_near(layer(x), tf.concat(halves, -1) + layer.bias)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"kernel_size": 3}, np.ones(9)),
        ({"kernel_size": (3, 2)}, np.ones(6)),
        ({"kernel_size": 3, "structure": "unconstrained"}, np.eye(9)),
        ({"kernel_size": 3, "similarity_initializer": "flattened_eye"}, [1, 0, 0, 0, 1, 0, 0, 0, 1]),
        ({"kernel_size": 5, "similarity_initializer": "flattened_eye"}, np.eye(5).ravel()),
        ({"kernel_size": (3, 2), "similarity_initializer": "flattened_eye"}, [1, 0, 0, 1, 0, 0]),
        ({"kernel_size": 3, "similarity_initializer": "zeros"}, np.zeros(9)),
        ({"kernel_size": 3, "similarity_initializer": keras.initializers.Constant(0.5)}, np.full(9, 0.5)),
        (
            {"kernel_size": 2, "structure": "unconstrained", "similarity_initializer": keras.initializers.Ones()},
            np.ones((4, 4)),
        ),
    ],
)
def test_m_starts_as_asked(arguments, expected):
    layer = StaticSimilarityConv2D(2, **arguments)
    check_config(layer)
    for same in (layer, StaticSimilarityConv2D.from_config(layer.get_config())):
        same.build(IMAGE)
        np.testing.assert_array_equal(same.similarity_matrix, expected)
        assert same.similarity_matrix.trainable


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"structure": "dns"}, "`structure` must be one of 'diagonal', 'unconstrained'. Received: 'dns'"),
        (
            {"structure": "unconstrained", "similarity_initializer": "flattened_eye"},
            "'flattened_eye'` is a start of a diagonal M and needs structure='diagonal'. "
            "Received: structure='unconstrained'",
        ),
        ({"similarity_initializer": "released"}, "released"),
        ({"strides": 2, "dilation_rate": 2}, "dilation_rate=(2, 2)"),
    ],
)
def test_what_is_refused(arguments, expected):
    with pytest.raises(ValueError) as caught:
        StaticSimilarityConv2D(4, 3, **arguments)
    assert expected in str(caught.value)
