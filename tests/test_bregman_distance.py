"""A divergence behind the seam of all distances: ranking, mining, and losses that train it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_checks import KERAS_WARNINGS
from potentials_of_tests import ALL, made, points
from slow_forms import normal
from slow_losses import KEY, LABELS, slow_contrastive, slow_triplet

from neural_similarity import losses, miners, ops
from neural_similarity.distances import Bregman, Cosine, Euclidean, Structural, nearest, rerank
from neural_similarity.errors import UserError
from neural_similarity.potentials import (
    FunctionalMaxAffine,
    GeneralizedKL,
    InputConvex,
    Mahalanobis,
    SquaredEuclidean,
)

pytestmark = KERAS_WARNINGS
DIRECTED = {
    "forward": lambda xy, yx: xy,
    "backward": lambda xy, yx: yx,
    "jeffreys": lambda xy, yx: xy + yx,
    "minimum": np.minimum,
}


def jensen(potential, x, y):
    """½ φ(x) + ½ φ(y) − φ(½ (x + y)) of each pair, by a loop."""
    phi = lambda point: float(potential.phi(point[None])[0])  # noqa: E731
    return np.array([[(phi(a) + phi(b)) / 2 - phi((a + b) / 2) for b in y] for a in x])


@pytest.mark.parametrize("direction", DIRECTED)
@pytest.mark.parametrize("name", ["kl", "input_convex", "max_affine_curved", "mahalanobis"])
def test_scores_are_negative_divergences(name, direction):
    distance = Bregman(made(name), direction=direction)
    x, y = points(name, 6, seed=1), points(name, 9, seed=2)
    forward, backward = distance.divergence.pairwise(x, y).numpy(), distance.divergence.pairwise(y, x).numpy().T
    expected = DIRECTED[direction](forward, backward)
    queries, gallery = distance.prepare(x), distance.prepare(y)
    np.testing.assert_allclose(distance.coarse(queries, gallery), -expected, atol=1e-10)
    order = np.argsort(expected, axis=1)[:, :4]
    candidates = tf.nest.map_structure(lambda t: tf.gather(t, order), gallery)
    np.testing.assert_allclose(distance.fine(queries, candidates), -np.sort(expected, axis=1)[:, :4], atol=1e-10)
    nine = tf.nest.map_structure(lambda t: tf.gather(t, np.arange(9) % 6), queries)
    np.testing.assert_allclose(distance.distances(nine, gallery), expected[np.arange(9) % 6, np.arange(9)], atol=1e-10)
    np.testing.assert_array_equal(rerank(distance, queries, gallery, candidates=4).indices, order)


@pytest.mark.parametrize("name", ALL)
def test_the_jensen_bregman_divergence_is_the_loop(name):
    potential = made(name)
    x, y = points(name, 4, seed=1), points(name, 5, seed=2)
    expected = jensen(potential, x, y)
    assert expected.min() > -1e-10
    np.testing.assert_allclose(ops.jensen_all_pairs(potential.phi, x, y), expected, atol=1e-10)
    np.testing.assert_allclose(ops.jensen_pairs(potential.phi, x, y[:4]), np.diag(expected), atol=1e-10)
    sets = (np.stack([points, points[::-1]]) for points in (x, y))
    np.testing.assert_allclose(ops.jensen_all_pairs(potential.phi, *sets)[1], expected[::-1, ::-1], atol=1e-10)


def test_the_jensen_bregman_divergence_of_squares_is_a_quarter_of_the_squared_distance():
    x, y = normal(1, 6, 4), normal(2, 6, 4)
    found = ops.jensen_pairs(SquaredEuclidean(dtype="float64").phi, x, y)
    np.testing.assert_allclose(found, ((x - y) ** 2).sum(-1) / 4, rtol=1e-10)


@pytest.mark.parametrize("direction", DIRECTED)
@pytest.mark.parametrize("name", ALL)
def test_all_pairs_of_several_sets_at_once(name, direction):
    """With further axes, which structural matching needs: (2, 3) and (2, 4) vectors make (2, 3, 4) pairs."""
    distance = Bregman(made(name), direction=direction)
    x, y = points(name, 6, seed=1), points(name, 8, seed=2)
    queries, gallery = (
        tf.nest.map_structure(lambda t: tf.reshape(t, (2, -1, *t.shape[1:])), distance.prepare(p)) for p in (x, y)
    )
    found = distance.coarse(queries, gallery)
    for i in range(2):
        alone = distance.coarse(distance.prepare(x[3 * i : 3 * i + 3]), distance.prepare(y[4 * i : 4 * i + 4]))
        np.testing.assert_allclose(found[i], alone, atol=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_jeffreys_is_symmetric_and_not_negative(name):
    """P14."""
    distance = Bregman(made(name), direction="jeffreys")
    x = distance.prepare(points(name, 20, seed=3))
    found = -distance.coarse(x, x).numpy()
    np.testing.assert_allclose(found, found.T, atol=1e-10)
    assert found.min() > -1e-10


def test_a_squared_distance_ranks_as_the_distance():
    x = normal(4, 30, 5)
    one, other = Bregman(SquaredEuclidean(dtype="float64")), Euclidean()
    found, expected = (nearest(each, each.prepare(x), depth=29).indices for each in (one, other))
    np.testing.assert_array_equal(found, expected)


def test_maps_and_sets():
    """Of a map the mean is taken, unless the divergence is one of sets of points."""
    maps = normal(5, 4, 2, 2, 3)
    distance = Bregman(SquaredEuclidean(dtype="float64"))
    expected = Euclidean().prepare(maps)
    np.testing.assert_allclose(distance.prepare(maps)[1], expected, atol=1e-12)
    sets = Bregman(FunctionalMaxAffine(seed=0, dtype="float64"))
    sets.divergence.build((None, 3))
    points = normal(6, 4, 7, 3)
    of_maps, expected = (sets.prepare(each)[1] for each in (maps, maps.reshape(4, 4, 3)))
    np.testing.assert_array_equal(of_maps, expected)
    whole, values = sets.prepare(points)
    np.testing.assert_allclose(values, sets.divergence.described(points), atol=1e-12)
    mean = points.mean(1)
    np.testing.assert_allclose(whole, mean / np.linalg.norm(mean, axis=-1, keepdims=True), atol=1e-12)


def test_numbers_outside_of_the_domain_are_refused_by_the_ranking():
    distance = Bregman(GeneralizedKL())
    with pytest.raises(UserError, match="1 of 3 images have embeddings that are not finite, the first at index 1"):
        nearest(distance, distance.prepare(np.array([[1.0, 2.0], [-1.0, 1.0], [3.0, 1.0]])), depth=1)


# Losses


def built(seed=0):
    potential = InputConvex(2, 8, seed=seed, dtype="float64")
    potential.build((None, 5))
    return potential


def embeddings():
    return normal(7, 4, 5)[LABELS] + 0.7 * normal(8, 8, 5)


def by(distance, x, power=1.0):
    """D of two places in a batch, as the loops of the losses take it, to a power."""
    forward = distance.divergence.pairwise(x).numpy()
    table = DIRECTED[distance.direction](forward, forward.T)
    return lambda i, j: max(table[i, j], 0) ** power


@pytest.mark.parametrize("direction", DIRECTED)
def test_losses_of_a_divergence_are_the_loops(direction):
    x, distance = embeddings(), Bregman(built(), direction=direction)
    for loss, slow, power in (  # D is like a squared distance, and the loop of the triplet loss squares
        (losses.ContrastiveLoss(distance=distance, miner=miners.RandomNegatives()), slow_contrastive, 1),
        (losses.TripletLoss(distance=distance, miner=miners.RandomNegatives()), slow_triplet, 0.5),
    ):
        prepared = distance.prepare(x)
        found = loss.miner(distance.whole(prepared), tf.constant(LABELS), tf.constant(KEY))
        triplets = [(a, p, n) for a, p, n, valid in zip(*(part.numpy() for part in found), strict=True) if valid]
        value = loss.measure(tf.constant(x), tf.constant(LABELS), tf.constant(KEY))[0]
        assert float(value) == pytest.approx(slow(LABELS, triplets, by(distance, x, power)), rel=1e-8)
        assert float(value) > 0.01


def test_semi_hard_negatives_are_those_of_the_divergence():
    x, distance = embeddings(), Bregman(built())
    miner, margin = miners.SemiHard(0.5), 0.5
    prepared = distance.prepare(x)
    table = distance.divergence.pairwise(x).numpy()
    chosen = set()
    for number in range(50):
        key = tf.constant([0, number])
        found = miner(distance.whole(prepared), tf.constant(LABELS), key, distance.mining_distances(prepared))
        for a, p, n, valid in zip(*(part.numpy() for part in found), strict=True):
            if not valid:
                continue
            others = [j for j in range(8) if LABELS[j] != LABELS[a]]
            band = [j for j in others if table[a, p] < table[a, j] < table[a, p] + margin]
            assert n in (band or others)
            chosen.add(bool(band))
    assert chosen == {True, False}
    assert type(losses.TripletLoss(distance=distance).miner) is miners.SemiHard
    with pytest.raises(TypeError, match="DistanceWeighted chooses by distances on a sphere"):
        losses.TripletLoss(distance=distance, miner=miners.DistanceWeighted())
    with pytest.raises(ValueError, match="DistanceWeighted chooses by distances on a sphere"):
        miners.DistanceWeighted()(prepared[0], tf.constant(LABELS), tf.constant(KEY), tf.constant(table))


def test_a_function_as_miner_gets_no_distances():
    x, distance = embeddings(), Bregman(built())
    miner = miners.RandomNegatives()
    one, other = (
        losses.ContrastiveLoss(distance=distance, miner=each).measure(
            tf.constant(x), tf.constant(LABELS), tf.constant(KEY)
        )[0]
        for each in (miner, lambda whole, labels, key: miner(whole, labels, key))
    )
    assert float(one) == float(other)


def slow_n_pair(labels, scores, temperature):
    found = []
    for a, own in enumerate(labels):
        negatives = [scores[a, j] / temperature for j, label in enumerate(labels) if label != own]
        for p, label in enumerate(labels):
            if p != a and label == own and negatives:
                s = scores[a, p] / temperature
                found.append(-s + np.log(np.exp(s) + np.exp(negatives).sum()))
    return np.mean(found)


def test_n_pair_loss_is_the_loop():
    x = embeddings()
    for distance in (Bregman(built()), Cosine(), Euclidean()):
        prepared = distance.prepare(x)
        scores = distance.scores(prepared).numpy()
        np.testing.assert_allclose(scores, distance.coarse(prepared, prepared), atol=2e-3)
        loss = losses.NPairLoss(temperature=0.5, distance=distance)
        value, scalars = loss.measure(tf.constant(x), tf.constant(LABELS))
        assert float(value) == pytest.approx(slow_n_pair(LABELS, scores, 0.5), rel=1e-6)
        assert scalars["active_share"].numpy() == np.mean([list(LABELS).count(label) > 1 for label in LABELS])


def test_n_pair_loss_of_structural_similarity():
    maps = normal(14, 8, 2, 2, 5) + 0.5
    distance = Structural(cells=2)
    prepared = distance.prepare(maps)
    scores = distance.fine(prepared, tf.tile(prepared[None], (8, 1, 1, 1))).numpy()
    value, _ = losses.NPairLoss(temperature=0.5, distance=distance).measure(tf.constant(maps), tf.constant(LABELS))
    assert float(value) == pytest.approx(slow_n_pair(LABELS, scores, 0.5), rel=1e-4)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_equal_embeddings_have_finite_gradients(jit_compile):
    x = tf.constant(np.tile(normal(15, 1, 5), (6, 1)))
    labels = tf.constant([0, 0, 1, 1, 2, 2])
    for distance in (Euclidean(), Cosine(), Bregman(built()), Bregman(built(), direction="jeffreys")):
        loss = losses.NPairLoss(distance=distance)

        def gradient(x, loss=loss):
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = loss.measure(x, labels)[0]
            return tape.gradient(value, x)

        assert np.isfinite(tf.function(gradient, jit_compile=jit_compile)(x)).all(), type(distance).__name__


def test_n_pair_loss_has_finite_gradients_without_negatives_or_positives():
    loss = losses.NPairLoss(temperature=1e-3, distance=Euclidean())
    for labels in (np.zeros(4, int), np.arange(4)):
        x = tf.constant(normal(9, 4, 5))
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss.measure(x, tf.constant(labels))[0]
        assert float(value) == 0
        np.testing.assert_array_equal(tape.gradient(value, x), 0)


@pytest.mark.parametrize("kind", ["triplet", "margin", "n_pair"])
def test_a_model_trains_and_saves_the_divergence(kind, tmp_path):
    """`loss.parameters` holds the divergence's weights, with those of the loss itself."""
    keras.utils.set_random_seed(0)
    potential = InputConvex(2, 8, seed=0)
    potential.build((None, 3))
    distance = Bregman(potential)
    loss = {
        "triplet": lambda: losses.TripletLoss(squared=False, distance=distance, miner=miners.SemiHard(), seed=0),
        "margin": lambda: losses.MarginLoss(4, distance=distance, miner=miners.RandomNegatives(), seed=0),
        "n_pair": lambda: losses.NPairLoss(temperature=1.0, distance=distance),
    }[kind]()
    labels = np.repeat(np.arange(4), 8)
    x = (2 * normal(10, 4, 6)[labels] + normal(11, 32, 6)).astype("float32")
    inputs = keras.Input((6,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    model.loss_parameters = loss.parameters
    model.compile(keras.optimizers.Adam(0.02), loss=loss)
    assert len(model.trainable_variables) == 2 + len(potential.trainable_variables) + (kind == "margin")
    before = [w.numpy() for w in model.trainable_variables]
    history = model.fit(np.tile(x, (8, 1)), np.tile(labels, 8), shuffle=False, epochs=4, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert all(np.abs(w - start).max() > 1e-4 for w, start in zip(model.trainable_variables, before, strict=True))
    model.save(tmp_path / "x.keras")
    with pytest.warns(UserWarning, match="Skipping variable loading for optimizer"):
        loaded = keras.models.load_model(tmp_path / "x.keras")
    mine, theirs = potential, loaded.loss.distance.divergence
    np.testing.assert_array_equal(theirs.pairwise(x[:, :3]), mine.pairwise(x[:, :3]))


def test_refused():
    with pytest.raises(ValueError, match="`direction` must be one of 'forward', 'backward', 'jeffreys', 'minimum'"):
        Bregman(SquaredEuclidean(), direction="up")
    for use in (lambda d: losses.NPairLoss(distance=d), lambda d: d.prepare(embeddings())):
        with pytest.raises(ValueError, match="Mahalanobis has no weights yet"):
            use(Bregman(Mahalanobis()))
    with pytest.raises(TypeError, match="`divergence` must be a layer of neural_similarity"):
        Bregman("kl")
    with pytest.raises(TypeError, match="must have similarities from −1 to 1"):
        losses.MultiSimilarityLoss(distance=Bregman(built()))


# How known losses come out


def test_cross_entropy_is_the_divergence_of_kl():
    """−log p_y = D(one-hot of y, p), where D is that of Σ x ln x − x; 0 ln 0 is 0."""
    logits, labels = normal(12, 10, 4), np.arange(10) % 4
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    nearly_one_hot = np.where(np.eye(4)[labels] > 0, 1.0, 1e-300)
    found = GeneralizedKL(dtype="float64").paired(nearly_one_hot, p)
    expected = tf.keras.losses.sparse_categorical_crossentropy(labels, p)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_on_the_sphere_the_squared_distance_is_that_of_cosines():
    """‖x − y‖² = 2 − 2·cos: so a triplet loss of cosines is one of the squared Euclidean divergence."""
    x = embeddings()
    unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
    of_cosine = losses.TripletLoss(miner=miners.RandomNegatives(), margin=0.3)
    of_divergence = losses.TripletLoss(
        squared=False, miner=miners.RandomNegatives(), margin=0.3, distance=Bregman(SquaredEuclidean(dtype="float64"))
    )
    values = [
        float(loss.measure(tf.constant(points), tf.constant(LABELS), tf.constant(KEY))[0])
        for loss, points in ((of_cosine, x), (of_divergence, unit))
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-9)


def test_a_mahalanobis_divergence_is_a_euclidean_distance_behind_a_linear_layer():
    """D_φ(x, y) = ½‖Lᵀx − Lᵀy‖²: a triplet loss of it is one of squared distances of Lᵀx, with half of each."""
    x, potential = embeddings(), Mahalanobis(4, dtype="float64")
    potential.build((None, 5))
    potential.factor.assign(normal(13, 5, 4))
    miner = miners.RandomNegatives()
    one = losses.TripletLoss(squared=False, miner=miner, margin=0.3, distance=Bregman(potential))
    behind = x @ potential.factor.numpy() / 2**0.5
    prepared = Bregman(potential).prepare(x)
    found = miner(prepared[0], tf.constant(LABELS), tf.constant(KEY))
    squared = ((behind[:, None] - behind) ** 2).sum(-1)
    expected = [
        max(squared[a, p] - squared[a, n] + 0.3, 0)
        for a, p, n, valid in zip(*(part.numpy() for part in found), strict=True)
        if valid
    ]
    value = one.measure(tf.constant(x), tf.constant(LABELS), tf.constant(KEY))[0]
    assert float(value) == pytest.approx(np.mean(expected), rel=1e-9)
