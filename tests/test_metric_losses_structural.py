"""Losses of structural distances: those of DIML beside loops, and gradients that pass the plan or do not."""

import numpy as np
import pytest
import tensorflow as tf
from slow_forms import normal
from slow_losses import (
    KEY,
    LABELS,
    assert_slopes,
    cell_distance,
    cell_similarity,
    slow_contrastive,
    slow_margin,
    slow_multi_similarity,
    slow_plan,
    slow_triplet,
)

from neural_similarity import losses
from neural_similarity.distances import Structural

SWEEPS = 100
BETAS = [0.6, 0.7, 0.8, 0.9]


def structural(**settings):
    """The distance of DIML's training. Maps of 2×2 pixels are their own cells."""
    return Structural(cells=2, whole="cells", **{"sweeps": SWEEPS, **settings})


def maps():
    """`(8, 2, 2, 5)`; the images of a class are a little alike, and cells have something in common."""
    return 0.5 + 0.5 * normal(2, 4, 2, 2, 5)[LABELS] + 0.5 * normal(3, 8, 2, 2, 5)


def plans(x, **settings):
    """The plan of each two images."""
    return [[slow_plan(a, b, SWEEPS, **settings) for b in x] for a in x]


def distance_by(x, plans):
    return lambda i, j: cell_distance(x[i], x[j], plans[i][j])


def similarity_by(x, plans):
    return lambda i, j: cell_similarity(x[i], x[j], plans[i][j])


def value_of(loss, x):
    return loss.measure(tf.convert_to_tensor(x), tf.constant(LABELS), tf.constant(KEY))[0]


def gradient_of(loss, x):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = value_of(loss, x)
    return tape.gradient(value, x).numpy()


def triplets_of(loss, x):
    """The miner sees the mean of the cells."""
    whole = x.mean((1, 2))
    whole /= np.linalg.norm(whole, axis=-1, keepdims=True)
    found = loss.miner(tf.constant(whole), tf.constant(LABELS), tf.constant(KEY))
    return [(a, p, n) for a, p, n, valid in zip(*(part.numpy() for part in found), strict=True) if valid]


def margin_loss(**settings):
    every_beta = settings.pop("every_beta", False)
    loss = losses.MarginLoss(4, distance=structural(**settings), every_beta=every_beta, dtype="float64")
    loss.beta.assign(BETAS)
    return loss


@pytest.mark.parametrize("as_released", [False, True], ids=["right", "as_released"])
def test_margin_loss_of_diml(as_released):
    """The released code gives the marginals to the wrong image, and compares every distance with every β."""
    x, loss = maps(), margin_loss(swap_marginals=as_released, every_beta=as_released)
    distance = distance_by(x, plans(x, swap_marginals=as_released))
    expected = slow_margin(LABELS, triplets_of(loss, x), distance, BETAS, every_beta=as_released)
    assert float(value_of(loss, x)) == pytest.approx(expected, rel=1e-8)
    assert expected > 0.1


def test_both_defects_of_the_released_margin_loss_change_it():
    values = [
        float(value_of(margin_loss(swap_marginals=swap, every_beta=every), maps()))
        for swap in (False, True)
        for every in (False, True)
    ]
    assert min(np.diff(sorted(values))) > 1e-4


@pytest.mark.parametrize("swap_marginals", [False, True])
def test_multi_similarity_loss_of_diml(swap_marginals):
    x = maps()
    expected = slow_multi_similarity(LABELS, similarity_by(x, plans(x, swap_marginals=swap_marginals)))
    found = value_of(losses.MultiSimilarityLoss(distance=structural(swap_marginals=swap_marginals)), x)
    assert float(found) == pytest.approx(expected, rel=1e-6)
    assert expected > 0.1


def test_other_losses_of_triplets():
    x = maps()
    distance = distance_by(x, plans(x))
    for loss, slow in ((losses.ContrastiveLoss, slow_contrastive), (losses.TripletLoss, slow_triplet)):
        loss = loss(distance=structural())
        assert float(value_of(loss, x)) == pytest.approx(slow(LABELS, triplets_of(loss, x), distance), rel=1e-8)


# The gradients


@pytest.mark.parametrize("kind", ["margin", "multi_similarity"])
def test_a_detached_plan_counts_as_a_constant(kind):
    """The gradient is that of the loop with the plans that belong to x, also where the loop gets other maps."""
    x = maps()
    fixed = plans(x)
    if kind == "margin":
        loss = margin_loss()
        triplets = triplets_of(loss, x)

        def slow(x):
            return slow_margin(LABELS, triplets, distance_by(x, fixed), BETAS)
    else:
        loss = losses.MultiSimilarityLoss(distance=structural())

        def slow(x):
            return slow_multi_similarity(LABELS, similarity_by(x, fixed))

    gradient = gradient_of(loss, x)
    assert_slopes(gradient, slow, x)
    assert (np.abs(gradient).sum((1, 2, 3)) > 0).sum() >= 7  # it reaches the images: the last one only as a negative


@pytest.mark.parametrize(("gradient", "sweeps"), [("unrolled", 10), ("implicit", 200)])
def test_gradients_through_the_plan(gradient, sweeps):
    x, loss = maps(), margin_loss(gradient=gradient, sweeps=sweeps)
    assert_slopes(gradient_of(loss, x), lambda x: float(value_of(loss, x)), x)
    assert np.abs(gradient_of(loss, x) - gradient_of(margin_loss(), x)).max() > 1e-3


@pytest.mark.parametrize("edge", ["equal", "zeros", "opposite"])
def test_gradients_are_finite_at_the_edges(edge):
    x = {"equal": np.ones(8), "zeros": np.zeros(8), "opposite": np.array([1, -1] * 4)}[edge]
    x = np.broadcast_to(x[:, None, None, None], (8, 2, 2, 5)).astype("float32")
    few = structural(sweeps=10)
    for loss in (margin_loss(sweeps=10), losses.TripletLoss(distance=few), losses.MultiSimilarityLoss(distance=few)):
        assert np.isfinite(value_of(loss, x))
        assert np.isfinite(gradient_of(loss, x)).all()


def test_batches_of_one_class_have_no_loss():
    for loss in (margin_loss(), losses.MultiSimilarityLoss(distance=structural())):
        x = tf.constant(maps())
        with tf.GradientTape() as tape:
            tape.watch(x)
            value, _ = loss.measure(x, tf.zeros(8, tf.int32), tf.constant(KEY))
        assert float(value) == 0
        np.testing.assert_array_equal(tape.gradient(value, x), np.zeros(x.shape))


def test_compiled_losses_are_the_plain_ones():
    loss, x = margin_loss(sweeps=10), tf.constant(maps(), tf.float32)
    compiled = tf.function(lambda x: value_of(loss, x), jit_compile=True)
    np.testing.assert_allclose(compiled(x), value_of(loss, x), rtol=1e-4)
