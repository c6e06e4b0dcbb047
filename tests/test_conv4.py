"""The backbone of few-shot recognition."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from neural_similarity.layers import StaticSimilarityConv2D
from neural_similarity.models import conv4


@pytest.mark.parametrize(("image_size", "features"), [(84, 1600), (32, 256), (16, 64)])
def test_it_has_the_features_and_parameters_of_the_papers(image_size, features):
    model = conv4(image_size=image_size)
    assert model.output_shape == (None, features)
    kernels = 9 * 64 * (3 + 3 * 64)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == kernels + 4 * 2 * 64


def test_it_equals_the_papers_order_of_relu_and_pooling():
    model = conv4(filters=8, image_size=32)
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.float32)
    x = images / 127.5 - 1
    for block in range(1, 5):
        x = tf.nn.conv2d(x, model.get_layer(f"conv{block}").kernel, 1, "SAME")
        mean, variance = tf.nn.moments(x, (0, 1, 2))
        x = tf.nn.max_pool2d(tf.nn.relu((x - mean) / tf.sqrt(variance + 1e-5)), 2, 2, "VALID")
    np.testing.assert_allclose(model(images, training=True), tf.reshape(x, (5, -1)), atol=1e-4)


def test_its_convolutions_may_have_a_similarity():
    plain, static = conv4(filters=4, image_size=16), conv4(StaticSimilarityConv2D, filters=4, image_size=16)
    for block in range(1, 5):
        static.get_layer(f"conv{block}").kernel.assign(plain.get_layer(f"conv{block}").kernel)
    images = np.random.default_rng(0).uniform(0, 255, (3, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(static(images, training=True), plain(images, training=True), atol=1e-5)
    assert static.count_params() - plain.count_params() == 4 * 9


def test_features_are_wide_under_a_mixed_policy():
    model = conv4(filters=4, image_size=16, dtype="mixed_bfloat16")
    assert model(keras.ops.zeros((1, 16, 16, 3))).dtype == tf.float32
    assert conv4(filters=4, image_size=16, dtype="float64")(keras.ops.zeros((1, 16, 16, 3))).dtype == tf.float64


def test_too_small_images_are_refused():
    with pytest.raises(ValueError, match="`image_size` must be 16 or more"):
        conv4(image_size=15)
