"""The self-attention SphereNet from its train.py to the picture of where it looks."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from commands import run_tool
from PIL import Image
from run_checks import assert_equal_runs

from neural_similarity import models, ops
from neural_similarity.families import load_run, main
from neural_similarity.interpret import attention
from neural_similarity.predict import predict
from neural_similarity.training.runs import Run

CONFIG = "configs/quickstart/sa_spherenet.yaml"
SETTINGS = ["model.widths=[8, 8, 8]", "schedule.train_steps=4", "schedule.boundaries_steps=[2]"]
SETTINGS += ["data.global_batch_size=64", "evaluation.every_steps=2"]


def train(folder, *arguments, settings=()):
    words = [word for setting in (*SETTINGS, *settings) for word in ("--set", setting)]
    with pytest.raises(SystemExit) as stop:
        main(CONFIG, [*words, "--run-dir", str(folder), *arguments])
    return stop.value.code


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "looking"
    assert train(folder) == 0
    return folder


@pytest.fixture(scope="module")
def digit(tmp_path_factory):
    path = tmp_path_factory.mktemp("digit") / "digit.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 32, 3), dtype=np.uint8)).save(path)
    return path


def draw(*arguments):
    return run_tool("attention", *arguments)


def test_run_and_its_metrics(run):
    result = Run(run).result
    assert (result.config, result.experiment) == ("quickstart/sa_spherenet", "sa_spherenet")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    train_rows = [row for row in rows if row["split"] == "train"]
    for row in train_rows:
        assert row["loss"] == pytest.approx(row["cross_entropy"] + row["penalty"] + row["orthogonality"], rel=1e-5)
    assert train_rows[-1]["learning_rate"] == pytest.approx(0.0003)


@pytest.mark.slow  # of other networks test_resuming.py says the same
def test_resumed_run_is_the_uninterrupted_one(run, tmp_path):
    """From its checkpoint at step 2 on."""
    folder = tmp_path / "resumed"
    assert train(folder) == 0
    (folder / "result.json").unlink()
    Run(folder).checkpoints.path(4).unlink()
    assert train(folder, "--resume") == 0
    assert_equal_runs(folder, run)


def test_dry_run_names_what_is_special(tmp_path, capsys):
    assert train(tmp_path / "dry", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "attention: true" in said
    assert "operator: cosine" in said


def test_predicts(run, digit):
    """The probabilities that the trained network gives to the picture's middle 32 rows."""
    with Image.open(digit) as picture:
        middle = np.asarray(picture, np.float32)[None, 4:36]
    expected = tf.nn.softmax(load_run(run)(middle, training=False))
    assert np.std(expected) > 1e-4
    np.testing.assert_allclose(predict(run, [digit]), expected, rtol=1e-4)


def test_picture(run, digit, capsys):
    assert draw(run, "--images", 0, 359, digit, "--pixels", "0,31", "16,8") == 0
    first, second, path = capsys.readouterr().out.splitlines()
    assert first.startswith("att1: γ ")
    assert second.endswith(" of 6 look at all pixels alike")
    assert path == str(run / "attention.png")
    with Image.open(path) as picture:
        assert picture.size[0] > picture.size[1] > 300


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_maps_are_those_that_the_network_uses(policy):
    """y = x + γ · map · value: read back from what the layer does to values of one-hot pixels' sums."""
    model = models.spherenet9(10, widths=(8, 8, 8), attention=True, dtype=policy)
    layer = model.get_layer("att1")
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    layer.gamma.assign(1.0)
    pixels = [(0, 0), (9, 30), (31, 2)]
    maps = attention.attention_maps(model, images, pixels)
    assert {name: m.shape for name, m in maps.items()} == {"att1": (2, 3, 16, 16), "att2": (2, 3, 8, 8)}
    x = keras.Model(model.input, layer.input)(images, training=False)
    seen = np.asarray(tf.cast(layer(x) - x, tf.float32))
    value = ops.cosine_sphere_conv2d(x, tf.cast(layer.value_kernel, x.dtype), ops.Window((1, 1)))
    value = np.asarray(tf.cast(value, tf.float32)).reshape(2, 256, 8)
    for number, (row, column) in enumerate(pixels):
        weights = maps["att1"][:, number].reshape(2, 1, 256)
        np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
        expected = (weights @ value)[:, 0]
        tolerance = 1e-5 if policy == "float32" else 0.02
        np.testing.assert_allclose(seen[:, row // 2, column // 2], expected, atol=tolerance)


def test_no_attention_no_maps():
    model = models.spherenet9(10, widths=(8, 8, 8))
    assert attention.attention_maps(model, np.zeros((1, 32, 32, 3), np.float32), [(0, 0)]) == {}


def test_merging_is_refused(run, capsys, tmp_path):
    assert run_tool("merge", run, "--out", tmp_path / "plain.keras") == 2
    expected = (
        f"{run}: cannot be merged. conv1_0: depends on the length of each patch and cannot merge into a plain kernel"
    )
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--images", "360"], "image 360: the run has 360 test images, counted from 0."),
        (["--images", "nowhere.png"], "nowhere.png: no such file."),
        (["--images", "0", "--pixels", "32,0"], "--pixels 32,0: the images have 32 rows and columns, counted from 0."),
        (["--images", "0", "--pixels", "1,2,3"], "expected row,column, as 8,20; got '1,2,3'"),
        (["--images", "0", "--pixels", "-1,2"], "--pixels"),
        (["--images", "0", "--out", "picture.jpg"], "picture.jpg: the picture is a PNG. Next: --out picture.png"),
        ([], "the following arguments are required: --images"),
    ],
)
def test_mistakes(run, arguments, expected, capsys):
    assert draw(run, *arguments) == 2
    assert expected in capsys.readouterr().err


def test_a_network_without_attention(tmp_path, capsys):
    folder = tmp_path / "blind"
    assert train(folder, settings=["model.attention=false", "schedule.train_steps=1"]) == 0
    assert draw(folder, "--images", 0) == 2
    assert f"{folder}: this network has no attention." in capsys.readouterr().err
