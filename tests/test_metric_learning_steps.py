"""Single steps of metric learning: on two replicas, compiled as a whole, and with the penalty on the right weights."""

import re
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_checks import KERAS_WARNINGS
from small_tasks import one_replica, train_steps, two_replicas

from neural_similarity import config as configs
from neural_similarity.data.retrieval_splits import RetrievalPart, RetrievalSplits
from neural_similarity.families import metric_learning
from neural_similarity.models.seeding import seeded

pytestmark = KERAS_WARNINGS

SIZE = 32
NARROW = ["data.image_size=32", "data.augmentation=none", "data.classes_per_batch=4", "data.images_per_class=2"]
NARROW += ["data.with_replacement=false"]
STRUCTURAL = ["cells=2", "entropy=0.1", "sweeps=5"]
LOSSES = ["multisimilarity_structural", "margin_structural", "proxy_anchor_plugin"]
DIVERGENCES = ["euclidean", "mahalanobis", "max_affine", "input_convex"]
COSTS = ["structural_mahalanobis", "structural_max_affine", "structural_input_convex"]  # of transport


def noise(classes=6, images=4, seed=0):
    rng = np.random.default_rng(seed)
    count = classes * images
    labels = np.repeat(np.arange(classes, dtype=np.int32), images)
    pixels = rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
    names = tuple(map(str, range(count)))
    return RetrievalPart(pixels, labels, tuple(f"class {i}" for i in range(classes)), names)


def build(name, replicas, *overrides):
    """The config configs/cub200/NAME.yaml with two convolutions, and its `Task` on noise.

    Without batch normalisation, an image does not depend on the others that its replica has.
    """
    trained = name in (*DIVERGENCES, *COSTS)
    document = (configs.CONFIGS / "cub200" / f"{'multisimilarity_global' if trained else name}.yaml").read_text()
    if trained:
        folder = f"cifar100_{'structural' if name in COSTS else 'unseen'}"
        other = (configs.CONFIGS / "bregman" / folder / f"{name.removeprefix('structural_')}.yaml").read_text()
        for section in ("distance", "loss", "ranking"):
            document = re.sub(rf"^{section}:.*$", line_of(section, other), document, flags=re.MULTILINE)
        overrides = ["distance.rank=3"] * name.endswith("mahalanobis") + [*overrides]
    model = line_of("model", document)
    sections = ["ranking"] * ("plugin" in name or "structural" in name) + ["distance"] * ("structural" in name)
    settings = [*NARROW, *overrides, *(f"{section}.{text}" for section in sections for text in STRUCTURAL)]
    with tempfile.TemporaryDirectory() as folder:
        network, file = Path(folder) / "network.keras", Path(folder) / "config.yaml"
        _convolutions().save(network)
        file.write_text(
            document.replace(model, f"model: {{name: keras_file, path: {network}, embedding_size: 5, trained: all}}")
        )
        config = configs.load(file, settings, environment={})
        splits = RetrievalSplits(noise(), noise(4, seed=1))
        with replicas.scope():
            network = metric_learning.network(config, 6)
            return config, network, metric_learning.build_task(config, network, replicas, splits), splits


def line_of(section, document):
    return next(line for line in document.splitlines() if line.startswith(f"{section}:"))


def _convolutions():
    with seeded(0):
        image = keras.Input((SIZE, SIZE, 3))
        x = keras.layers.Rescaling(1 / 128, -1)(image)
        x = keras.layers.Conv2D(4, 5, 4, activation="relu", padding="same")(x)
        return keras.Model(image, keras.layers.Conv2D(6, 3, 2, activation="relu", padding="same")(x))


@pytest.mark.parametrize("name", [*LOSSES, "input_convex", "structural_input_convex"])
def test_two_replicas_train_as_one(name):
    measured, weights = [], []
    for replicas in (one_replica(), two_replicas()):
        _, network, task, _ = build(name, replicas)
        measured.append(train_steps(task, replicas, 3))
        weights.append([v.numpy() for v in network.trainable_variables])
    for one, two in zip(*measured, strict=True):
        assert one == pytest.approx(two, rel=1e-4, abs=1e-5)
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, atol=3e-5)


@pytest.mark.parametrize("name", [*LOSSES[:2], "input_convex", "structural_max_affine"])
def test_the_whole_step_compiles(name):
    replicas = [one_replica(), one_replica(jit_compile=True)]
    plain, compiled = (train_steps(build(name, one)[2], one, 2) for one in replicas)
    for one, other in zip(plain, compiled, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", [*LOSSES, *DIVERGENCES, *COSTS])
def test_every_weight_has_a_gradient(name):
    _, network, task, _ = build(name, one_replica())
    before = [v.numpy() for v in network.trainable_variables]
    train_steps(task, one_replica(), 1)
    for v, start in zip(network.trainable_variables, before, strict=True):
        assert np.abs(v.numpy() - start).max() > 0, v.path


def test_the_penalty_is_of_the_networks_weights_alone():
    """Weight decay 4e-4 adds 4e-4 · w to the gradient of each weight, and nothing to β's."""
    _, network, task, _ = build("margin_structural", one_replica())
    own = network.training_loss.parameters.trainable_variables
    others = [v for v in network.trainable_variables if v.path not in {w.path for w in own}]
    expected = 4e-4 * sum(float(tf.nn.l2_loss(v)) for v in others)
    (measured,) = train_steps(task, one_replica(), 1)
    assert measured["penalty"] == pytest.approx(expected, rel=1e-5)
    assert measured["loss"] == pytest.approx(measured["penalty"] + measured["similarity_loss"], rel=1e-6)
    assert len(own) == 1


def test_an_evaluation_by_matching_at_the_cost_of_the_trained_divergence(monkeypatch):
    from neural_similarity.distances import nearest, rerank
    from neural_similarity.families.metric_learning_parts import ranking_distance
    from neural_similarity.metrics import retrieval_scores

    monkeypatch.setattr(metric_learning, "_EVALUATED_AT_ONCE", 7)
    config, network, task, splits = build("structural_input_convex", one_replica(), "ranking.candidates=4")
    train_steps(task, one_replica(), 2)
    found = task.evaluate()["test"]
    distance = ranking_distance(config, network.training_loss)
    assert distance.bregman.divergence is network.training_loss.distance.bregman.divergence
    prepared = distance.prepare(network(splits.test.images.astype(np.float32), training=False))
    for prefix, ranking in (
        ("", rerank(distance, prepared, candidates=4, depth=15)),
        ("divergence_", nearest(distance, prepared, depth=15)),
    ):
        for name, value in retrieval_scores(ranking.indices, splits.test.labels).items():
            if prefix + name in found:
                assert found[prefix + name] == pytest.approx(value), prefix + name
    assert {"recall_at_1", "divergence_recall_at_1", "marginal_residual"} <= found.keys()


@pytest.mark.parametrize("r_excludes_query", [True, False])
def test_an_evaluation_is_that_of_all_images_at_once(r_excludes_query, monkeypatch):
    """In blocks that do not divide the number of images, and beside a ranking of everything."""
    from neural_similarity.distances import rerank
    from neural_similarity.families.metric_learning_parts import ranking_distance
    from neural_similarity.metrics import retrieval_scores

    monkeypatch.setattr(metric_learning, "_EVALUATED_AT_ONCE", 7)
    settings = "ranking.candidates=3", f"evaluation.r_excludes_query={str(r_excludes_query).lower()}"
    config, network, task, splits = build("multisimilarity_plugin", one_replica(), *settings)
    found = task.evaluate()["test"]
    distance = ranking_distance(config, network.training_loss)
    prepared = distance.prepare(network(splits.test.images.astype(np.float32), training=False))
    ranking = rerank(distance, prepared, candidates=3, depth=15)
    expected = retrieval_scores(ranking.indices, splits.test.labels, r_excludes_query=r_excludes_query)
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_an_evaluation_by_the_trained_divergence():
    from neural_similarity.distances import nearest
    from neural_similarity.metrics import retrieval_scores

    config, network, task, splits = build("input_convex", one_replica())
    assert config.protocol() == "ranked by the trained divergence"
    assert config.owner() == "metric_learning/bregman"
    train_steps(task, one_replica(), 2)
    distance = network.training_loss.distance
    prepared = distance.prepare(network(splits.test.images.astype(np.float32), training=False))
    expected = retrieval_scores(nearest(distance, prepared, depth=15).indices, splits.test.labels)
    assert {name: task.evaluate()["test"][name] for name in expected} == pytest.approx(expected)


def test_embeddings_that_are_not_finite_are_refused():
    from neural_similarity.errors import UserError

    _, network, task, _ = build("multisimilarity_plugin", one_replica())
    projection = network.get_layer("projection")
    projection.bias.assign(projection.bias + np.nan)
    with pytest.raises(UserError, match="16 of 16 images have embeddings that are not finite"):
        task.evaluate()
