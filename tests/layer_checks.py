"""Checks that every layer of ours has to pass."""

import inspect
import json

import keras
import numpy as np
from keras.src.testing import TestCase  # private, but there is no public form of what it does; used here only


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
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")

    assert [weight.path for weight in again.weights] == [weight.path for weight in model.weights]
    for found, expected in zip(again.weights, model.weights, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    x = keras.ops.convert_to_tensor(rng.normal(size=input_shape).astype("float32"))
    np.testing.assert_array_equal(again(x), model(x))
    assert type(again.layers[1]) is type(layer)
    assert again.layers[1].get_config() == layer.get_config()
