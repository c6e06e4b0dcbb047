"""Backbones of metric learning: networks of keras.applications, files, and the projection behind them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_checks import KERAS_WARNINGS

from neural_similarity import config as configs
from neural_similarity import models
from neural_similarity.families import metric_learning_parts as parts
from neural_similarity.layers import ApplicationInput
from neural_similarity.models.seeding import seeded
from neural_similarity.training.optimizers import build_optimizer

pytestmark = KERAS_WARNINGS


@pytest.fixture(scope="module")
def mobilenet():
    return models.application_backbone("MobileNet", 32, alpha=0.25)


def images(count=2, size=32):
    return np.random.default_rng(0).uniform(0, 255, (count, size, size, 3)).astype(np.float32)


def test_batch_norm_keeps_its_averages_and_trains_its_scale(mobilenet):
    averages = [v.numpy() for v in mobilenet.non_trainable_variables]
    with tf.GradientTape() as tape:
        in_training = mobilenet(images(), training=True)
        loss = tf.reduce_sum(in_training**2)
    np.testing.assert_array_equal(in_training, mobilenet(images(), training=False))
    for before, after in zip(averages, mobilenet.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(before, after)
    gradients = dict(
        zip(
            [v.path for v in mobilenet.trainable_variables],
            tape.gradient(loss, mobilenet.trainable_variables),
            strict=True,
        )
    )
    scales = [path for path in gradients if path.endswith(("gamma", "beta"))]
    assert len(scales) == 54  # of 27 layers
    assert all(gradients[path] is not None for path in scales)


def test_an_image_does_not_depend_on_the_others(mobilenet):
    together, alone = mobilenet(images(4), training=True), mobilenet(images(4)[1:2], training=True)
    np.testing.assert_allclose(together[1:2], alone, atol=1e-6)


def test_input_is_scaled_as_the_network_was_trained():
    raw = images()
    np.testing.assert_allclose(ApplicationInput("MobileNet")(raw), raw / 127.5 - 1, atol=1e-5)
    expected = raw[..., ::-1] - [103.939, 116.779, 123.68]
    np.testing.assert_allclose(ApplicationInput("ResNet50")(raw), expected, atol=1e-3)
    with pytest.raises(ValueError, match="Received: 'resnet50'"):
        ApplicationInput("resnet50")


def test_a_network_is_saved_and_loaded(mobilenet, tmp_path):
    network = models.with_projection(mobilenet, 5)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(loaded(images()), network(images()))
    backbone = models.backbone_of_file(tmp_path / "network.keras", 32)
    np.testing.assert_array_equal(backbone(images(), training=True), network(images()))


def test_projecting_needs_a_map():
    image = keras.Input((4, 4, 3))
    network = keras.Model(image, keras.layers.Flatten()(image))
    with pytest.raises(ValueError, match="the backbone must end with maps"):
        models.with_projection(network, 5)


def config_with(weights):
    overrides = ["data.image_size=32", "model.alpha=0.25", f"model.weights={weights}", "model.embedding_size=5"]
    return configs.load("configs/folder/metric_learning.yaml", overrides, environment={})


def test_pretrained_weights_are_taken_from_a_file(tmp_path, monkeypatch):
    """At 32 pixels, though the file's network has another size, and only into the backbone."""
    monkeypatch.setattr(parts, "_PRETRAINED_SIZE", 64)
    with seeded(7):
        pretrained = keras.applications.MobileNet(alpha=0.25, include_top=False, weights=None, input_shape=(64, 64, 3))
    pretrained.save_weights(tmp_path / "mobilenet.weights.h5")
    config = config_with(tmp_path / "mobilenet.weights.h5")
    network = parts.build_network(config)
    projection = network.get_layer("projection").kernel.numpy()
    parts.load_pretrained(config, network)
    np.testing.assert_array_equal(network.get_layer("projection").kernel, projection)
    for found, expected in zip(network.get_layer("backbone").get_weights(), pretrained.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_random_weights_belong_to_the_seed():
    one, other = (parts.build_network(config_with("random")).get_weights() for _ in range(2))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_some_weights_have_another_rate(name):
    """The first update of momentum is rate · gradient, that of Adam about the rate."""
    base = {"sgd": "configs/cifar10/baseline.yaml", "adam": "configs/quickstart/few_shot.yaml"}[name]
    section = configs.load(base, environment={}).optimizer
    weights = [keras.Variable(np.ones(3, np.float32), name=n) for n in ("slow", "fast")]
    optimizer = build_optimizer(section, 0.01, {weights[1].path: 10.0})
    optimizer.build(weights)
    optimizer.apply([tf.ones(3), tf.ones(3)])
    slow, fast = (1 - weight.numpy() for weight in weights)
    np.testing.assert_allclose(slow, 0.01, rtol=1e-4)
    np.testing.assert_allclose(fast, 0.1, rtol=1e-4)
