"""Keras' settings, of a user's keras.json or program: what they change here, what they do not, what is refused."""

import contextlib
import json
import os
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import small_tasks
import tensorflow as tf
from commands import run_tool
from layer_checks import IMAGE, normal

from neural_similarity import backend, errors
from neural_similarity.interop import parity
from neural_similarity.layers import (
    BatchNormalization2D,
    DynamicSimilarityConv2D,
    GlobalSimilarity2D,
    NeuralSimilarityPredictor,
    SphereConv2D,
    StaticSimilarityConv2D,
)
from neural_similarity.models import cnn9, spherenet9
from neural_similarity.models.seeding import seeded


@contextlib.contextmanager
def settings(data_format="channels_last", floatx="float32", epsilon=1e-7, policy=None):
    """Keras as a keras.json with these values leaves it; `policy` is what a program sets after that."""
    try:
        keras.config.set_image_data_format(data_format)
        keras.config.set_floatx(floatx)
        keras.config.set_epsilon(epsilon)
        keras.config.set_dtype_policy(policy or floatx)
        yield
    finally:
        keras.config.set_image_data_format("channels_last")
        keras.config.set_floatx("float32")
        keras.config.set_epsilon(1e-7)
        keras.config.set_dtype_policy("float32")


# Our networks


def trained(name, *overrides):
    """What a step of training measures, and the arrays before and after it."""
    _, task = small_tasks.build(name, overrides=["data.global_batch_size=4", *overrides])
    start = [np.asarray(variable) for variable in task.model.variables]
    measures = task.step(task.batch(tf.constant(0, tf.int64)))
    after = [np.asarray(variable) for variable in (*task.model.variables, *task.optimizer.variables)]
    return [*start, *after, *map(np.asarray, measures.values())], task.model.to_json()


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("static_uns", []),
        ("dynamic_dns", ["similarity.filters=4"]),
        ("sa_spherenet", ["model.widths=[8, 8, 8]"]),  # with Adam
        ("cnn9_128", []),
    ],
)
def test_a_recipe_does_not_depend_on_them(name, overrides):
    expected, config = trained(name, *overrides)
    with settings("channels_first", "float16", epsilon=0.5):
        found, found_config = trained(name, *overrides)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    assert found_config == config


@pytest.mark.parametrize("network", [cnn9, spherenet9])
def test_a_network_without_a_dtype_has_the_programs(network):
    logits = {"float64": "float64", "mixed_bfloat16": "float32"}
    for policy, expected in logits.items():
        with settings(policy=policy), seeded(0):
            model = network(3, widths=(2, 2, 2), image_size=8)
        assert model(normal(1, 1, 8, 8, 3)).dtype == expected
        assert model.get_layer("conv1_0").dtype_policy.name == policy
        with seeded(0):
            named = network(3, widths=(2, 2, 2), image_size=8, dtype=keras.DTypePolicy(policy))
        np.testing.assert_array_equal(named(normal(1, 1, 8, 8, 3)), model(normal(1, 1, 8, 8, 3)))


# Our layers in a user's program

LAYERS = {
    "static": lambda **kwargs: StaticSimilarityConv2D(4, 3, **kwargs),
    "dynamic": lambda **kwargs: DynamicSimilarityConv2D(4, 3, **kwargs),
    "sphere": lambda **kwargs: SphereConv2D(4, 3, operator="learnable_sigmoid", magnitude="tanh", **kwargs),
    "batch_norm": BatchNormalization2D,
    "global": lambda **kwargs: GlobalSimilarity2D(2, **kwargs),
    "predictor": lambda **kwargs: NeuralSimilarityPredictor(4, **kwargs),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16", "float64"])
def test_a_programs_dtype_policy_is_taken(kind, policy):
    with settings(policy=policy), seeded(0):
        layer = LAYERS[kind]()
        layer.build(IMAGE)
    with seeded(0):
        named = LAYERS[kind](dtype=policy)
        named.build(IMAGE)
    assert layer.dtype_policy.name == policy
    assert layer(normal(1, *IMAGE)).dtype == named(normal(1, *IMAGE)).dtype == layer.compute_dtype
    assert [weight.dtype for weight in layer.weights] == [weight.dtype for weight in named.weights]


@pytest.mark.parametrize("kind", LAYERS)
def test_channels_first_is_taken_or_refused_at_once(kind):
    with settings(data_format="channels_first"):
        if kind in ("dynamic", "sphere"):
            with pytest.raises(ValueError, match=r"from Keras' setting \(keras.config.image_data_format\)"):
                LAYERS[kind]()
            layer = LAYERS[kind](data_format="channels_last")
        else:
            layer = LAYERS[kind]()
        last = kind != "static"  # the others read channels last only, as they say
        images = normal(1, *(IMAGE if last else (2, 3, 6, 5)))
        y = layer(images)
        assert y.shape == layer.compute_output_shape(images.shape)
        again = type(layer).from_config(layer.get_config())
    again.build(images.shape)  # by its config, a layer is the same wherever it is built
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(images), y)


# Another backend


@pytest.fixture
def keras_not_imported(monkeypatch, tmp_path):
    """As at the start of Python, with an empty folder for keras.json."""
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["jax", "torch", "numpy", "openvino", "nonsense"])
def test_another_backend_ends_in_one_sentence(name, keras_not_imported, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", name)
    with pytest.raises(ImportError, match=f"the environment variable KERAS_BACKEND says '{name}'") as caught:
        backend.check_backend()
    assert isinstance(caught.value, errors.UserError)
    for module in [module for module in sys.modules if module.startswith("neural_similarity.interop")]:
        monkeypatch.delitem(sys.modules, module)
    assert run_tool("merge", keras_not_imported / "run", "--out", keras_not_imported / "x.keras") == 2
    assert "Set the environment variable KERAS_BACKEND=tensorflow" in capsys.readouterr().err
    assert not os.listdir(keras_not_imported)


def test_the_backend_of_keras_json(keras_not_imported, monkeypatch):
    file = keras_not_imported / "keras.json"
    for text in ('{"backend": "tensorflow"}', '{"floatx": "float16"}', "{", "[]", ""):
        file.write_text(text)
        backend.check_backend()
    file.write_text(json.dumps({"backend": "jax"}))
    with pytest.raises(backend.WrongBackend, match=r"keras\.json says 'jax'"):
        backend.check_backend()
    monkeypatch.setenv("KERAS_BACKEND", "")  # Keras takes it as if it were not there
    with pytest.raises(backend.WrongBackend, match=r"keras\.json says 'jax'"):
        backend.check_backend()
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    backend.check_backend()


def test_the_backend_that_keras_has(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")  # too late: Keras runs on TensorFlow already
    backend.check_backend()
    monkeypatch.setattr(keras.config, "backend", lambda: "torch")
    with pytest.raises(backend.WrongBackend, match="which is imported already, says 'torch'"):
        backend.check_backend()


@pytest.mark.slow
def test_parity_does_not_depend_on_them():
    """The golden rates of sa_spherenet lie below what float16 can tell apart."""
    golden = Path(__file__).parent / "golden"
    with settings("channels_first", "float16", epsilon=0.5):
        disagreeing = [line for line, agrees in parity.check(golden) if not agrees]
    assert not disagreeing
