"""What the tests of the layers share: inputs, weights away from their start, checks that every layer has to pass."""

import inspect
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.testing import TestCase  # private, but there is no public form of what it does; used here only

KERAS_WARNINGS = [  # Keras' own, about saving and about the generator of its layer test
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning"),
]
STRUCTURES = ("diagonal", "unconstrained")
IMAGE = (2, 6, 5, 3)
GEOMETRIES = [
    {"kernel_size": 3, "padding": "same"},
    {"kernel_size": 3, "strides": 2, "padding": "same"},
    {"kernel_size": 3, "strides": (2, 1), "padding": "valid", "use_bias": False},
    {"kernel_size": (3, 1), "strides": 2, "padding": "same"},
    {"kernel_size": 5, "padding": "valid", "activation": "relu"},
    {"kernel_size": 1},
    {"kernel_size": 3, "padding": "same", "dilation_rate": 2},
]

each_structure = pytest.mark.parametrize("structure", STRUCTURES)


def normal(seed, *shape):
    """Normal numbers, a function of seed and shape."""
    return tf.random.stateless_normal(shape, (seed, 0))


def randomise(layer):
    """Moves every weight away from its start; variances stay positive, and averages those of many steps."""
    rng = np.random.default_rng(0)
    for weight in layer.weights:
        if weight.name == "updates":
            weight.assign(10_000)
        elif len(weight.shape) == 1:
            weight.assign(weight + rng.uniform(0.1, 0.5, weight.shape))
        else:
            weight.assign(weight + 0.3 * rng.standard_normal(weight.shape))


def plain_twin(layer, kernel):
    """A `keras.layers.Conv2D` of the same geometry and bias."""
    keys = ("filters", "kernel_size", "strides", "padding", "dilation_rate", "use_bias", "activation")
    twin = keras.layers.Conv2D(**{key: getattr(layer, key) for key in keys})
    twin.build(IMAGE)
    twin.set_weights([kernel, layer.bias] if layer.use_bias else [kernel])
    return twin


def assert_near(found, expected, tolerance=1e-5):
    """Holds that shapes are equal and values near."""
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def assert_equal_weights(found, expected):
    """Holds that two models or layers have the same weights: paths, dtypes and values."""
    assert [weight.path for weight in found.weights] == [weight.path for weight in expected.weights]
    for one, other in zip(found.weights, expected.weights, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def saved_and_loaded(model, tmp_path):
    """The model that Keras reads from the `.keras` file that it wrote."""
    model.save(tmp_path / "model.keras")
    return keras.models.load_model(tmp_path / "model.keras")


def check_as_keras_does(layer_class, arguments, input_shape, **expected):
    """Keras' own test of a layer: config, build, symbolic and eager call, a training step, mixed precision.

    `expected` are `run_layer_test`'s, such as `expected_output_shape` and `expected_num_trainable_weights`.
    """
    TestCase().run_layer_test(layer_class, arguments, input_shape=input_shape, **expected)


def check_config(thing):
    """Holds that a layer's, or regularizer's, config has every argument and leads back to the same config."""
    config = thing.get_config()
    arguments = inspect.signature(type(thing).__init__).parameters.values()
    named = {argument.name for argument in arguments if argument.kind is not argument.VAR_KEYWORD} - {"self"}
    assert named <= config.keys()
    assert type(thing).from_config(config).get_config() == config

    text = json.dumps(keras.saving.serialize_keras_object(thing))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(again) is type(thing)
    assert json.dumps(keras.saving.serialize_keras_object(again)) == text


def check_round_trip(layer, input_shape, tmp_path):
    """Holds that a `.keras` file keeps every weight, and the outputs bit for bit.  `input_shape`: (b, h, w, i)."""
    inputs = keras.Input(input_shape[1:])
    model = keras.Model(inputs, layer(inputs))
    rng = np.random.default_rng(0)
    for weight in model.weights:  # anything but their initial values; positive, as some are variances
        weight.assign(rng.uniform(0.5, 1.5, weight.shape) * (1000 if weight.name == "updates" else 1))
    again = saved_and_loaded(model, tmp_path)

    assert_equal_weights(again, model)
    x = keras.ops.convert_to_tensor(rng.normal(size=input_shape).astype("float32"))
    np.testing.assert_array_equal(again(x), model(x))
    assert type(again.layers[1]) is type(layer)
    assert again.layers[1].get_config() == layer.get_config()
