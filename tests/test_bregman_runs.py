"""Runs of learned divergences: training, stopping, going on, evaluating; their data, and how they are measured."""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf
from commands import run_tool
from digits_runs import interrupt_at, run_main
from layer_checks import KERAS_WARNINGS
from PIL import Image
from run_checks import assert_equal_runs
from slow_forms import normal
from small_tasks import one_replica, train_steps, two_replicas

from configs import settings
from neural_similarity import load_run
from neural_similarity.data import idx, loading, registry
from neural_similarity.data.images import ImageSet, Splits
from neural_similarity.data.known_divergences import DIVERGENCES, digit_pairs, known_divergence
from neural_similarity.data.vector_sets import TABLES, gaussian_rings, load_table, single_points
from neural_similarity.distances import Bregman
from neural_similarity.families import bregman
from neural_similarity.families.bregman_evaluation import class_scores, majority, regression_scores
from neural_similarity.interpret import divergence_pictures
from neural_similarity.potentials import GeneralizedKL, ItakuraSaito, SquaredEuclidean
from neural_similarity.training.runs import Run

pytestmark = KERAS_WARNINGS
QUICKSTART = "configs/quickstart/bregman.yaml"
KNOWN = "configs/bregman/known/generalized_kl_input_convex.yaml"
DIGITS = "configs/bregman/digit_pairs/generalized_kl_input_convex.yaml"
RINGS = "configs/bregman/gaussian_rings"
IMAGES = "configs/bregman/fashion_mnist/input_convex.yaml"
SHORT = ["schedule.train_steps=12", "schedule.boundaries_steps=[8]", "evaluation.every_steps=6"]
FEW = {
    QUICKSTART: ["data.name=iris", "data.global_batch_size=20", "model.widths=[8]", "divergence.width=6"],
    DIGITS: ["divergence.width=6", "model.widths=[8]"],
    KNOWN: ["data.dimensions=3", "data.train_vectors=50", "data.test_vectors=40", "divergence.width=6"],
    f"{RINGS}/functional.yaml": ["divergence.pieces=5", "divergence.width=4"],
    f"{RINGS}/euclidean_means.yaml": [],
    f"{RINGS}/euclidean_points.yaml": [],
    f"{RINGS}/moment_matching.yaml": [],
    IMAGES: ["model.filters=4", "data.global_batch_size=10"],
}
for name, words in FEW.items():
    if name.startswith(RINGS):
        words += ["data.train_sets=30", "data.test_sets=21", "data.points=5", "model.widths=[8]"]


@pytest.fixture(autouse=True)
def a_few_images(monkeypatch):
    """Fashion-MNIST has 60 images of noise, as bright as their class says."""
    entry = dataclasses.replace(registry.DATA_SETS["fashion_mnist"], counts={"train": 40, "test": 20})
    labels = np.arange(60, dtype=np.int32) % 10
    noise = np.random.default_rng(0).integers(40, size=(60, 28, 28, 3))
    images = ImageSet((noise + 20 * labels[:, None, None, None]).astype(np.uint8), labels)
    splits = Splits(images.take(np.arange(40)), None, images.take(np.arange(40, 60)), entry.classes)
    monkeypatch.setitem(registry.DATA_SETS, "fashion_mnist", entry)
    monkeypatch.setattr(idx, "load_idx", lambda name, root: splits)
    monkeypatch.setattr(loading, "check_files_exist", lambda name, root: None)


def arguments(config, folder, *extra):
    words = [word for setting in (*FEW[config], *SHORT) for word in ("--set", setting)]
    return ["--config", config, *words, "--run-dir", str(folder), *extra]


def train(config, folder, *extra):
    return run_main(arguments(config, folder, *extra), default=QUICKSTART)


@pytest.mark.parametrize("config", FEW)
def test_a_run_has_its_scores(config, tmp_path, capsys):
    assert train(config, tmp_path / "run") == 0
    result = Run(tmp_path / "run").result
    assert result.headline == bregman.headline(Run(tmp_path / "run").config)
    of_classes = {"knn_accuracy", "recall_at_1", "map_at_r", "rand_index", "adjusted_rand_index", "nmi", "asymmetry"}
    expected = {"r2", "relative_error"} if config in (KNOWN, DIGITS) else of_classes
    assert {name.removeprefix("test/") for name in result.scores} == expected
    assert result.family == "bregman"
    model = load_run(tmp_path / "run")
    assert result.parameters == sum(int(tf.size(w)) for w in model.trainable_variables)
    capsys.readouterr()
    assert train(config, tmp_path / "run", "--eval-only") == 0
    said = capsys.readouterr().out
    for name, score in result.scores.items():
        assert f"{name.replace('/', ' ').replace('_', ' ')}: {score}" in said
    assert run_tool("record", str(tmp_path / "run"), "--results", str(tmp_path / "results")) == 0


@pytest.mark.parametrize(
    "config", [QUICKSTART, KNOWN, f"{RINGS}/functional.yaml", pytest.param(IMAGES, marks=pytest.mark.slow)]
)
def test_a_stopped_run_goes_on_to_the_same_end(config, tmp_path, monkeypatch):
    assert train(config, tmp_path / "reference") == 0
    with monkeypatch.context() as patch:
        interrupt_at(8, patch)
        assert train(config, tmp_path / "run") == 130
    assert train(config, tmp_path / "run", "--resume") == 0
    assert_equal_runs(tmp_path / "run", tmp_path / "reference")


def test_pictures_of_classes(tmp_path, capsys):
    for config in (QUICKSTART, f"{RINGS}/euclidean_points.yaml", f"{RINGS}/euclidean_means.yaml"):
        folder = tmp_path / config.replace("/", "_")
        assert train(config, folder) == 0
        capsys.readouterr()
        assert run_tool("divergence", str(folder), "--out", str(tmp_path / "x.png")) == 0
        said = capsys.readouterr().out
        assert said.endswith("x.png\n")
        assert "the mean divergence of each two classes" in said
        assert np.asarray(Image.open(tmp_path / "x.png").convert("RGB")).std() > 10


def test_mean_divergences_of_classes_are_the_loops(tmp_path):
    run = tmp_path / "run"
    assert train(QUICKSTART, run) == 0
    config, model = Run(run).config, load_run(run)
    data, distance = bregman.load_data(config), Bregman(model.divergence)
    means = divergence_pictures.class_divergences(distance, model, data.test, config)
    embeddings, labels = model(data.test.x).numpy(), data.test.labels
    pairs = model.divergence.pairwise(embeddings, embeddings).numpy()
    for i, j in np.ndindex(3, 3):
        assert means[i, j] == pytest.approx(pairs[np.ix_(labels == i, labels == j)].mean(), rel=1e-4)


def test_pictures_of_level_sets(tmp_path, capsys):
    assert train(KNOWN, tmp_path / "three") == 0
    assert run_tool("divergence", str(tmp_path / "three")) == 2
    assert "its vectors have 3 numbers; expected two" in capsys.readouterr().err
    assert train(KNOWN, tmp_path / "two", "--set", "data.dimensions=2") == 0
    assert run_tool("divergence", str(tmp_path / "two")) == 0
    assert (tmp_path / "two" / "divergence.png").stat().st_size > 10_000
    capsys.readouterr()


def test_other_tools_say_what_such_a_run_is_for(tmp_path, capsys):
    run = str(tmp_path / "run")
    assert train(QUICKSTART, run) == 0
    capsys.readouterr()
    for words in (
        ("predict", run, "x.png"),
        ("merge", run, "--out", str(tmp_path / "x.keras")),
        ("matrices", run),
        ("attention", run, "--images", "0"),
    ):
        assert run_tool(*words) == 2, words
        said = capsys.readouterr().err
        assert "a run of learned divergences (quickstart/bregman), which compares vectors; expected " in said
        assert "Next: python -m neural_similarity divergence " in said
    for words in (("pair", run, "a.png", "b.png"), ("retrieve", run, "a.png", "--gallery", ".")):
        assert run_tool(*words) == 2
        assert "a run of bregman (quickstart/bregman); expected a run of metric learning" in capsys.readouterr().err
    assert run_tool("report", run) == 0


def test_a_dry_run_tells_what_is_trained(tmp_path, capsys):
    assert train(QUICKSTART, tmp_path / "run", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "measured: 5 nearest neighbours of each sample" in said
    assert re.search(r"parameters: \d+\n", said)
    assert "data: training 120 × 4, test 30 × 4" in said
    assert not (tmp_path / "run").exists()


def test_a_dry_run_of_images(tmp_path, capsys, monkeypatch):
    """It reads none, and goes on where they are missing."""
    monkeypatch.setattr(idx, "load_idx", lambda name, root: pytest.fail("the images are read"))
    assert train(IMAGES, tmp_path / "run", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "measured: 5 nearest neighbours of each image" in said
    assert "data: 40 train, 20 test" in said
    monkeypatch.undo()
    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", str(tmp_path))
    assert train(IMAGES, tmp_path / "run", "--dry-run") == 0
    assert "data: missing. fashion_mnist: 4 of 4 files are not in " in capsys.readouterr().out
    assert train(IMAGES, tmp_path / "run") == 2
    assert "Next: ./dataset_setup.sh fashion_mnist" in capsys.readouterr().err


def test_other_data_are_refused(tmp_path, capsys):
    """Of a resumed run; the seed decides which samples are for testing."""
    assert train(QUICKSTART, tmp_path / "run") == 0
    assert train(QUICKSTART, tmp_path / "run", "--resume", "--set", "data.test_fraction=0.3") == 2
    assert "data.test_fraction" in capsys.readouterr().err


@pytest.mark.parametrize("config", [QUICKSTART, KNOWN, f"{RINGS}/functional.yaml", IMAGES])
def test_steps_on_two_replicas_and_compiled(config):
    loaded = settings(config, *FEW[config], *SHORT)
    data, measured = bregman.load_data(loaded), []
    ways = [one_replica(), one_replica(jit_compile=True)]
    if config != IMAGES:  # batch normalisation takes the statistics of each replica's images
        ways.append(two_replicas())
    for replicas in ways:
        with replicas.scope():
            model = bregman.build_model(loaded, data.facts())
            task = bregman.build_task(loaded, model, replicas, data)
        measured.append(train_steps(task, replicas, 3))
    for other in measured[1:]:
        for one, two in zip(measured[0], other, strict=True):
            assert one == pytest.approx(two, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("config", FEW)
def test_every_weight_has_a_gradient(config):
    loaded = settings(config, *FEW[config], *SHORT)
    data, replicas = bregman.load_data(loaded), one_replica()
    model = bregman.build_model(loaded, data.facts())
    before = [v.numpy() for v in model.trainable_variables]
    train_steps(bregman.build_task(loaded, model, replicas, data), replicas, 1)
    for v, start in zip(model.trainable_variables, before, strict=True):
        assert np.abs(v.numpy() - start).max() > 0, v.path


def test_images_in_sixteen_bits():
    """The features, the divergence and the loss stay in 32."""
    loaded = settings(IMAGES, *FEW[IMAGES], *SHORT, "runtime.precision=mixed_bfloat16")
    data, replicas = bregman.load_data(loaded), one_replica()
    model = bregman.build_model(loaded, data.facts())
    assert model.output.dtype == model.divergence.compute_dtype == "float32"
    (measured,) = train_steps(bregman.build_task(loaded, model, replicas, data), replicas, 1)
    assert np.isfinite(measured["loss"])


# Data


@pytest.mark.parametrize("name", TABLES)
def test_tables(name):
    splits = load_table(name, 0.4, seed=0)
    classes, features = TABLES[name]
    assert splits.train.x.shape[1] == features
    assert len(splits.train_classes) == classes
    assert set(splits.train.labels) == set(splits.test.labels) == set(range(classes))
    np.testing.assert_allclose(splits.train.x.mean(0), 0, atol=1e-5)
    assert np.all(np.abs(splits.train.x.std(0) - 1) < 1e-4) or name == "digits_table"  # some pixels are always empty
    share = len(splits.test) / (len(splits.train) + len(splits.test))
    assert share == pytest.approx(0.4, abs=0.01)
    assert load_table(name, 0.4, seed=0).facts() == splits.facts()
    assert load_table(name, 0.4, seed=1).facts() != splits.facts()


def test_rings_are_what_the_rule_says():
    splits = gaussian_rings({"train": 600, "test": 30}, 200, seed=0)
    assert splits.train.x.shape == (600, 200, 2)
    radii = np.linalg.norm(splits.train.x.mean(1), axis=-1)
    for label, radius in enumerate((0.2, 0.6, 1.0)):
        assert radii[splits.train.labels == label].mean() == pytest.approx(radius, abs=0.02)
    assert splits.train.x.var(1).mean() == pytest.approx(0.1, rel=0.02)
    assert np.bincount(splits.test.labels).tolist() == [10, 10, 10]
    points = single_points(splits.test)
    assert points.x.shape == (30 * 200, 2)
    np.testing.assert_array_equal(points.x[200], splits.test.x[1, 0])
    assert points.labels[200] == splits.test.labels[1]


@pytest.mark.parametrize("name", DIVERGENCES)
def test_known_divergences(name):
    """Beside the potentials of the same name, or a potential written out here."""
    known = known_divergence(name, "gamma", 4, 30, 20, seed=0)
    x, y = known.test, known.test[::-1]
    expected = {
        "generalized_kl": lambda: GeneralizedKL(dtype="float64").paired(x, y),
        "itakura_saito": lambda: ItakuraSaito(dtype="float64").paired(x, y),
        "mahalanobis": lambda: np.array([(a - b) @ known.matrix @ (a - b) / 2 for a, b in zip(x, y, strict=True)]),
        "quartic": lambda: (x**4 / 12 - y**4 / 12 - y**3 / 3 * (x - y)).sum(-1),
    }[name]()
    np.testing.assert_allclose(known.between(x, y), expected, atol=1e-4)
    assert known.between(x, y).min() > -1e-6
    np.testing.assert_array_equal(known.train_values, known.train)
    assert known.facts() == known_divergence(name, "gamma", 4, 30, 20, seed=0).facts()


def test_digits_stand_for_numbers():
    known = digit_pairs("generalized_kl", 0.2, seed=0)
    assert (known.train.shape, known.test.shape) == ((1437, 64), (360, 64))
    assert (known.train.min(), known.train.max()) == (0, 1)
    assert set(known.train_values.ravel()) == set(known.test_values.ravel()) == set(range(1, 11))
    five, ten = np.array([[5.0]]), np.array([[10.0]])
    assert float(known.between(five, ten)[0]) == pytest.approx(5 * np.log(0.5) - 5 + 10)


@pytest.mark.parametrize(("points", "is_right"), [("gamma", lambda x: x > 0), ("simplex", lambda x: x > 0)])
def test_positive_vectors(points, is_right):
    x = known_divergence("generalized_kl", points, 5, 2000, 10, seed=0).train
    assert is_right(x).all()
    if points == "gamma":
        assert x.mean() == pytest.approx(1, abs=0.03)
        assert np.corrcoef(x.T)[0, 1] > 0.1
    else:
        np.testing.assert_allclose(x.sum(1), 1, atol=1e-5)


# How it is measured


def test_the_majority_of_neighbours():
    votes = np.array([[1, 2, 2], [3, 2, 1], [0, 1, 1], [2, 0, 2]])
    np.testing.assert_array_equal(majority(votes), [2, 3, 1, 2])
    np.testing.assert_array_equal(majority(np.array([[1, 2, 2, 1]])), [1])


def test_scores_of_separate_classes_are_perfect_and_of_noise_are_not():
    labels = np.repeat(np.arange(3), 20).astype(np.int32)
    distance = Bregman(SquaredEuclidean())
    centres = 10 * np.eye(3, 4)
    apart, other = (centres[labels] + normal(seed, 60, 4) for seed in (0, 1))
    found = class_scores(distance, apart, labels, other, labels, neighbours=5)
    assert found.pop("asymmetry") == pytest.approx(0, abs=1e-6)
    assert set(found.values()) == {1.0}
    noise = class_scores(distance, normal(2, 60, 4), labels, normal(3, 60, 4), labels, neighbours=5)
    assert max(noise["knn_accuracy"], noise["adjusted_rand_index"], noise["map_at_r"]) < 0.6


def test_asymmetry_is_that_of_the_definition():
    labels, x = np.arange(20) % 2, np.exp(0.5 * normal(4, 20, 3))
    distance = Bregman(GeneralizedKL(dtype="float64"))
    found = class_scores(distance, x, labels, x, labels, neighbours=1)["asymmetry"]
    pairs = distance.divergence.pairwise(x).numpy()
    assert found == pytest.approx(np.abs(pairs - pairs.T).mean() / (pairs + pairs.T).mean(), rel=1e-6)
    assert found > 0.01


def test_a_regression_is_perfect_for_the_divergence_itself():
    known = known_divergence("generalized_kl", "gamma", 4, 10, 200, seed=0)
    perfect = regression_scores(Bregman(GeneralizedKL()), known.test, known.test, known.between, seed=0)
    assert perfect["r2"] > 1 - 1e-8
    assert perfect["relative_error"] < 1e-4
    other = regression_scores(Bregman(SquaredEuclidean()), known.test, known.test, known.between, seed=0)
    assert 0 <= other["r2"] < 0.9
    assert other["mean_absolute_error"] > perfect["mean_absolute_error"]
