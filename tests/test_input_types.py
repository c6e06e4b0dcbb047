"""What a layer takes beside floating-point images, and what it returns for it, as the nearest Keras layer does."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_checks import IMAGE, assert_near

from neural_similarity.layers import (
    BatchNormalization2D,
    DynamicSimilarityConv2D,
    GlobalSimilarity2D,
    NeuralSimilarityPredictor,
    SphereConv2D,
    StaticSimilarityConv2D,
)

POLICIES = [
    {},
    {"dtype": "mixed_float16"},
    {"dtype": "float64"},
    {"autocast": False},
    pytest.param({"dtype": "mixed_bfloat16"}, marks=pytest.mark.slow),
    pytest.param({"dtype": "float16"}, marks=pytest.mark.slow),
]
TYPES = ("uint8", "int32", "bool", "float16", "float32", "float64")
CASTING = {
    "batch_norm": lambda **kwargs: BatchNormalization2D(debias=True, **kwargs),
    "keras_batch_norm": lambda **kwargs: keras.layers.BatchNormalization(momentum=0.99, **kwargs),
    "global": lambda **kwargs: GlobalSimilarity2D(2, **kwargs),
    "predictor": lambda **kwargs: NeuralSimilarityPredictor(4, **kwargs),
}


def images(dtype):
    return tf.cast(np.random.default_rng(0).integers(0, 255, IMAGE), dtype)


@pytest.mark.parametrize("kind", CASTING)
@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_every_input_gives_the_compute_dtype(kind, policy):
    for dtype in TYPES:
        for training in (True, False):
            layer = CASTING[kind](**policy)
            arguments = {} if kind == "global" else {"training": training}
            y = layer(images(dtype), **arguments)
            assert y.dtype == layer.compute_dtype, dtype
            assert np.all(np.isfinite(np.asarray(y, np.float64))), dtype
        assert CASTING[kind](**policy)(keras.Input(IMAGE[1:], dtype=dtype)).dtype == layer.compute_dtype


@pytest.mark.parametrize("kind", CASTING)
@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
def test_integers_count_as_the_numbers_that_they_are(kind, dtype):
    layer, arguments = CASTING[kind](), {} if kind == "global" else {"training": True}
    layer.build(IMAGE)
    x = images(dtype)
    assert_near(layer(x, **arguments), layer(tf.cast(x, tf.float32), **arguments), 1e-4)
    model = keras.Sequential([keras.Input(IMAGE[1:], dtype=dtype), layer])
    assert_near(model.predict(np.asarray(x), verbose=0), layer(tf.cast(x, tf.float32)), 1e-4)


def test_integers_beyond_sixteen_bits_are_normalised_as_keras_does():
    x = 70_000 + 1000 * images("int32")
    ours, keras_own = (CASTING[kind](dtype="mixed_float16") for kind in ("batch_norm", "keras_batch_norm"))
    np.testing.assert_allclose(ours(x, training=True), keras_own(x, training=True), atol=2e-3)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
@pytest.mark.parametrize(
    "convolution", [keras.layers.Conv2D, StaticSimilarityConv2D, DynamicSimilarityConv2D, SphereConv2D]
)
def test_convolutions_refuse_integers_as_conv2d_does(convolution, dtype):
    """While a model is made, both let them pass."""
    said = "Conv2D" if convolution is keras.layers.Conv2D else r"needs floating-point images[^$]*Received: dtype"
    model = keras.Sequential([keras.Input(IMAGE[1:], dtype=dtype), convolution(4, 3)])
    for use in (convolution(4, 3), model):
        with pytest.raises(ValueError, match=said):
            use(images(dtype))


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Conv2D(4, 3),
        StaticSimilarityConv2D(4, 3),
        DynamicSimilarityConv2D(4, 3),
        SphereConv2D(4, 3),
        BatchNormalization2D(),
        GlobalSimilarity2D(2),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_mask_is_not_read_and_keras_says_so(layer):
    x = keras.layers.Masking()(images("float32"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        y = layer(x)
    assert not layer.supports_masking
    assert any("does not support masking" in str(warning.message) for warning in caught)
    assert getattr(y, "_keras_mask", None) is None
