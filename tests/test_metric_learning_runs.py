"""Metric-learning runs on the digits, by the command line: training, stopping, going on, evaluating, refusing."""

import errno
import io
import json
import os
import shutil

import keras
import numpy as np
import pytest
from commands import run_tool
from digits_runs import interrupt_at, refusal, run_main
from layer_checks import KERAS_WARNINGS
from pictures import pixels, save
from run_checks import assert_equal_runs

from neural_similarity import load_run
from neural_similarity.training.logs import read_rows
from neural_similarity.training.runs import Run

pytestmark = KERAS_WARNINGS

QUICKSTART = "configs/quickstart/diml.yaml"
BREGMAN = "configs/quickstart/bregman.yaml"
MARGIN = "configs/digits_unseen/margin_structural.yaml"
COST = "configs/bregman/cifar100_structural/input_convex.yaml"
PROXIES = "configs/cifar100_unseen/proxy_anchor_plugin.yaml"
FOLDER = "configs/folder/metric_learning.yaml"
FEW = ["data.name=digits_unseen", "data.classes_per_batch=4", "data.images_per_class=3", "data.augmentation=none"]
FEW += ["data.validation_fraction=0", "model.widths=[3, 4, 5]", "model.embedding_size=6"]
FEW += ["schedule.train_steps=12", "schedule.boundaries_steps=[8]", "evaluation.every_steps=6"]


def arguments(config, folder, *extra):
    few = [*FEW, *["distance.width=6"] * (config == COST)]
    return ["--config", config, *(w for s in few for w in ("--set", s)), "--run-dir", str(folder), *extra]


def train(config, folder, *extra):
    return run_main(arguments(config, folder, *extra), default=BREGMAN if config == COST else QUICKSTART)


def refused(capsys, config, folder, *extra):
    return refusal(capsys, arguments(config, folder, *extra), default=BREGMAN if config == COST else QUICKSTART)


@pytest.fixture(scope="module", params=[QUICKSTART, MARGIN, COST], ids=["multi_similarity", "margin", "bregman"])
def finished(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finished"
    assert train(request.param, folder) == 0
    return request.param, folder


def test_a_result_has_all_scores(finished):
    config, folder = finished
    coarse = "divergence" if config == COST else "cosine"
    result = Run(folder).result
    assert result.headline == "test/recall_at_1"
    names = {"recall_at_1", "recall_at_2", "recall_at_4", "recall_at_8", "r_precision", "map_at_r"}
    wanted = names | {f"{coarse}_{n}" for n in names} | {"nmi", "f1"}
    assert {name.partition("/")[2] for name in result.scores} == wanted
    assert (
        result.protocol
        == {
            "cosine": "ranked by cosine, the first 100 by cosine + structural similarity",
            "divergence": "ranked by the trained divergence, the first 100 by it + structural similarity",
        }[coarse]
    )
    row = [row for row in read_rows(folder / "metrics.jsonl") if row["split"] == "test"][-1]
    assert 0 <= row["marginal_residual"] < 0.1
    assert row["recall_at_1"] == result.scores["test/recall_at_1"].value


def test_a_stopped_run_goes_on_to_the_same_end(finished, tmp_path, monkeypatch):
    config, reference = finished
    with monkeypatch.context() as patch:
        interrupt_at(8, patch)
        assert train(config, tmp_path / "run") == 130
    assert train(config, tmp_path / "run", "--resume") == 0
    assert_equal_runs(tmp_path / "run", reference)


def test_an_evaluation_may_rank_in_another_way(finished, capsys):
    config, folder = finished
    capsys.readouterr()
    assert train(config, folder, "--eval-only", "--set", "ranking.candidates=10", "--set", "ranking.sweeps=5") == 0
    text = capsys.readouterr().out
    assert (
        f"the first 10 by {'it + structural similarity' if config == COST else 'cosine + structural similarity'}"
        in text
    )
    assert "test recall at 1: " in text
    assert "`distance.cells` differs" in refused(capsys, config, folder, "--eval-only", "--set", "distance.cells=2")


def test_a_trained_network_loads(finished):
    _, folder = finished
    model = load_run(folder)
    images = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)
    assert model(images).shape == (3, 4, 4, 6)
    if model.training_loss.parameters:  # of the margin loss: β of each class, away from its start
        assert model.training_loss.beta.shape == (5,)
        assert np.ptp(model.training_loss.beta.numpy()) > 0


def test_results_are_recorded(finished, tmp_path, capsys):
    _, folder = finished
    assert run_tool("record", str(folder), "--results", str(tmp_path)) == 0
    (file,) = tmp_path.glob("*.jsonl")
    assert json.loads(file.read_text())["family"] == "metric_learning"
    capsys.readouterr()


def test_a_validation_split_selects_a_step(tmp_path):
    assert (
        train(
            QUICKSTART, tmp_path / "run", "--set", "data.validation_fraction=0.4", "--set", "data.classes_per_batch=3"
        )
        == 0
    )
    result = Run(tmp_path / "run").result
    assert result.selected.step in (6, 12)
    assert "validation/map_at_r" in result.scores


def test_proxies_have_a_rate_of_their_own(tmp_path):
    """Adam moves every number by about its rate in the first step: proxies by 1e-2, all others by 1e-3."""
    start, end = tmp_path / "start", tmp_path / "end"
    for folder, steps in ((start, 1), (end, 2)):
        assert (
            train(PROXIES, folder, "--set", f"schedule.train_steps={steps}", "--set", "schedule.boundaries_steps=[]")
            == 0
        )
    moved = {}
    before, after = (load_run(folder) for folder in (start, end))
    for one, other in zip(before.trainable_variables, after.trainable_variables, strict=True):
        moved[one.path] = float(np.abs(one - other).max())
    assert 0.003 < moved.pop(before.training_loss.parameters.weights[0].path) < 0.02
    assert max(moved.values()) < 0.002


@pytest.mark.parametrize(
    ("config", "overrides", "expected"),
    [
        (
            QUICKSTART,
            ["data.classes_per_batch=6"],
            "`data.classes_per_batch` is 6, and the split `train` has 5 classes",
        ),
        (QUICKSTART, ["data.name=cifar10"], "`data.name` must be"),
        (QUICKSTART, ["evaluation.recall_at=[2]"], "lacks 1; the tables show Recall@1"),
        (QUICKSTART, ["evaluation.recall_at=[1, 3]"], "`evaluation.recall_at` must be a list with some of 1, 2, 4"),
        (QUICKSTART, ["distance.name=euclidean"], "unknown key `distance.cells`"),
        ("configs/digits_unseen/triplet_euclidean.yaml", ["loss.miner=hard"], "`loss.miner` must be"),
        (
            "configs/digits_unseen/multisimilarity_global.yaml",
            ["distance.name=euclidean"],
            "not give such numbers",
        ),
        (PROXIES, ["distance.name=euclidean"], "They have no cells"),
    ],
)
def test_impossible_configs_are_refused(config, overrides, expected, tmp_path, capsys):
    text = refused(capsys, config, tmp_path / "run", "--dry-run", *(w for s in overrides for w in ("--set", s)))
    assert expected in text, text
    assert not (tmp_path / "run").exists()


def test_a_fixed_backbone_needs_fixed_images(tmp_path, capsys):
    words = ["--set", "model.trained=head", "--set", "data.augmentation=flip"]
    assert "so that the images cannot change" in refused(capsys, QUICKSTART, tmp_path / "run", *words)


def test_a_dry_run_tells_classes_and_ranking(tmp_path, capsys):
    capsys.readouterr()
    assert train(QUICKSTART, tmp_path / "run", "--dry-run") == 0
    text = capsys.readouterr().out
    assert "data: 5 train classes (901 images), 5 test classes (896 images)" in text
    assert "measured: ranked by cosine" in text


# A backbone that is not trained


def fixed(folder, *extra):
    return train(QUICKSTART, folder, "--set", "model.trained=head", *extra)


def test_fixed_features_are_computed_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", str(tmp_path / "data"))
    assert fixed(tmp_path / "run") == 0
    assert "kept in" in capsys.readouterr().out
    files = sorted((tmp_path / "data" / "features").glob("*.npy"))
    assert len(files) == 2  # training and test
    times = [file.stat().st_mtime_ns for file in files]
    assert fixed(tmp_path / "again") == 0
    assert "kept in" not in capsys.readouterr().out
    assert [file.stat().st_mtime_ns for file in files] == times
    assert_equal_runs(tmp_path / "again", tmp_path / "run")
    result = Run(tmp_path / "run").result
    assert result.parameters == 5 * 6 + 6  # of the head

    assert fixed(tmp_path / "run", "--eval-only") == 0
    assert f"test recall at 1: {result.scores['test/recall_at_1']}" in capsys.readouterr().out
    assert sorted((tmp_path / "data" / "features").glob("*.npy")) == files


def test_features_on_a_full_disk(tmp_path, monkeypatch, capsys):
    """The run ends with a message, and nothing that is half written is taken for whole."""
    from neural_similarity.families import fixed_features

    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", str(tmp_path / "data"))
    with monkeypatch.context() as patch:
        patch.setattr(fixed_features, "open", FullAfterAKilobyte, raising=False)
        words = ["--set", "model.trained=head"]
        assert "No space left on device" in refused(capsys, QUICKSTART, tmp_path / "run", *words)
    assert not list((tmp_path / "data" / "features").glob("*.npy"))
    assert fixed(tmp_path / "run", "--resume") == 0


class FullAfterAKilobyte(io.FileIO):
    """A file on a disk that has room for a thousand bytes."""

    def write(self, data):
        if self.tell() + len(data) > 1000:
            super().write(data[: 1000 - self.tell()])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def test_fixed_features_give_what_the_whole_network_gives(tmp_path, monkeypatch):
    """The run with features, evaluated as one that is trained as a whole."""
    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", str(tmp_path / "data"))
    assert fixed(tmp_path / "run") == 0
    from neural_similarity.families import metric_learning

    run = Run(tmp_path / "run")
    model, splits = load_run(run.folder), metric_learning.load_data(run.config)
    whole = run.config.model_copy(update={"model": run.config.model.model_copy(update={"trained": "all"})})
    (found, expected) = (metric_learning.evaluation(c, model, None, splits)()["test"] for c in (run.config, whole))
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=2e-3), name


# One's own images


def own_images(root, classes=4, images=4):
    for i in range(classes):
        for j in range(images):
            path = root / f"class{i}" / f"{j}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            save(path, pixels(40, 50, seed=[i, j]), format="JPEG")
    return root


def own(root, folder, *extra):
    settings = ["data.image_size=32", "data.classes_per_batch=2", "data.images_per_class=2", "model.alpha=0.25"]
    settings += ["model.weights=random", "model.embedding_size=6", "schedule.train_steps=2", "ranking.cells=1"]
    settings += ["schedule.boundaries_steps=[]", "evaluation.every_steps=2", f"data.root={root}"]
    return ["--config", FOLDER, *(w for s in settings for w in ("--set", s)), "--run-dir", str(folder), *extra]


def test_own_images(tmp_path):
    root = own_images(tmp_path / "photos")
    assert run_main(own(root, tmp_path / "run"), default=QUICKSTART) == 0
    assert set(Run(tmp_path / "run").facts) == {"train_classes", "test_classes", "data_checksum"}


def test_a_corrupt_image_is_one_message(tmp_path, capsys):
    root = own_images(tmp_path / "photos")
    for path in root.rglob("*.jpg"):
        path.write_bytes(path.read_bytes()[:300])
    text = refusal(capsys, own(root, tmp_path / "run"), default=QUICKSTART)
    assert "cannot be read as an image" in text
    assert "What was saved stays" in text


def test_weights_that_are_not_there(tmp_path, capsys):
    root = own_images(tmp_path / "photos")
    text = refusal(capsys, own(root, tmp_path / "run", "--set", "model.weights=none.h5"), default=QUICKSTART)
    assert "`model.weights`: there is no file" in text


def test_a_resumed_run_needs_no_pretrained_weights(tmp_path, monkeypatch):
    """Its checkpoint has them all, and the features of the images are made with those."""
    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", str(tmp_path / "data"))
    weights = tmp_path / "pretrained.weights.h5"
    network = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(224, 224, 3), alpha=0.25)
    network.save_weights(weights)
    root = own_images(tmp_path / "photos")
    words = ["--set", f"model.weights={weights}", "--set", "model.trained=head", "--set", "data.augmentation=none"]
    assert run_main(own(root, tmp_path / "reference", *words), default=QUICKSTART) == 0
    with monkeypatch.context() as patch:
        interrupt_at(1, patch)
        assert run_main(own(root, tmp_path / "run", *words), default=QUICKSTART) == 130
    weights.unlink()
    shutil.rmtree(tmp_path / "data")
    assert run_main(own(root, tmp_path / "run", *words, "--resume"), default=QUICKSTART) == 0
    assert_equal_runs(tmp_path / "run", tmp_path / "reference")


def test_weights_of_another_network(tmp_path, capsys):
    root = own_images(tmp_path / "photos")
    (tmp_path / "wrong.weights.h5").write_bytes(b"no weights")
    words = ["--set", f"model.weights={tmp_path / 'wrong.weights.h5'}"]
    text = refusal(capsys, own(root, tmp_path / "run", *words), default=QUICKSTART)
    assert "the network MobileNet cannot be made with `model.weights" in text


def test_a_network_in_a_file(tmp_path):
    from neural_similarity import models

    models.cnn9(None, widths=(2, 3, 4)).save(tmp_path / "network.keras")
    words = ["--set", "model.name=keras_file", "--set", f"model.path={tmp_path / 'network.keras'}"]
    settings = [s for s in FEW if not s.startswith("model.widths")]
    base = ["--config", str(tmp_path / "config.yaml"), *(w for s in settings for w in ("--set", s))]
    from neural_similarity.config import REPOSITORY

    text = (REPOSITORY / QUICKSTART).read_text()
    line = next(line for line in text.splitlines() if line.startswith("model:"))
    text = text.replace(line, "model: {name: keras_file, path: '', embedding_size: 6, trained: all}")
    (tmp_path / "config.yaml").write_text(text)
    assert run_main([*base, *words, "--run-dir", str(tmp_path / "run")], default=QUICKSTART) == 0
    assert load_run(tmp_path / "run").output.shape == (None, 4, 4, 6)
