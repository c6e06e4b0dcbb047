"""Losses of embeddings beside loops, and their gradients, also where images are equal or a batch has no triplet."""

import numpy as np
import pytest
import tensorflow as tf
from slow_losses import (
    CLASSES,
    KEY,
    LABELS,
    assert_slopes,
    between,
    embeddings,
    slow_contrastive,
    slow_margin,
    slow_multi_similarity,
    slow_normalized_softmax,
    slow_proxy_anchor,
    slow_triplet,
    unit,
    vector_distance,
    vector_similarity,
)

from neural_similarity import losses
from neural_similarity.distances import Euclidean, Structural
from neural_similarity.losses.masked import log_one_plus_sum_exp, masked_mean
from neural_similarity.miners import RandomNegatives, SemiHard

CHANNELS = 4


def make_losses(dtype="float64", channels=CHANNELS):
    """One of each, and their variants."""
    sizes = {"num_classes": CLASSES, "embedding_size": channels, "seed": 1, "dtype": dtype}
    return {
        "contrastive": losses.ContrastiveLoss(dtype=dtype),
        "triplet": losses.TripletLoss(miner=SemiHard(), dtype=dtype),
        "plain_triplet": losses.TripletLoss(squared=False, margin=0.5, dtype=dtype),
        "margin": spread(losses.MarginLoss(CLASSES, dtype=dtype)),
        "regularised_margin": spread(losses.MarginLoss(CLASSES, nu=0.1, margin=0.1, dtype=dtype)),
        "margin_of_every_beta": spread(losses.MarginLoss(CLASSES, nu=0.1, every_beta=True, dtype=dtype)),
        "multi_similarity": losses.MultiSimilarityLoss(dtype=dtype),
        "proxy_anchor": losses.ProxyAnchorLoss(**sizes),
        "normalized_softmax": losses.NormalizedSoftmaxLoss(**sizes),
    }


def spread(loss):
    """The margin loss with another β for each class."""
    loss.beta.assign([0.9, 1.1, 1.3, 1.5])
    return loss


LOSSES = make_losses()
each_loss = pytest.mark.parametrize("name", LOSSES)


def measured(loss, x, labels=LABELS, key=KEY):
    """The loss and its scalars as numbers."""
    loss, scalars = loss.measure(tf.constant(x), tf.constant(labels), tf.constant(key))
    return float(loss), {name: float(scalar) for name, scalar in scalars.items()}


def gradient_of(loss, x, labels=LABELS):
    """The gradients with respect to the embeddings, and to the loss's own weights."""
    x = tf.constant(x)
    weights = loss.parameters.trainable_variables if loss.parameters else []
    with tf.GradientTape() as tape:
        tape.watch(x)
        value, _ = loss.measure(x, tf.constant(labels), tf.constant(KEY))
    return [gradient.numpy() for gradient in tape.gradient(value, [x, *(weight.value for weight in weights)])]


def triplets_of(loss, x):
    """The valid ones that the loss's miner chooses."""
    prepared = loss.distance.prepare(tf.constant(x))
    found = loss.miner(loss.distance.whole(prepared), tf.constant(LABELS), tf.constant(KEY))
    return [(a, p, n) for a, p, n, valid in zip(*(part.numpy() for part in found), strict=True) if valid]


# The values


def test_losses_of_triplets_equal_loops():
    x = embeddings(CHANNELS)
    slow = {
        "contrastive": (slow_contrastive, {}),
        "triplet": (slow_triplet, {}),
        "plain_triplet": (slow_triplet, {"squared": False, "margin": 0.5}),
        "margin": (slow_margin, {}),
        "regularised_margin": (slow_margin, {"nu": 0.1, "margin": 0.1}),
        "margin_of_every_beta": (slow_margin, {"nu": 0.1, "every_beta": True}),
    }
    for name, (function, arguments) in slow.items():
        loss = LOSSES[name]
        triplets = triplets_of(loss, x)
        assert len(triplets) == 7
        if function is slow_margin:
            arguments = {"betas": loss.beta.numpy(), **arguments}
        found, scalars = measured(loss, x)
        distance = between(x, vector_distance)
        assert found == pytest.approx(function(LABELS, triplets, distance, **arguments), rel=1e-12), name
        near, far = (np.mean([distance(t[0], t[place]) for t in triplets]) for place in (1, 2))
        assert scalars["mean_positive_distance"] == pytest.approx(near, rel=1e-12)
        assert scalars["mean_negative_distance"] == pytest.approx(far, rel=1e-12)
        assert 0 < scalars["active_share"] <= 1


def test_margins_of_the_contrastive_loss():
    x, loss = embeddings(CHANNELS), losses.ContrastiveLoss(positive_margin=0.5, negative_margin=1.2, dtype="float64")
    expected = slow_contrastive(LABELS, triplets_of(loss, x), between(x, vector_distance), 0.5, 1.2)
    assert measured(loss, x)[0] == pytest.approx(expected, rel=1e-12)


def test_distances_of_vectors_of_any_length():
    """Ten times as long, ten times as far; the miner sees directions alone."""
    x, loss = embeddings(CHANNELS), losses.TripletLoss(distance=Euclidean(), margin=0)
    assert measured(loss, 10 * x)[0] == pytest.approx(100 * measured(loss, x)[0], rel=1e-5)


def test_the_scalars_of_the_margin_loss():
    loss, x = LOSSES["margin"], embeddings(CHANNELS)
    _, scalars = measured(loss, x)
    active = [
        max(vector_distance(x[a], x[p]) - beta, beta - vector_distance(x[a], x[n])) + 0.2 > 0
        for a, p, n in triplets_of(loss, x)
        for beta in [float(loss.beta[LABELS[a]])]
    ]
    assert scalars["active_share"] == pytest.approx(np.mean(active))
    assert scalars["mean_beta"] == pytest.approx(np.mean([0.9, 0.9, 1.1, 1.1, 1.1, 1.3, 1.3]))


@pytest.mark.parametrize("settings", [{}, {"alpha": 3.0, "beta": 5.0, "base": 0.2, "epsilon": 0.3}, {"epsilon": 0.0}])
def test_multi_similarity_equals_a_loop(settings):
    x = embeddings(CHANNELS)
    found, scalars = measured(losses.MultiSimilarityLoss(**settings), x)
    assert found == pytest.approx(slow_multi_similarity(LABELS, between(x, vector_similarity), **settings), rel=1e-12)
    assert found > 0
    pairs = {(i, j): vector_similarity(x[i], x[j]) for i, j in np.ndindex(8, 8) if i != j}
    for name, same in (("mean_positive_similarity", True), ("mean_negative_similarity", False)):
        expected = np.mean([s for (i, j), s in pairs.items() if (LABELS[i] == LABELS[j]) == same])
        assert scalars[name] == pytest.approx(expected, rel=1e-10)


def test_multi_similarity_without_an_informative_pair():
    """Classes that are at right angles to each other have nothing to learn."""
    found, scalars = measured(losses.MultiSimilarityLoss(), np.eye(CLASSES)[LABELS])
    assert found == 0
    assert scalars["active_share"] == 0
    assert scalars["mean_positive_similarity"] == 1


def test_losses_of_proxies_equal_loops():
    x = embeddings(CHANNELS)
    slow = {"proxy_anchor": slow_proxy_anchor, "normalized_softmax": slow_normalized_softmax}
    for name, function in slow.items():
        loss = LOSSES[name]
        proxies = loss.proxies.numpy()
        for labels in (LABELS, np.array([0, 0, 1, 1, 1, 1, 0, 0])):  # all classes are there, or two
            found, scalars = measured(loss, x, labels)
            assert found == pytest.approx(function(x, labels, proxies), rel=1e-10), name
            own = np.mean([vector_similarity(image, proxies[label]) for image, label in zip(x, labels, strict=True)])
            assert scalars["mean_positive_similarity"] == pytest.approx(own, rel=1e-10)
        assert np.std(proxies) == pytest.approx((2 / CLASSES) ** 0.5 if name == "proxy_anchor" else 0.5, rel=0.4)


def test_maps_are_averaged():
    maps = embeddings(3 * 3 * CHANNELS).reshape(8, 3, 3, CHANNELS)
    for loss in LOSSES.values():
        assert measured(loss, maps)[0] == pytest.approx(measured(loss, maps.mean((1, 2)))[0], rel=1e-10)


def test_labels_may_be_a_column():
    for loss in LOSSES.values():
        assert measured(loss, embeddings(CHANNELS), LABELS[:, None]) == measured(loss, embeddings(CHANNELS))


@each_loss
def test_a_key_determines_the_loss(name):
    loss, x = LOSSES[name], embeddings(CHANNELS)
    assert measured(loss, x) == measured(loss, x)
    others = [measured(loss, x, key=np.array([0, number])) for number in range(5)]
    assert (len({value for value, _ in [measured(loss, x), *others]}) > 1) == hasattr(loss, "miner")


def test_compiled_losses_are_the_plain_ones():
    x = tf.constant(embeddings(CHANNELS), tf.float32)

    def some_of_them(x, key):
        return [LOSSES[name].measure(x, tf.constant(LABELS), key) for name in ("margin", "multi_similarity")]

    compiled, plain = (f(x, tf.constant(KEY)) for f in (tf.function(some_of_them, jit_compile=True), some_of_them))
    for one, other in zip(tf.nest.flatten(compiled), tf.nest.flatten(plain), strict=True):
        assert one.dtype == tf.float32
        np.testing.assert_allclose(one, other, rtol=1e-4)


def test_sixteen_bits_are_compared_in_thirty_two():
    x = tf.cast(embeddings(CHANNELS), tf.bfloat16)
    for name, loss in make_losses("bfloat16").items():
        assert loss.dtype == "float32"
        value, scalars = loss.measure(x, tf.constant(LABELS), tf.constant(KEY))
        assert {tensor.dtype for tensor in (value, *scalars.values())} == {tf.float32}, name
        assert float(value) == pytest.approx(measured(loss, tf.cast(x, tf.float32).numpy())[0], rel=1e-6), name


# The gradients


@each_loss
def test_gradients_agree_with_finite_differences(name):
    loss, x = LOSSES[name], embeddings(CHANNELS)
    of_embeddings, *of_weights = gradient_of(loss, x)
    assert_slopes(of_embeddings, lambda x: measured(loss, x)[0], x)
    assert np.abs(of_embeddings).max() > 1e-3
    if loss.parameters:
        (weight,), (of_weight,) = loss.parameters.trainable_variables, of_weights
        start = weight.numpy()

        def value(at):
            weight.assign(at)
            return measured(loss, x)[0]

        assert_slopes(of_weight, value, start)
        assert np.abs(of_weight).max() > 1e-3
        weight.assign(start)


EDGES = {
    "equal": np.ones((8, CHANNELS)),
    "zeros": np.zeros((8, CHANNELS)),
    "opposite": np.outer([1, 1, -1, -1, 1, -1, 1, -1], np.ones(CHANNELS)),  # distances of 2
    "long": 1e12 * embeddings(CHANNELS),
}


@each_loss
@pytest.mark.parametrize("edge", EDGES)
def test_gradients_are_finite_at_the_edges(name, edge):
    loss, x = LOSSES[name], EDGES[edge].astype("float32")
    found, scalars = measured(loss, x)
    assert np.isfinite([found, *scalars.values()]).all()
    for gradient in gradient_of(loss, x):
        tf.debugging.assert_all_finite(gradient, edge)


@pytest.mark.parametrize("labels", [[2] * 8, list(range(8))], ids=["one_class", "all_alone"])
def test_batches_without_a_triplet_have_no_loss(labels):
    some = [LOSSES[name] for name in ("contrastive", "triplet", "multi_similarity")]
    for loss in [*some, losses.MarginLoss(8, nu=0.1), losses.MarginLoss(8, nu=0.1, every_beta=True)]:
        found, scalars = measured(loss, embeddings(CHANNELS), np.array(labels))
        assert found == 0, loss.name
        assert np.isfinite(list(scalars.values())).all()
        for gradient in gradient_of(loss, embeddings(CHANNELS), np.array(labels)):
            np.testing.assert_array_equal(gradient, np.zeros(gradient.shape))


def test_proxies_of_one_class():
    for name in ("proxy_anchor", "normalized_softmax"):
        loss = LOSSES[name]
        found, scalars = measured(loss, embeddings(CHANNELS), np.full(8, 2))
        assert np.isfinite([found, *scalars.values()]).all()
        for gradient in gradient_of(loss, embeddings(CHANNELS), np.full(8, 2)):
            tf.debugging.assert_all_finite(gradient, name)


# Masked sums


def test_masked_sums_of_nothing_and_of_large_numbers():
    values = tf.constant([[1000.0, -1000.0], [3.0, 2.0]])
    mask = tf.constant([[True, True], [False, False]])
    with tf.GradientTape() as tape:
        tape.watch(values)
        found = log_one_plus_sum_exp(values, mask, 1)
    np.testing.assert_allclose(found, [1000, 0])
    np.testing.assert_allclose(tape.gradient(found, values), [[1, 0], [0, 0]])
    np.testing.assert_allclose(
        log_one_plus_sum_exp(values / 1000, mask, 0), np.log([1 + np.e, 1 + 1 / np.e]), rtol=1e-6
    )
    assert float(masked_mean(values, mask)) == 0
    assert float(masked_mean(values, ~mask)) == 2.5
    assert float(masked_mean(values, tf.zeros_like(mask))) == 0
    assert float(masked_mean(values > 2, tf.ones_like(mask))) == 0.5


# Arguments


SIZES = {"num_classes": 4, "embedding_size": 3}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: losses.TripletLoss(margin=-0.1),
            ValueError,
            "a number of at least 0. Received: -0.1",
        ),
        (lambda: losses.TripletLoss(margin=True), ValueError, "Received: True"),
        (lambda: losses.TripletLoss(squared=1), ValueError, "`squared` must be True or False. Received: 1"),
        (lambda: losses.TripletLoss(distance="cosine"), TypeError, r"such as Cosine\(\). Received: 'cosine'"),
        (lambda: losses.TripletLoss(miner="random"), TypeError, r"such as DistanceWeighted\(\). Received: 'random'"),
        (lambda: losses.TripletLoss(seed="one"), ValueError, "`seed` must be an integer"),
        (lambda: losses.ContrastiveLoss(negative_margin=None), ValueError, "`negative_margin` must be a number"),
        (lambda: losses.ContrastiveLoss(positive_margin=np.inf), ValueError, "Received: inf"),
        (lambda: losses.MarginLoss(0), ValueError, "`num_classes` must be an integer of at least 1. Received: 0"),
        (lambda: losses.MarginLoss(4, beta="1.2"), ValueError, "`beta` must be a number. Received: '1.2'"),
        (lambda: losses.MarginLoss(4, nu=-1), ValueError, "`nu` must be a number of at least 0. Received: -1"),
        (lambda: losses.MarginLoss(4, every_beta="yes"), ValueError, "`every_beta` must be True or False"),
        (
            lambda: losses.MultiSimilarityLoss(alpha=0),
            ValueError,
            "a number greater than 0. Received: 0",
        ),
        (lambda: losses.MultiSimilarityLoss(distance=Euclidean()), TypeError, "Received: Euclidean"),
        (lambda: losses.ProxyAnchorLoss(4, 0), ValueError, "`embedding_size` must be an integer of at least 1"),
        (lambda: losses.ProxyAnchorLoss(4.0, 3), ValueError, "`num_classes` must be an integer of at least 1"),
        (lambda: losses.ProxyAnchorLoss(**SIZES, alpha=-1), ValueError, "`alpha` must be a number greater than 0"),
        (lambda: losses.ProxyAnchorLoss(**SIZES, distance=Structural()), TypeError, "a proxy has no cells to match"),
        (lambda: losses.NormalizedSoftmaxLoss(**SIZES, distance=Euclidean()), TypeError, "Received: Euclidean"),
        (lambda: losses.NormalizedSoftmaxLoss(**SIZES, temperature=0), ValueError, "`temperature` must be a number"),
    ],
)
def test_what_a_loss_refuses(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"of one-hot labels take tf.argmax. Received the shape \(8, 4\)"):
        measured(LOSSES["margin"], embeddings(CHANNELS), np.eye(4)[LABELS])
    with pytest.raises(ValueError, match=r"must have `embedding_size` channels, 4\. Received: 5"):
        measured(LOSSES["proxy_anchor"], embeddings(5))


@pytest.mark.parametrize("label", [-1, 4])
@pytest.mark.parametrize("name", ["margin", "proxy_anchor", "normalized_softmax"])
def test_labels_beyond_the_classes(name, label):
    labels = np.where(np.arange(8) == 7, label, LABELS)
    with pytest.raises(tf.errors.InvalidArgumentError, match="labels must be from 0 to 3, as the loss has 4 classes"):
        measured(LOSSES[name], embeddings(CHANNELS), labels)


def test_a_function_as_a_miner():
    miner = RandomNegatives()
    loss = losses.TripletLoss(miner=lambda whole, labels, key: miner(whole, labels, key))
    assert measured(loss, unit(embeddings())) == measured(losses.TripletLoss(miner=miner), unit(embeddings()))


def test_squared_errors_in_units_of_the_known_divergences():
    found, known = tf.constant([1.0, 2.0, 4.0]), np.array([1.0, 1.0, 2.0])
    assert float(losses.relative_squared_error(found, known)) == pytest.approx((1 + 4) / 3 / 2)
    assert float(losses.relative_squared_error(found, known, unit=5.0)) == pytest.approx((1 + 4) / 3 / 5)
