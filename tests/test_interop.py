"""The export to plain Keras: the same outputs from other layers, and nothing of this package."""

import functools
import subprocess
import sys

import keras
import numpy as np
import pytest
from commands import run_tool

from neural_similarity import load_run, models
from neural_similarity import merge as public_merge
from neural_similarity.interop.merge import merge
from neural_similarity.layers import (
    BatchNormalization2D,
    DynamicSimilarityConv2D,
    GlobalSimilarity2D,
    NeuralSimilarityPredictor,
    SphereConv2D,
    StaticSimilarityConv2D,
    TowardsIdentity,
)
from neural_similarity.losses import smoothed_cross_entropy


def images(shape=(32, 32, 3), count=4):
    return np.random.default_rng(1).uniform(0, 255, (count, *shape)).astype(np.float32)


def assert_equal_outputs(model, merged, x):
    expected, found = (np.asarray(m(x, training=False), np.float64) for m in (model, merged))
    assert np.max(np.abs(expected - found)) <= 1e-5 * np.max(np.abs(expected))


def plain_layers(model):
    return [type(layer) for layer in model.layers]


def small_convolutions(look_trained, **kwargs):
    """Two static layers of different kinds, behind an input of 9×9."""
    inputs = keras.Input((9, 9, 3))
    x = StaticSimilarityConv2D(4, 3, name="first", **kwargs)(inputs)
    outputs = StaticSimilarityConv2D(2, 3, structure="unconstrained", name="second")(x)
    return look_trained(keras.Model(inputs, outputs))


@pytest.mark.parametrize("debias", [True, False])
@pytest.mark.parametrize("structure", ["diagonal", "unconstrained"])
def test_merged_cnn9_is_plain_keras_with_the_same_logits(structure, debias, look_trained, tmp_path):
    static = functools.partial(StaticSimilarityConv2D, structure=structure, similarity_regularizer=TowardsIdentity(0.1))
    model = models.cnn9(10, static, widths=(4, 4, 4), weight_decay=5e-4, debias=debias)
    look_trained(model)
    before = model.get_weights()

    merged = merge(model)

    assert_equal_outputs(model, merged, images())
    assert [layer.name for layer in merged.layers] == [layer.name for layer in model.layers]
    expected = {
        StaticSimilarityConv2D: keras.layers.Conv2D,
        BatchNormalization2D: keras.layers.BatchNormalization,
    }
    assert plain_layers(merged) == [expected.get(kind, kind) for kind in plain_layers(model)]
    assert all(map(np.array_equal, before, model.get_weights()))
    assert not {id(v) for v in model.variables} & {id(v) for v in merged.variables}
    assert merged.get_layer("conv1_0").kernel_regularizer.l2 == pytest.approx(2.5e-4)
    assert len(merged.losses) == len(model.losses) - 9  # the penalties on M

    merged.save(tmp_path / "merged.keras")
    assert_equal_outputs(merged, keras.models.load_model(tmp_path / "merged.keras"), images())


def test_the_averages_differ_between_the_two_kinds(look_trained):
    """Otherwise the test above could not tell which averages a merge takes."""
    layers = [BatchNormalization2D(0.999, debias=debias) for debias in (True, False)]
    debiased, plain = (merge(look_trained(keras.Sequential([keras.Input((4, 4, 2)), layer]))) for layer in layers)
    ratio = debiased.layers[-1].moving_variance / plain.layers[-1].moving_variance
    np.testing.assert_allclose(ratio, 1 / (1 - 0.999**700), rtol=1e-4)
    np.testing.assert_array_equal(debiased.layers[-1].gamma, plain.layers[-1].gamma)
    assert debiased.layers[-1].momentum == 0.999
    assert debiased.layers[-1].epsilon == 1e-3


def test_geometry_bias_activation_and_dtype_carry_over(look_trained):
    arguments = {
        "strides": 2,
        "padding": "same",
        "activation": "tanh",
        "bias_regularizer": "l2",
        "kernel_constraint": keras.constraints.MaxNorm(2.0),
        "trainable": False,
        "dtype": "mixed_bfloat16",
        "similarity_regularizer": "l2",
    }
    model = small_convolutions(look_trained, **arguments)
    layer, plain = model.get_layer("first"), merge(model).get_layer("first")
    assert type(plain) is keras.layers.Conv2D
    config = layer.get_config()
    own = {"structure", "similarity_initializer", "similarity_regularizer"}
    assert plain.get_config() == {key: value for key, value in config.items() if key not in own}
    np.testing.assert_array_equal(plain.bias, layer.bias)
    assert plain.dtype_policy.name == "mixed_bfloat16"
    assert not plain.trainable
    x = images((9, 9, 3)) / 255
    outputs = [np.asarray(each(x), np.float32) for each in (plain, layer)]  # M and W are rounded one by one, or W' is
    np.testing.assert_allclose(*outputs, rtol=0, atol=0.03)


def test_groups_and_dilation(look_trained):
    inputs = keras.Input((9, 9, 4))
    x = StaticSimilarityConv2D(6, (3, 2), groups=2, dilation_rate=2, structure="unconstrained")(inputs)
    model = look_trained(keras.Model(inputs, x))
    assert_equal_outputs(model, merge(model), images((9, 9, 4)) / 255)


def test_nested_sequential_and_residual_models(look_trained):
    block = keras.Sequential(
        [StaticSimilarityConv2D(3, 3, padding="same"), BatchNormalization2D(), keras.layers.Dropout(0.5)],
        name="block",
    )
    inputs = keras.Input((8, 8, 3), name="image")
    head = StaticSimilarityConv2D(2, 3, name="head")
    model = keras.Model({"image": inputs}, {"score": head(block(inputs) + inputs)})
    look_trained(model)
    model.compile("sgd", smoothed_cross_entropy)

    merged = merge(model)

    x = {"image": images((8, 8, 3)) / 255}
    np.testing.assert_allclose(merged(x)["score"], model(x)["score"], rtol=1e-5, atol=1e-5)
    assert "neural_similarity" not in merged.to_json()
    assert not merged.compiled
    assert model.compiled
    inner = merged.get_layer("block")
    assert plain_layers(inner)[1:] == [keras.layers.Conv2D, keras.layers.BatchNormalization, keras.layers.Dropout]


def test_sequential_that_was_built_by_its_first_batch(look_trained):
    model = keras.Sequential([StaticSimilarityConv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="no weights yet"):
        merge(model)
    x = images((8, 8, 3)) / 255
    model(x)
    assert_equal_outputs(look_trained(model), merge(model), x)


def test_a_layer_that_is_used_twice_stays_one_layer(look_trained):
    shared = StaticSimilarityConv2D(3, 3, padding="same", structure="unconstrained")
    inputs = keras.Input((8, 8, 3))
    model = look_trained(keras.Model(inputs, shared(shared(inputs))))
    merged = merge(model)
    assert_equal_outputs(model, merged, images((8, 8, 3)) / 255)
    assert len(merged.weights) == 2


def test_a_model_without_static_layers_is_copied(look_trained):
    model = look_trained(models.cnn9(10, widths=(4, 4, 4)))
    merged = merge(model)
    assert "neural_similarity" not in merged.to_json()
    assert_equal_outputs(model, merged, images())


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


class Doubled(StaticSimilarityConv2D):
    def call(self, inputs):
        return 2 * super().call(inputs)


class ByBatch(BatchNormalization2D):
    def call(self, inputs, training=None):
        return super().call(inputs, training=True)


class Noted(StaticSimilarityConv2D):
    """It computes what its base class does, and has an argument more."""

    def __init__(self, *arguments, note="", **kwargs):
        super().__init__(*arguments, **kwargs)
        self.note = note

    def get_config(self):
        return {**super().get_config(), "note": self.note}


def test_a_subclass_that_computes_the_same_is_merged(look_trained):
    model = look_trained(keras.Sequential([keras.Input((8, 8, 3)), Noted(4, 3, note="mine")]))
    merged = merge(model)
    assert type(merged.layers[-1]) is keras.layers.Conv2D
    assert_equal_outputs(model, merged, images((8, 8, 3)) / 255)


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        ([DynamicSimilarityConv2D(4, 3, name="layer7")], ValueError, "layer7: dynamic similarity depends on the input"),
        ([keras.Sequential([DynamicSimilarityConv2D(4, 3, name="deep")])], ValueError, "deep: dynamic similarity"),
        ([SphereConv2D(4, 3, name="round")], ValueError, "round: depends on the length of each patch"),
        ([GlobalSimilarity2D(2, name="wide")], ValueError, "wide: global similarity depends on the input"),
        ([NeuralSimilarityPredictor(name="alone")], ValueError, "alone: holds a part of neural_similarity"),
        ([keras.layers.Conv2D(2, 3, kernel_regularizer=TowardsIdentity(1), name="odd")], ValueError, "odd: holds"),
        ([Subclassed()], TypeError, "functional or Sequential"),
        ([Doubled(4, 3, name="twice")], ValueError, "twice: Doubled computes something else .* by a `call` of its own"),
        ([ByBatch(name="batch")], ValueError, "batch: ByBatch computes something else than BatchNormalization2D"),
    ],
)
def test_what_cannot_be_merged_says_why(layers, error, message):
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    with pytest.raises(error, match=message):
        merge(model)


def test_static_layer_in_a_wrapper_is_refused_by_the_wrappers_name():
    wrapper = keras.layers.TimeDistributed(StaticSimilarityConv2D(4, 3), name="frames")
    with pytest.raises(ValueError, match="frames: holds a part"):
        merge(keras.Sequential([keras.Input((2, 8, 8, 3)), wrapper]))


@pytest.mark.parametrize("no_model", [Subclassed(), "model.keras", keras.layers.Dense(2)])
def test_only_functional_and_sequential_models(no_model):
    with pytest.raises(TypeError, match="functional or Sequential"):
        merge(no_model)


def test_the_package_offers_merge():
    assert public_merge is merge


# Command line


# `neural_similarity` cannot be imported in it: None in sys.modules is an ImportError.
ELSEWHERE = """
import sys
sys.modules["neural_similarity"] = None
import keras, numpy as np
model = keras.models.load_model(sys.argv[1])
np.save(sys.argv[3], model(np.load(sys.argv[2]), training=False))
"""


def test_command_writes_a_file_that_needs_no_neural_similarity(run_folder, tmp_path, capsys):
    out = tmp_path / "model.keras"
    assert run_tool("merge", run_folder, "--out", out) == 0
    output = capsys.readouterr()
    assert output.err == ""
    (line,) = output.out.splitlines()
    model = load_run(run_folder)
    parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert f"{out}: plain Keras, {parameters:,} → {parameters - 9 * 81:,} parameters, max |Δlogit| " in line
    difference = float(line.split("|Δlogit| ")[1].split()[0])

    np.save(tmp_path / "x.npy", images(count=8))
    files = [str(tmp_path / name) for name in ("x.npy", "y.npy")]
    done = subprocess.run([sys.executable, "-c", ELSEWHERE, str(out), *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected, found = np.asarray(model(images(count=8), training=False)), np.load(tmp_path / "y.npy")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.max(np.abs(expected)))
    assert difference <= 1e-5 * np.max(np.abs(expected))
    assert [path.name for path in tmp_path.glob("*.keras")] == ["model.keras"]  # nothing unfinished is left


def test_command_keeps_a_file_that_is_there(run_folder, tmp_path, capsys):
    out = tmp_path / "model.keras"
    out.write_text("mine")
    assert run_tool("merge", run_folder, "--out", out) == 2
    assert "exists already" in capsys.readouterr().err
    assert out.read_text() == "mine"


@pytest.mark.parametrize(
    ("run", "out", "message"),
    [
        (None, "model.h5", "Next: --out model.keras"),
        (None, "model", "Next: --out model.keras"),
        (None, "nowhere/model.keras", "cannot be written (No such file or directory)"),
        ("no run", "model.keras", "not a run folder"),
    ],
)
def test_mistakes_end_in_one_message(run, out, message, run_folder, tmp_path, capsys):
    assert run_tool("merge", tmp_path / run if run else run_folder, "--out", tmp_path / out) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err
    assert len(output.err.splitlines()) == 1
    assert not list(tmp_path.glob("*.keras"))


@pytest.mark.parametrize("run_folder", ["dynamic_dns"], indirect=True)
def test_a_dynamic_run_cannot_be_merged(run_folder, tmp_path, capsys):
    assert run_tool("merge", run_folder, "--out", tmp_path / "model.keras") == 2
    assert "cannot be merged. conv1_0: dynamic similarity depends on the input" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
