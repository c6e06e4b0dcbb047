"""What every layer has to do: keep its config and its weights, pass gradients, run in every precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_checks import KERAS_WARNINGS, check_as_keras_does, check_config, check_round_trip, normal

from neural_similarity.layers import (
    BatchNormalization2D,
    DynamicSimilarityConv2D,
    GlobalSimilarity2D,
    NeuralSimilarityPredictor,
    Orthogonality,
    SphereConv2D,
    StaticSimilarityConv2D,
    TowardsIdentity,
)

pytestmark = KERAS_WARNINGS

LAYERS = {  # name → class and arguments; those of a `NeuralSimilarityPredictor` as a dict
    "static_dns": (StaticSimilarityConv2D, {"filters": 4, "kernel_size": 3, "similarity_regularizer": "l2"}),
    "static_uns": (
        StaticSimilarityConv2D,
        {
            "filters": 4,
            "kernel_size": (3, 1),
            "structure": "unconstrained",
            "similarity_initializer": "glorot_uniform",
            "similarity_regularizer": TowardsIdentity(1e-3),
            "padding": "same",
            "use_bias": False,
        },
    ),
    "dynamic_dns": (
        DynamicSimilarityConv2D,
        {
            "filters": 4,
            "kernel_size": 3,
            "strides": 2,
            "padding": "same",
            "predictor": {
                "gamma_initializer": "ones",
                "init_scales": (1.0, 0.5),
                "debias": False,
                "batch_norm_decay": 0.9,
                "regularizer": "l2",
            },
        },
    ),
    "dynamic_uns": (
        DynamicSimilarityConv2D,
        {
            "filters": 4,
            "kernel_size": 3,
            "structure": "unconstrained",
            "dilation_rate": 2,
            "predictor": {"filters": 6, "structure": "unconstrained", "init_scales": (1.0, 1.0)},
            "activation": "relu",
        },
    ),
    "full": (
        DynamicSimilarityConv2D,
        {
            "filters": 4,
            "kernel_size": 3,
            "predictor": {
                "filters": 6,
                "normalization": "full",
                "gamma_initializer": "ones",
                "batch_norm_regularizer": "l1",
            },
        },
    ),
    "predictor": (NeuralSimilarityPredictor, {"kernel_size": (3, 3), "filters": 6, "gamma_initializer": "ones"}),
    "predictor_uns": (
        NeuralSimilarityPredictor,
        {
            "kernel_size": (3, 1),
            "structure": "unconstrained",
            "gamma_initializer": "ones",
            "batch_norm": True,
            "regularizer": "l2",
        },
    ),
    "sphere": (SphereConv2D, {"filters": 4, "kernel_size": 3, "kernel_regularizer": Orthogonality(0.1, 0.2, True)}),
    "sphere_learnable": (
        SphereConv2D,
        {"filters": 4, "kernel_size": (3, 1), "operator": "learnable_sigmoid", "strides": 2, "activation": "relu"},
    ),
    "sphere_decoupled": (
        SphereConv2D,
        {
            "filters": 4,
            "kernel_size": 3,
            "operator": "linear",
            "magnitude": "tanh",
            "magnitude_decay": 0.9,
            "dilation_rate": 2,
            "use_bias": False,
        },
    ),
    "global": (GlobalSimilarity2D, {"filters": 2, "query_relu": False, "kernel_regularizer": "l2"}),
    "batch_norm": (BatchNormalization2D, {}),
    "batch_norm_as_released": (
        BatchNormalization2D,
        {
            "debias": False,
            "decay": 0.5,
            "epsilon": 0.1,
            "gamma_initializer": "zeros",
            "gamma_regularizer": "l2",
        },
    ),
}
SHAPE = (2, 7, 6, 3)
FLOAT32_AT_LEAST = ("gamma", "beta", "moving_mean", "moving_variance", "updates", "k", "radius", "moving_norm")
each_layer = pytest.mark.parametrize("name", LAYERS)


def create(which, dtype=None, **more):
    """The layer, in a dtype policy, and so its predictor."""
    layer_class, arguments = LAYERS[which]
    if "predictor" in arguments:
        more["predictor"] = NeuralSimilarityPredictor(**arguments["predictor"], dtype=dtype)
    return layer_class(**{**arguments, **more}, dtype=dtype)


def assert_config_says(config, arguments):
    """Holds that every plain argument stands in a config."""
    for key, value in arguments.items():
        if isinstance(value, (bool, float, int)) or key in ("structure", "padding", "normalization", "operator"):
            assert config[key] in (value, (value, value))  # Keras writes kernel_size 3 as (3, 3)


@each_layer
def test_config_and_keras_file_keep_everything(name, tmp_path):
    layer = create(name, name="tried", trainable=name != "full")
    check_config(layer)
    arguments = LAYERS[name][1]
    assert_config_says(layer.get_config(), arguments)
    if "predictor" in arguments:
        assert_config_says(layer.get_config()["predictor"]["config"], arguments["predictor"])
    check_round_trip(layer, SHAPE, tmp_path)


@pytest.mark.parametrize(
    ("name", "output_shape", "trainable", "fixed", "losses"),
    [
        ("static_uns", (2, 7, 6, 4), 2, 0, 1),
        ("dynamic_dns", (2, 4, 3, 4), 8, 6, 2),
        ("predictor_uns", (2, 7, 6, 3, 3), 6, 6, 2),
        ("sphere_learnable", (2, 3, 3, 4), 3, 0, 0),
        ("sphere_decoupled", (2, 3, 2, 4), 2, 2, 0),
        ("global", SHAPE, 4, 0, 3),
        ("batch_norm_as_released", SHAPE, 2, 3, 1),
    ],
)
def test_as_keras_does(name, output_shape, trainable, fixed, losses):
    layer_class, arguments = LAYERS[name]
    if "predictor" in arguments:  # a dict, as Keras creates the layer several times
        predictor = keras.saving.serialize_keras_object(create(name).predictor)
        arguments = {**arguments, "predictor": predictor}
    check_as_keras_does(
        layer_class,
        arguments,
        SHAPE,
        expected_output_shape=output_shape,
        expected_num_trainable_weights=trainable,
        expected_num_non_trainable_weights=fixed,
        expected_num_losses=losses,
        supports_masking=False,
    )


@each_layer
def test_every_weight_gets_a_gradient(name):
    x = normal(1, *SHAPE)
    layer = create(name)
    layer.build(SHAPE)
    if name == "global":
        layer.gamma.assign(0.5)  # its kernels learn once γ has left 0
    with tf.GradientTape() as tape:
        y = layer(x, training=True)
        loss = tf.reduce_sum(y * normal(2, *y.shape))
    for weight, gradient in zip(layer.trainable_weights, tape.gradient(loss, layer.trainable_weights), strict=True):
        assert np.all(np.isfinite(gradient)), weight.path
        assert np.any(gradient), weight.path


@pytest.mark.parametrize(
    "name",
    sorted(LAYERS.keys() - {"static_dns", "predictor", "predictor_uns", "batch_norm_as_released"}),
)
@pytest.mark.parametrize("policy", ["bfloat16", "float16", "mixed_bfloat16", "mixed_float16", "float64"])
def test_precisions(name, policy):
    """The same weights give the same outputs, within the rounding of the policy."""
    x = normal(1, *SHAPE)
    reference, layer = create(name), create(name, dtype=policy)
    reference.build(SHAPE)
    layer.build(SHAPE)
    if name == "global":
        reference.gamma.assign(0.5)
    layer.set_weights(reference.get_weights())
    expected = reference(x, training=True)
    with tf.GradientTape() as tape:
        found = layer(x, training=True)
        loss = tf.reduce_sum(tf.cast(found, tf.float32) ** 2)
    assert found.dtype == policy.removeprefix("mixed_")
    tolerance = {"bfloat16": 0.1, "float16": 0.02, "float64": 1e-4}[found.dtype.name]
    assert np.abs(tf.cast(found, tf.float64) - tf.cast(expected, tf.float64)).max() < tolerance * np.std(expected)
    assert all(np.isfinite(float(penalty)) for penalty in layer.losses)
    for gradient in tape.gradient(loss, layer.trainable_weights):
        assert np.all(np.isfinite(tf.cast(gradient, tf.float64)))
    for weight in layer.weights:
        if weight.name in FLOAT32_AT_LEAST:
            assert weight.dtype == ("float64" if policy == "float64" else "float32")
        else:
            assert weight.dtype == layer.variable_dtype
