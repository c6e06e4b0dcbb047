"""Miners: which triplets they choose, how often, and that a key determines them."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from slow_losses import LABELS, embeddings, unit

from neural_similarity.miners import DistanceWeighted, RandomNegatives, SemiHard
from neural_similarity.miners.draw import draw

MINERS = [RandomNegatives(), SemiHard(), DistanceWeighted(), DistanceWeighted(dimension=128, upper=1.4)]
each_miner = pytest.mark.parametrize("miner", MINERS, ids=["random", "semi_hard", "weighted", "weighted_128"])


def key(number):
    return tf.constant([7, number])


def mined(miner, whole, labels, number=0):
    return [part.numpy() for part in miner(tf.constant(whole), tf.constant(labels), key(number))]


def distances_of(whole):
    return np.array([[np.sqrt(max(2 - 2 * a @ b, 0)) for b in whole] for a in whole])


@each_miner
def test_triplets_are_of_the_right_classes(miner):
    for number in range(5):
        anchors, positives, negatives, valid = mined(miner, unit(embeddings()), LABELS, number)
        np.testing.assert_array_equal(anchors, np.arange(8))
        np.testing.assert_array_equal(valid, [True] * 7 + [False])  # the last image is alone in its class
        for a, p, n in zip(anchors[:7], positives[:7], negatives[:7], strict=True):
            assert p != a
            assert LABELS[p] == LABELS[a]
            assert LABELS[n] != LABELS[a]
        assert {part.dtype.name for part in (anchors, positives, negatives)} == {"int32"}


@each_miner
@pytest.mark.parametrize("labels", [[2, 2, 2, 2], [0, 1, 2, 3]], ids=["one_class", "all_alone"])
def test_batches_without_a_triplet(miner, labels):
    anchors, positives, negatives, valid = mined(miner, np.eye(4), labels)
    assert not valid.any()
    for places in (anchors, positives, negatives):
        assert ((places >= 0) & (places < 4)).all()


@each_miner
def test_a_key_determines_the_triplets(miner):
    whole = unit(embeddings())
    first, again, other = (mined(miner, whole, LABELS, number) for number in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (np.array(first) != np.array(other)).any()


def test_compiled_miners_choose_the_same():
    whole, labels = tf.constant(unit(embeddings(16)), tf.float32), tf.constant(LABELS)

    def all_of_them(key):
        return [miner(whole, labels, key) for miner in MINERS]

    compiled = tf.function(all_of_them, jit_compile=True)
    for number in range(5):
        for found, expected in zip(compiled(key(number)), all_of_them(key(number)), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_a_batch_of_unknown_size():
    signature = [tf.TensorSpec((None, 4), tf.float64), tf.TensorSpec((None,), tf.int64), tf.TensorSpec((2,), tf.int32)]
    whole = unit(embeddings())
    for miner in MINERS:
        traced = tf.function(miner, input_signature=signature)(whole, LABELS, key(0))
        np.testing.assert_array_equal(traced, mined(miner, whole, LABELS))


# How often an image is chosen


def frequencies(miner, distances, channels, anchors=1500):
    """How often each of some images is the negative of an anchor, from which they are so far away.

    All anchors are one and the same image, so that a batch has as many draws as anchors.
    """
    anchor = np.eye(channels)[:1]
    others = np.zeros((len(distances), channels))
    others[:, 0] = 1 - np.square(distances) / 2  # the cosine
    others[:, 1] = np.sqrt(1 - others[:, 0] ** 2)
    whole = np.concatenate([others, np.repeat(anchor, anchors, 0)]).astype(np.float32)
    labels = np.arange(len(whole)) >= len(distances)
    _, _, negatives, valid = mined(miner, whole, labels.astype(int))
    assert valid.all()
    return np.bincount(negatives[len(distances) :], minlength=len(distances))


def assert_drawn_from(counts, weights):
    """That the counts are not surprising: with another key, one of ten thousand would be refused."""
    expected = np.array(weights) / np.sum(weights) * counts.sum()
    np.testing.assert_array_equal(counts[expected == 0], 0)
    assert stats.chisquare(counts[expected > 0], expected[expected > 0]).pvalue > 1e-4


DISTANCES = [0.3, 0.6, 0.9, 1.2, 1.5, 1.8]


@pytest.mark.parametrize(("dimension", "d"), [(None, 8), (5, 5)])
@pytest.mark.parametrize("upper", [None, 1.4])
def test_weighted_negatives_are_drawn_by_the_inverse_density(dimension, d, upper):
    counts = frequencies(DistanceWeighted(dimension=dimension, upper=upper), DISTANCES, 8)
    weights = []
    for distance in DISTANCES:
        clamped = max(distance, 0.5)
        weight = clamped ** (2 - d) * (1 - clamped**2 / 4) ** ((3 - d) / 2)
        weights.append(0 if upper and distance >= upper else weight)
    assert_drawn_from(counts, weights)


def test_negatives_beyond_the_limit_are_better_than_none():
    counts = frequencies(DistanceWeighted(upper=1.4), [1.5, 1.8], 8)
    assert (counts > 0).all()


def test_weights_are_finite_at_all_distances():
    """At the largest distance, 2, the density is zero; images without a vector are at √2."""
    whole = np.array([[1.0, 0], [1, 0], [-1, 0], [-1, 0], [0, 0], [0, 0]])
    for dtype in (np.float32, np.float64):
        distances = tf.constant(distances_of(whole).astype(dtype))
        for d in (2, 128, 2048):
            weights = DistanceWeighted(dimension=d).log_weights(distances, distances[:, 0], tf.fill((6, 6), True), 2)
            assert weights.dtype == dtype
            tf.debugging.assert_all_finite(weights, f"{d} dimensions")
    _, positives, _, valid = mined(DistanceWeighted(), whole, [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(positives, [1, 0, 3, 2, 5, 4])
    assert valid.all()


def test_random_negatives_are_drawn_uniformly():
    assert_drawn_from(frequencies(RandomNegatives(), DISTANCES, 4), np.ones(6))


def test_semi_hard_negatives_are_drawn_uniformly():
    """The positives are at the distance 0 here."""
    assert_drawn_from(frequencies(SemiHard(margin=1.0), DISTANCES, 4), [1, 1, 1, 0, 0, 0])


def test_semi_hard_negatives_are_semi_hard_where_there_are_such():
    whole = unit(embeddings(3))
    distances, labels = distances_of(whole), LABELS
    semi_hard = {True: 0, False: 0}
    for number in range(30):
        _, positives, negatives, _ = mined(SemiHard(margin=0.4), whole, labels, number)
        for a in range(7):
            to_positive = distances[a, positives[a]]
            wanted = [
                n for n in range(8) if labels[n] != labels[a] and to_positive < distances[a, n] < to_positive + 0.4
            ]
            semi_hard[bool(wanted)] += 1
            assert negatives[a] in wanted or not wanted
    assert min(semi_hard.values()) > 10


def test_draws_without_a_choice():
    log_weights = tf.constant([[-np.inf, 0.0, -np.inf], [-np.inf] * 3, [-200.0, -np.inf, -np.inf]])
    np.testing.assert_array_equal(draw(key(0), log_weights), [1, 0, 0])


# Arguments


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SemiHard(margin=0), "`margin` must be a number greater than 0. Received: 0"),
        (lambda: SemiHard("0.2"), "`margin` must be a number greater than 0. Received: '0.2'"),
        (lambda: DistanceWeighted(lower=2), "`lower` must be a number greater than 0 and less than 2. Received: 2"),
        (lambda: DistanceWeighted(lower=float("nan")), "Received: nan"),
        (lambda: DistanceWeighted(upper=0.4), "`upper` must be a number greater than 0.5. Received: 0.4"),
        (lambda: DistanceWeighted(dimension=1), "`dimension` must be an integer of at least 2. Received: 1"),
        (lambda: DistanceWeighted(dimension=8.0), "`dimension` must be an integer of at least 2. Received: 8.0"),
        (lambda: mined(RandomNegatives(), np.eye(4)[0], [0]), r"Received the shapes \(4,\) and \(1,\)"),
    ],
)
def test_what_a_miner_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
