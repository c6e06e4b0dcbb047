"""`make quickstart` with fewer steps, and the pictures that it draws."""

import re

import matplotlib
import numpy as np
import pytest
from PIL import Image

from neural_similarity import config as configs
from neural_similarity import quickstart
from neural_similarity.interpret.matrices import draw_matrices, mean_deviation, predicted_matrices
from neural_similarity.layers import DynamicSimilarityConv2D, NeuralSimilarityPredictor
from neural_similarity.models import cnn9


@pytest.fixture
def short(tmp_path, monkeypatch):
    """The quickstart with a few steps of a tiny network, in a folder of its own."""
    load = configs.load
    settings = ["schedule.train_steps=6", "schedule.boundaries_steps=[]", "schedule.warmup_steps=0"]
    settings += ["model.widths=[2, 3, 4]", "data.global_batch_size=64", "evaluation.every_steps=3"]
    monkeypatch.setattr(quickstart.configs, "load", lambda path: load(path, settings))
    monkeypatch.setattr(quickstart.configs, "REPOSITORY", tmp_path)
    monkeypatch.setattr(quickstart.configs, "run_folder", lambda config, name: tmp_path / "runs" / name)
    return tmp_path / "runs"


def test_quickstart_reports_once_and_repeats_itself(short, capsys):
    quickstart.main()
    out = capsys.readouterr().out
    assert len(re.findall(r"test accuracy: ", out)) == 1
    assert re.search(r"^test accuracy: \d+\.\d\d %$", out, re.M)
    assert re.search(r"^plain CNN: \d+\.\d\d %$", out, re.M)
    moved = re.findall(r"^  conv\d_\d +(\S+) +(\S+)$", out, re.M)
    assert len(moved) == 9
    assert any(start != end for start, end in moved)
    assert '"config": "quickstart/dynamic_dns"' in out
    assert out.rstrip().splitlines()[-5:-4] == ["Try next:"]
    folder = short / "quickstart/dynamic_dns"
    # 9 × (3.2 + 0.22) inches, 200 dots each; four images and three layers, 110 dots per inch
    for name, size in (("training_curve.png", (1800, 684)), ("predicted_matrices.png", (968, 880))):
        assert name in out
        with Image.open(folder / name) as picture:
            assert picture.size == size
    report = out[out.index("test accuracy: ") :]

    before = (folder / "checkpoints").stat().st_mtime_ns
    quickstart.main()
    again = capsys.readouterr().out
    assert again.endswith(report)
    assert "rm -r runs/quickstart && make quickstart" in again
    assert (folder / "checkpoints").stat().st_mtime_ns == before


def test_predicted_matrices_are_what_the_layers_use():
    def convolution(*arguments, **kwargs):
        predictor = NeuralSimilarityPredictor(2, structure="unconstrained")
        return DynamicSimilarityConv2D(*arguments, structure="unconstrained", predictor=predictor, **kwargs)

    model = cnn9(3, convolution, widths=(2, 2, 2))
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    before = [w.copy() for w in model.get_weights()]
    matrices = predicted_matrices(model, images)
    assert [m.shape for m in matrices.values()] == [(2, s, s, 9, 9) for s in (32, 16, 8) for _ in range(3)]
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)  # no average moved
    deviation = mean_deviation(matrices)
    first = matrices["conv1_0"]
    assert deviation["conv1_0"] == pytest.approx(np.abs(first - np.eye(9)).mean())
    for kernel in model.get_layer("conv1_0").predictor.kernels:
        kernel.assign(0 * kernel)
    assert mean_deviation(predicted_matrices(model, images))["conv1_0"] == 0


def test_a_picture_of_a_constant_map(tmp_path):
    draw_matrices(np.zeros((2, 32, 32, 3)), {"conv1_0": np.ones((2, 8, 8, 9))}, tmp_path / "m.png")
    white = tuple(matplotlib.colormaps["RdBu_r"](0.5, bytes=True)[:3])  # the colour of 1
    with Image.open(tmp_path / "m.png") as picture:
        counts = {colour: count for count, colour in picture.convert("RGB").getcolors(1 << 24)}
    assert counts[white] > 10_000  # most of the two cells; a colour map from 1 to 1 would show 1 as an end of it
