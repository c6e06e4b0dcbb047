"""Optimisers and schedules against the formulas they are named after."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from neural_similarity.config import load
from neural_similarity.training.optimizers import Momentum, WarmupThenSteps, build_optimizer, build_schedule


def follow(optimizer, gradients, start):
    """The weight's path under the given gradients."""
    weight = keras.Variable(start, dtype="float64")
    optimizer.build([weight])
    path = []
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient)])
        path.append(weight.numpy())
    return np.array(path)


@pytest.fixture
def gradients():
    return np.random.default_rng(0).standard_normal((8, 3))


def test_momentum_is_tensorflow_1s_across_a_drop_of_the_rate(gradients):
    optimizer = Momentum(WarmupThenSteps(0.1, [4], 0.1), 0.9)
    start = np.array([1.0, -2.0, 3.0])
    weight, accumulator, expected = start, 0, []
    for step, gradient in enumerate(gradients):
        accumulator = 0.9 * accumulator + gradient
        weight = weight - (0.1 if step < 4 else 0.01) * accumulator
        expected.append(weight)
    np.testing.assert_allclose(follow(optimizer, gradients, start), expected, rtol=1e-6)
    keras_sgd = follow(keras.optimizers.SGD(WarmupThenSteps(0.1, [4], 0.1), 0.9), gradients, start)
    np.testing.assert_allclose(keras_sgd[:4], expected[:4], rtol=1e-6)
    assert np.abs(keras_sgd[5] - expected[5]).max() > 0.01  # which is why the class `Momentum` is there


def test_adam_is_tensorflow_1s(gradients):
    adam = type("Adam", (), {"name": "adam", "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8})
    start, m, v, expected = np.zeros(3), 0, 0, []
    weight = start
    for t, gradient in enumerate(gradients, start=1):
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        weight = weight - 1e-3 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-8)
        expected.append(weight)
    np.testing.assert_allclose(follow(build_optimizer(adam, 1e-3), gradients, start), expected, rtol=1e-4)


def test_schedule_warms_up_then_drops():
    schedule = WarmupThenSteps(0.1, [20, 30], 0.1, warmup_steps=5)
    rates = [float(schedule(step)) for step in (0, 1, 4, 5, 19, 20, 29, 30, 1000)]
    np.testing.assert_allclose(rates, [0.02, 0.04, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rtol=1e-5)
    again = WarmupThenSteps.from_config(schedule.get_config())
    assert [float(again(step)) for step in (0, 25)] == [float(schedule(step)) for step in (0, 25)]


def test_schedule_of_a_config_is_the_scaled_one():
    config = load("configs/cifar10/static_dns.yaml", ["schedule.scale=0.01"])
    schedule = build_schedule(config.optimizer, config.schedule)
    np.testing.assert_allclose(
        [float(schedule(step)) for step in (0, 4, 199, 200, 300, 375)], [0.02, 0.1, 0.1, 1e-2, 1e-3, 1e-4], rtol=1e-5
    )
    released = load("configs/cifar10/released/static_dns.yaml")
    assert float(build_schedule(released.optimizer, released.schedule)(0)) == pytest.approx(0.1)


def test_optimizer_survives_serialisation():
    optimizer = Momentum(WarmupThenSteps(0.1, [4], 0.1, 3), 0.8)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert (again.momentum, float(again.learning_rate)) == (0.8, float(optimizer.learning_rate))
