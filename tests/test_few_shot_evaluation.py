"""Few-shot scores: the means over episodes, their interval, and what normalises the images."""

import numpy as np
import pytest
import tensorflow as tf
from few_shot_tasks import METHODS, build, noise_splits
from small_tasks import one_replica

from neural_similarity.data.episodes import episode_rows
from neural_similarity.families import few_shot
from neural_similarity.families.few_shot_evaluation import episode_measures, interval95
from neural_similarity.few_shot.functional import call_by_support
from neural_similarity.few_shot.heads import cosine_head, linear_head
from neural_similarity.layers import BatchNormalization2D


def test_the_interval_by_hand():
    # mean 0.6, deviations 0.2 −0.2 0 0, sum of squares 0.08, over n − 1 = 3, square root 0.1633, over √4 = 2
    assert interval95(np.array([0.8, 0.4, 0.6, 0.6])) == pytest.approx(1.96 * 0.163299 / 2, rel=1e-5)


def test_evaluation_is_the_mean_of_its_episodes():
    config, _, model = build("protonet", "evaluation.episodes=7", "evaluation.validation_episodes=4")
    splits = noise_splits()
    measured = few_shot.evaluation(config, model, one_replica(), splits)()
    assert measured.keys() == {"validation", "test"}
    cross_entropies, accuracies = episode_measures(config, model)(splits.test, "test", 7)
    assert len(accuracies) == 7
    assert measured["test"]["accuracy"] == pytest.approx(np.mean(accuracies))
    assert measured["test"]["cross_entropy"] == pytest.approx(np.mean(cross_entropies))
    assert measured["test"]["accuracy_interval95"] == pytest.approx(interval95(accuracies))
    assert (measured["test"]["accuracy_n"], measured["validation"]["accuracy_n"]) == (7, 4)
    assert measured["test"]["seconds_per_episode"] > 0


@pytest.mark.parametrize("name", METHODS)
def test_an_episode_is_measured_as_it_is_answered(name, look_trained):
    """Also where features are computed once for all episodes."""
    config, method, model = build(name, dtype="float64")
    look_trained(model)
    part = noise_splits().test
    cross_entropies, accuracies = episode_measures(config, model)(part, "test", 3)
    for number in range(3):
        rows = episode_rows(part, 0, "test", number, 3, 4)
        images = tf.constant(part.images[rows], tf.float32)
        support, queries = (tf.reshape(x, (6, *x.shape[2:])) for x in (images[:, :2], images[:, 2:]))
        logits = method.answer(model, support, [0, 0, 1, 1, 2, 2], queries, 3).numpy()
        wanted = np.array([0, 0, 1, 1, 2, 2])
        assert accuracies[number] == np.mean(np.argmax(logits, -1) == wanted)
        likelihoods = np.exp(logits - logits.max(-1, keepdims=True))
        likelihoods /= likelihoods.sum(-1, keepdims=True)
        expected = -np.mean(np.log(likelihoods[np.arange(6), wanted]))
        assert cross_entropies[number] == pytest.approx(expected, rel=1e-6)


def test_all_seeds_are_tested_on_the_same_episodes():
    part = noise_splits().test
    measured = []
    for seed in (0, 1):
        config, _, model = build("protonet", f"seed={seed}")
        for weight in model.weights:
            weight.assign(tf.ones_like(weight))
        measured.append(episode_measures(config, model)(part, "test", 5))
    np.testing.assert_array_equal(*measured)


def test_the_statistics_of_the_support_images_by_hand():
    x = tf.keras.Input((2, 2, 3))
    layer = BatchNormalization2D(0.9, epsilon=1e-3, dtype="float64")
    model = tf.keras.Model(x, layer(x))
    rng = np.random.default_rng(0)
    support, queries = (rng.normal(2.0, 3.0, (n, 2, 2, 3)) for n in (5, 4))
    layer.moving_mean.assign([7.0, 8.0, 9.0])  # forgotten for the episode
    found = call_by_support(model, {}, tf.constant(support), tf.constant(queries))
    mean, variance = support.mean((0, 1, 2)), support.var((0, 1, 2))
    for images, outputs in zip((support, queries), found, strict=True):
        np.testing.assert_allclose(outputs, (images - mean) / np.sqrt(variance + 1e-3), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(layer.moving_mean, [7.0, 8.0, 9.0])


def softmax(logits):
    likelihoods = np.exp(logits - logits.max(-1, keepdims=True))
    return likelihoods / likelihoods.sum(-1, keepdims=True)


def test_a_linear_head_beside_a_loop():
    rng = np.random.default_rng(0)
    features, queries, labels = rng.standard_normal((6, 4)), rng.standard_normal((5, 4)), np.array([0, 1, 2, 0, 1, 2])
    kernel, bias = np.zeros((4, 3)), np.zeros(3)
    velocities = [np.zeros_like(kernel), np.zeros_like(bias)]
    for _ in range(7):
        error = (softmax(features @ kernel + bias) - np.eye(3)[labels]) / 6
        velocities = [0.9 * velocities[0] + features.T @ error, 0.9 * velocities[1] + error.sum(0)]
        kernel, bias = kernel - 0.3 * velocities[0], bias - 0.3 * velocities[1]
    head = linear_head(tf.constant(features), labels, 3, steps=7, rate=0.3)
    np.testing.assert_allclose(head(tf.constant(queries)), queries @ kernel + bias, rtol=1e-9)


def test_a_cosine_head_learns_directions():
    """Lengths do not count: features of one direction are recognised whatever they are multiplied by."""
    rng = np.random.default_rng(0)
    directions = np.eye(3, 8) + 0.05 * rng.standard_normal((3, 8))
    support = np.concatenate([directions, 20 * directions])
    head = cosine_head(tf.constant(support), [0, 1, 2, 0, 1, 2], 3, steps=100, rate=0.5, scale=10.0)
    logits = head(tf.constant(np.concatenate([directions * 3, directions / 7]))).numpy()
    assert (np.argmax(logits, -1) == [0, 1, 2, 0, 1, 2]).all()
    assert np.abs(logits).max() <= 10
    np.testing.assert_allclose(logits[:3], logits[3:], rtol=1e-6)
