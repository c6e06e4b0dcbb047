"""Structural matching at the cost of a divergence: beside cosines, beside loops, in losses and rankings."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from descriptors import descriptors, maps
from layer_checks import KERAS_WARNINGS
from slow_forms import normal
from slow_losses import KEY, LABELS

from neural_similarity import losses, miners
from neural_similarity.distances import Structural, StructuralBregman, rerank
from neural_similarity.ops import match
from neural_similarity.potentials import (
    GeneralizedKL,
    InputConvex,
    LogSumExp,
    Mahalanobis,
    MaxAffine,
    MomentMatching,
    SquaredEuclidean,
)

pytestmark = KERAS_WARNINGS
CHANNELS = 5
MAKE = {
    "mahalanobis": lambda dtype: Mahalanobis(3, curvature=0.2, dtype=dtype),
    "max_affine": lambda dtype: MaxAffine(6, temperature=0.2, curvature=0.1, scale=3.0, seed=0, dtype=dtype),
    "input_convex": lambda dtype: InputConvex(2, 7, curvature=1.0, seed=0, dtype=dtype),
    "log_sum_exp": lambda dtype: LogSumExp(dtype=dtype),
}
each_divergence = pytest.mark.parametrize("name", MAKE)


def made(name, dtype="float64", **settings):
    potential = MAKE[name](dtype)
    potential.build((None, CHANNELS))
    for seed, weight in enumerate(potential.weights):
        weight.assign(weight + 0.3 * normal(200 + seed, *weight.shape))
    return StructuralBregman(potential, **{"cells": 2, "whole": "cells", **settings})


def images(count, seed=0):
    return maps(count, 3, 3, CHANNELS, seed=seed)


@pytest.mark.parametrize("settings", [{}, {"marginals": "uniform", "sweeps": 3}, {"entropy": 0.5}])
def test_the_squared_distance_is_the_cosine(settings):
    settings = {"cells": 2, "whole": "cells", **settings}
    one, other = Structural(**settings), StructuralBregman(SquaredEuclidean(dtype="float64"), **settings)
    x, y = images(4), images(4, seed=1)
    (a, b), (c, d) = ([each.prepare(p) for p in (x, y)] for each in (one, other))
    np.testing.assert_allclose(other.whole(c), one.whole(a), rtol=1e-12)
    np.testing.assert_allclose(other.coarse(c, d), one.coarse(a, b), atol=1e-12)
    np.testing.assert_allclose(other.distances(c, d), one.distances(a, b), rtol=1e-9)
    indices = np.array([[3, 1], [0, 2], [1, 1], [2, 0]])
    fine = [
        each.fine(p, tf.nest.map_structure(lambda t: tf.gather(t, indices), q))
        for each, p, q in ((one, a, b), (other, c, d))
    ]
    np.testing.assert_allclose(*fine, rtol=1e-9)
    for found, expected in zip(other.match(c, d), one.match(a, b), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-9)
    apart = ~np.eye(4, dtype=bool)
    pairs = np.array([[float(one.fine(a[i : i + 1], a[None, j : j + 1])[0, 0]) for j in range(4)] for i in range(4)])
    np.testing.assert_allclose(other.scores(c).numpy()[apart], pairs[apart], rtol=1e-9)


def slow_products(distance, a, b):
    """1 − ½ D of each vector of one image with each of the other, `(1 + r, 1 + s)`, pair by pair."""

    def divergence(x, y):
        forward, backward = (float(distance.divergence.paired(p[None], q[None])[0]) for p, q in ((x, y), (y, x)))
        return {
            "forward": forward,
            "backward": backward,
            "jeffreys": forward + backward,
            "minimum": min(forward, backward),
        }[distance.bregman.direction]

    return np.array([[1 - divergence(x, y) / 2 for y in b] for x in a])


@pytest.mark.parametrize("direction", ["forward", "backward", "jeffreys", "minimum"])
@each_divergence
def test_scores_and_distances_are_the_loops(name, direction):
    distance = made(name, direction=direction)
    x, y = descriptors(2, channels=CHANNELS), descriptors(2, channels=CHANNELS, seed=1)
    products = np.stack([slow_products(distance, a, b) for a, b in zip(x, y, strict=True)])
    expected = match(products, bounded=False)
    first, second = distance.described(x), distance.described(y)
    found = distance.match(first, second)
    for field in found._fields:
        np.testing.assert_allclose(getattr(found, field), getattr(expected, field), atol=1e-9, err_msg=field)
    transported = [
        sum(plan[r, s] * (max(2 - 2 * part[1 + r, 1 + s], 0) + 1e-6) ** 0.5 for r, s in np.ndindex(4, 4)) / 2
        + (max(2 - 2 * part[0, 0], 0) + 1e-6) ** 0.5 / 2
        for plan, part in zip(expected.plan.numpy(), products, strict=True)
    ]
    np.testing.assert_allclose(distance.distances(first, second), transported, rtol=1e-7)
    candidates = tf.nest.map_structure(lambda t: t[:, None], second)
    np.testing.assert_allclose(distance.fine(first, candidates)[:, 0], expected.score, atol=1e-9)
    np.testing.assert_allclose(np.diag(distance.coarse(first, second)), products[:, 0, 0], atol=1e-9)


@each_divergence
def test_scores_of_a_batch_are_those_of_ordered_pairs(name):
    distance = made(name)
    x = distance.prepare(images(4))
    found = distance.scores(x).numpy()
    for i, j in np.ndindex(4, 4):
        one, other = (tf.nest.map_structure(lambda t, k=k: t[k : k + 1], x) for k in (i, j))
        assert found[i, j] == pytest.approx(float(distance.match(one, other).score[0]), abs=1e-9)
    if name != "mahalanobis":
        assert np.abs(found - found.T).max() > 1e-4


@pytest.mark.parametrize("gradient", ["unrolled", "implicit"])
@each_divergence
def test_gradients_are_the_finite_differences(name, gradient):
    distance = made(name, gradient=gradient, sweeps=80, entropy=0.5)
    x, y = tf.constant(images(2)), tf.constant(images(2, seed=1))
    weights = distance.divergence.trainable_variables

    def loss(x):
        return tf.reduce_sum(distance.distances(distance.prepare(x), distance.prepare(y)))

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x)
    slope, *of_weights = tape.gradient(value, [x, *weights])
    for seed in range(2):
        direction = normal(30 + seed, *x.shape)
        up, down = (loss(x + sign * 1e-6 * direction) for sign in (1, -1))
        expected = float(up - down) / 2e-6
        assert float(tf.reduce_sum(slope * direction)) == pytest.approx(expected, rel=1e-4, abs=1e-7)
    for seed, (weight, slope) in enumerate(zip(weights, of_weights, strict=True)):
        start, direction, found = weight.numpy(), normal(40 + seed, *weight.shape), []
        for sign in (1, -1):
            weight.assign(start + sign * 1e-6 * direction)
            found.append(float(loss(x)))
        weight.assign(start)
        expected = (found[0] - found[1]) / 2e-6
        assert float(tf.reduce_sum(slope * direction)) == pytest.approx(expected, rel=1e-4, abs=1e-7), weight.path


def test_a_divergence_that_is_large_leaves_the_plan_whole():
    """Far below −1, in float32: the plan keeps its masses, and gradients stay finite."""
    plans = []
    for dtype in ("float64", "float32"):
        potential = Mahalanobis(dtype=dtype)
        potential.build((None, CHANNELS))
        potential.factor.assign(12 * potential.factor)
        distance = StructuralBregman(potential, cells=2, whole="cells", gradient="unrolled")
        x, y = (tf.constant(images(3, seed=s), dtype) for s in (0, 1))
        with tf.GradientTape() as tape:
            tape.watch(x)
            first, second = distance.prepare(x), distance.prepare(y)
            found = distance.match(first, second)
            loss = tf.reduce_sum(distance.distances(first, second))
        assert float(tf.reduce_min(found.similarities)) < -100
        tf.debugging.assert_all_finite(tape.gradient(loss, x), "far cells")
        plans.append(found.plan.numpy())
    np.testing.assert_allclose(*plans, atol=2e-4)


def test_sixteen_bits_are_compared_in_thirty_two():
    distance = made("input_convex", dtype="float32")
    prepared = distance.prepare(tf.cast(images(2), tf.bfloat16))
    assert {x.dtype for x in tf.nest.flatten(prepared)} == {tf.float32}
    assert distance.match(prepared, prepared).plan.dtype == tf.float32


@each_divergence
def test_a_ranking_finds_the_image_itself_first(name):
    distance = made(name)
    gallery = distance.prepare(images(12))
    found = rerank(distance, tf.nest.map_structure(lambda t: t[:5], gallery), gallery, candidates=6)
    np.testing.assert_array_equal(found.indices[:, 0], np.arange(5))


LOSSES = {
    "contrastive": lambda d: losses.ContrastiveLoss(distance=d, miner=miners.RandomNegatives(), seed=0),
    "margin": lambda d: losses.MarginLoss(4, distance=d, seed=0),
    "n_pair": lambda d: losses.NPairLoss(distance=d),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_trains_the_divergence_and_compiles(loss):
    distance = made("input_convex", dtype="float32")
    loss = LOSSES[loss](distance)
    x = tf.constant(images(8), tf.float32)
    weights = distance.divergence.trainable_variables
    assert {w.path for w in weights} <= {w.path for w in loss.parameters.trainable_variables}

    def step(x):
        with tf.GradientTape() as tape:
            value = loss.measure(x, tf.constant(LABELS), tf.constant(KEY))[0]
        return value, tape.gradient(value, weights)

    values = [tf.function(step, jit_compile=compiled)(x) for compiled in (False, True)]
    for one, other in zip(tf.nest.flatten(values[0]), tf.nest.flatten(values[1]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    assert any(np.abs(gradient).max() > 0 for gradient in values[0][1])


def test_a_model_keeps_its_loss(tmp_path):
    """Saved and loaded, with what the divergence had learned."""
    distance = made("input_convex", dtype="float32")
    loss = losses.MarginLoss(4, distance=distance, seed=0)
    inputs = keras.Input((3, 3, CHANNELS))
    model = keras.Model(inputs, keras.layers.Conv2D(CHANNELS, 1)(inputs))
    model.loss_parameters = loss.parameters
    model.compile("adam", loss=loss)
    x = images(8).astype(np.float32)
    model.fit(x, LABELS, verbose=0, batch_size=8)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.loss.distance, StructuralBregman)
    assert loaded.loss.distance.get_config()["cells"] == 2
    values = [each.loss.measure(each(x), tf.constant(LABELS), tf.constant(KEY))[0] for each in (model, loaded)]
    assert float(values[0]) == pytest.approx(float(values[1]), rel=1e-5)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"must compare vectors, as cells are\. Received: MomentMatching"):
        StructuralBregman(MomentMatching())
    with pytest.raises(ValueError, match=r"must take all numbers\. Received: GeneralizedKL"):
        StructuralBregman(GeneralizedKL())
    with pytest.raises(TypeError, match=r"must be a layer of neural_similarity\.potentials"):
        StructuralBregman("kl")
    with pytest.raises(ValueError, match="`direction` must be one of"):
        StructuralBregman(SquaredEuclidean(), direction="up")
    with pytest.raises(ValueError, match="InputConvex has no weights yet"):
        StructuralBregman(InputConvex()).prepare(images(2))
    with pytest.raises(TypeError, match="StructuralBregman has no similarities from −1 to 1"):
        losses.MultiSimilarityLoss(distance=StructuralBregman(SquaredEuclidean())).measure(
            images(8), tf.constant(LABELS), None
        )
