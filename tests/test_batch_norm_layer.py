"""`BatchNormalization2D`: the batch in training, averages that start at zero in inference."""

import numpy as np
import pytest
import tensorflow as tf
from layer_checks import IMAGE, assert_near, normal

from neural_similarity.layers import BatchNormalization2D


def updated(layer, batches):
    for batch in batches:
        layer(batch, training=True)
    return layer


def test_averages_in_closed_form():
    batches = [2 * normal(seed, 4, 3, 2, 3) + seed for seed in range(5)]
    weights = np.float64(1) - np.float32(0.9)
    weights = weights * (1 - weights) ** np.arange(4, -1, -1)  # the latest batch counts most
    for debias in (True, False):
        layer = updated(BatchNormalization2D(0.9, debias=debias), batches)
        total = sum(weights) if debias else 1
        for found, statistic in zip(layer.averages(), (np.mean, np.var), strict=True):
            moments = [statistic(batch, axis=(0, 1, 2)) for batch in batches]
            assert_near(found, np.tensordot(weights, moments, 1) / total)
        y, (mean, variance) = layer(batches[0]), layer.averages()
        assert_near(y, (batches[0] - mean) / tf.sqrt(variance + 1e-3))
    assert sum(weights) == pytest.approx(1 - 0.9**5, rel=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_same_batch_again_and_again_is_known_exactly(decay):
    batch = 3 + 2 * normal(1, 4, 3, 2, 3)
    layer = BatchNormalization2D(decay)
    for _ in range(3):
        trained = layer(batch, training=True)
        assert_near(layer(batch), trained, 1e-4)


def test_before_the_first_update():
    x = normal(1, *IMAGE)
    debiased, plain = BatchNormalization2D(), BatchNormalization2D(debias=False)
    assert_near(debiased(x), x / np.sqrt(1 + 1e-3))
    assert_near(plain(x), x / np.sqrt(1e-3))
    np.testing.assert_array_equal(debiased.averages(), [np.zeros(3), np.ones(3)])
    np.testing.assert_array_equal(plain.averages(), [np.zeros(3), np.zeros(3)])


def test_training():
    x = 5 + 3 * normal(1, *IMAGE)
    for epsilon in (1e-3, 0.5):
        layer = BatchNormalization2D(epsilon=epsilon)
        layer.build(IMAGE)
        layer.gamma.assign([1.0, 2.0, 3.0])
        layer.beta.assign([3.0, 2.0, 1.0])
        mean, variance = tf.nn.moments(x, (0, 1, 2))
        expected = (x - mean) / tf.sqrt(variance + epsilon) * layer.gamma + layer.beta
        assert_near(layer(x, training=True), expected, 1e-4)


def test_defaults_are_those_of_the_recipes():
    layer = BatchNormalization2D()
    assert (layer.decay, layer.epsilon, layer.debias) == (0.99, 1e-3, True)


def test_frozen_batch_norm_and_evaluation_leave_the_averages_alone():
    x = 5 + 3 * normal(1, *IMAGE)
    layer = updated(BatchNormalization2D(), [x])
    before = layer.get_weights()
    expected = layer(x, training=False)
    layer(2 * x)
    layer.trainable = False
    assert_near(layer(x, training=True), expected)
    assert not layer.trainable_weights
    for found, kept in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, kept)
    layer.trainable = True
    assert [weight.name for weight in layer.trainable_weights] == ["gamma", "beta"]
    layer(x, training=True)
    assert float(layer.updates.value) == 2


def test_evaluation_is_training_mode_after_fifty_steps():
    """What averages without the correction are too small for: they have seen 5 % of the data's mean."""
    batches = [20 + 4 * normal(seed, 64, 2, 2, 3) for seed in range(51)]
    debiased, plain = (updated(BatchNormalization2D(0.999, debias=debias), batches[:50]) for debias in (True, False))
    trained = debiased(batches[50], training=True)
    assert np.abs(debiased(batches[50]) - trained).max() < 0.3
    assert np.abs(plain(batches[50]) - trained).max() > 10
    assert_near(plain.averages()[0] / (1 - 0.999**50), np.full(3, 20), 0.01)


def test_what_is_refused():
    with pytest.raises(ValueError) as caught:
        BatchNormalization2D().build((None, 4, 4, None))
    expected = "The channels (last axis) must be known. Received an input of shape (None, 4, 4, None)"
    assert expected in str(caught.value)
    with pytest.raises(ValueError, match="expected ndim=4, found ndim=2"):
        BatchNormalization2D()(tf.ones((2, 3)))
