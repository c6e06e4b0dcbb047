"""CNN-9 as the shipped configs describe it: sizes, initial weights, gradients, penalties."""

import contextlib
import functools
import itertools
import math
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from neural_similarity import config
from neural_similarity.families.image_recognition import network
from neural_similarity.layers import DynamicSimilarityConv2D, StaticSimilarityConv2D
from neural_similarity.models import cnn9
from neural_similarity.models.seeding import seeded

CLASSES = {"cifar10": 10, "cifar100": 100, "folder": 10}
PARAMETERS = {  # the last part of a config's name → trainable parameters with 10 classes
    "baseline": 511_200,
    "baseline_matched": 891_312,
    "static_dns": 511_281,
    "static_uns": 511_929,
    "static_uns_penalty_identity": 511_929,
    "dynamic_dns": 890_946,
    "dynamic_dns_decay10": 890_946,
    "nsl_fspherenet": 890_946,
    "dynamic_uns": 2_014_560,
    "sa_spherenet": 3_926_274,
    "sa_spherenet_no_query_relu": 3_926_274,
    **dict.fromkeys(("spherenet_cosine", "spherenet_linear", "spherenet_sigmoid", "cnn9_128"), 3_860_224),
    "spherenet_learnable_sigmoid": 3_860_224 + 3 * (128 + 192 + 256) + 256,
}
SHIPPED = sorted(
    file.relative_to(config.REPOSITORY / "configs").with_suffix("").as_posix()
    for name in CLASSES
    for file in (config.REPOSITORY / "configs" / name).rglob("*.yaml")
    if file.stem not in ("few_shot", "metric_learning")
)
VARIANTS = ("baseline", "static_dns", "static_uns", "dynamic_dns", "dynamic_uns", "nsl_fspherenet")


def build(name, *overrides):
    recipe = config.load(f"configs/{name}.yaml", overrides, environment={})
    return network(recipe, CLASSES[recipe.data.name])


@functools.cache
def model_of(variant):
    """A CIFAR-10 network that no test changes."""
    return build(f"cifar10/{variant}")


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


@contextlib.contextmanager
def borrowed(variant):
    """The same network for a test that changes it; afterwards it is as it was."""
    model = model_of(variant)
    weights = model.get_weights()
    yield model
    model.set_weights(weights)


def convolutions(model):
    """The nine inner ones."""
    return [model.get_layer(f"conv{block}_{i}") for block in (1, 2, 3) for i in range(3)]


# Sizes


@pytest.mark.parametrize("name", SHIPPED)
def test_parameters(name):
    """The classifier of 100 classes has 90 more filters, of 4×4 on the last block's width, or of 1×1 behind fc6."""
    folder, _, variant = name.partition("/")
    model = model_of(variant) if folder == "cifar10" else build(name)
    more_classes = 90 * math.prod(model.get_layer("score").kernel.shape[:3]) if folder == "cifar100" else 0
    assert count(model.trainable_weights) == PARAMETERS[variant.split("/")[-1]] + more_classes
    assert model.output_shape == (None, CLASSES[folder])


@pytest.mark.parametrize(
    ("size", "name"), [(16, "dynamic_uns"), (24, "dynamic_dns"), (64, "static_uns"), (8, "baseline")]
)
def test_other_sizes_change_the_classifier_alone(size, name):
    model = build(f"cifar10/{name}", "data.name=folder", f"data.image_size={size}", "model.widths=[4, 4, 4]")
    usual = build(f"cifar10/{name}", "model.widths=[4, 4, 4]")
    assert model.input_shape == (None, size, size, 3)
    assert model(np.zeros((2, size, size, 3), np.float32)).shape == (2, 10)
    assert model.get_layer("score").kernel.shape == (size // 8, size // 8, 4, 10)
    shapes = [[w.shape for w in m.weights if not w.path.startswith("score")] for m in (model, usual)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("size", [0, 4, 36, -8])
def test_a_size_that_does_not_halve_three_times_is_refused(size):
    with pytest.raises(ValueError, match=f"`image_size` must be a positive multiple of 8. Received: {size}"):
        cnn9(10, image_size=size)


def test_matched_baseline_is_as_large_as_dynamic_dns():
    assert PARAMETERS["baseline_matched"] == pytest.approx(PARAMETERS["dynamic_dns"], rel=0.005)


def test_what_the_similarity_adds():
    plain = PARAMETERS["baseline"]
    for variant, more in [("static_dns", 9 * 9), ("static_uns", 9 * 81)]:
        assert PARAMETERS[variant] - plain == more
    widths = [32] * 4 + [64] * 3 + [128] * 2  # of the inputs of the nine convolutions
    dns = sum(9 * i * 64 + 9 * 64 * 9 + 2 * 64 + 2 * 9 for i in widths)
    uns = sum(9 * i * 128 + 9 * 128 * 81 for i in widths)
    assert PARAMETERS["dynamic_dns"] - plain == dns == 379_746
    assert PARAMETERS["dynamic_uns"] - plain == uns == 1_503_360


# Initial weights


def initial_scales(model):
    """{path: the std that a filter has to start with}."""
    scales = {}
    for weight in model.trainable_weights:
        if "kernel" in weight.name:
            factor = {"kernel": 1.0, "kernel_1": 0.1, "kernel_2": 0.001}[weight.name]
            scales[weight.path] = factor * np.sqrt(2 / np.prod(weight.shape[:3]))
    return scales


@pytest.mark.parametrize("variant", VARIANTS)
def test_filters_start_he_normal_and_untruncated(variant):
    model = model_of(variant)
    scales = initial_scales(model)
    assert len(scales) == 11 + (18 if variant in ("dynamic_dns", "dynamic_uns", "nsl_fspherenet") else 0)
    everything = []
    for weight in model.trainable_weights:
        if weight.path in scales:
            z = np.ravel(weight) / scales[weight.path]
            assert np.std(z) == pytest.approx(1, abs=5 / np.sqrt(2 * z.size)), weight.path
            assert np.mean(z) == pytest.approx(0, abs=5 / np.sqrt(z.size)), weight.path
            everything.append(z)
    z = np.concatenate(everything)
    assert np.abs(z).max() > 4
    assert np.mean(z**4) - 3 == pytest.approx(0, abs=0.05)  # excess kurtosis; −0.6 if cut off at two std


def test_no_two_filters_start_with_the_same_numbers():
    for variant in ("dynamic_dns", "dynamic_uns", "static_uns"):
        starts = [np.ravel(w)[:200] for w in model_of(variant).trainable_weights if "kernel" in w.name]
        correlations = np.corrcoef(starts) - np.eye(len(starts))
        assert np.abs(correlations).max() < 0.4


@pytest.mark.parametrize("variant", VARIANTS)
def test_everything_else_starts_as_the_identity(variant):
    for weight in model_of(variant).weights:
        if weight.name == "gamma":
            start = np.zeros if weight.path.endswith("predictor/batch_norm_2/gamma") else np.ones
            np.testing.assert_array_equal(weight, start(weight.shape))
        elif weight.name == "similarity_matrix":
            np.testing.assert_array_equal(weight, np.ones(9) if variant == "static_dns" else np.eye(9))
        else:
            assert "kernel" in weight.name or not np.any(weight), weight.path


def test_released_similarity_starts_as_released():
    for variant, start in [("static_dns", [1, 0, 0, 0, 1, 0, 0, 0, 1]), ("static_uns", np.eye(9))]:
        for layer in convolutions(model_of(f"released/{variant}")):
            np.testing.assert_array_equal(layer.similarity_matrix, start)


def test_released_predictor_starts_as_released():
    for variant in ("dynamic_dns", "nsl_fspherenet"):
        layers = convolutions(model_of(f"released/{variant}"))
        norms = [norm for layer in layers for norm in layer.predictor.batch_norms]
        assert len(norms) == 18
        for norm in norms:
            np.testing.assert_array_equal(norm.gamma, np.ones(norm.gamma.shape))


def test_initial_weights_belong_to_the_seed():
    """Whatever was drawn before. The numbers are those that recorded runs started from."""
    first = model_of("dynamic_dns")
    random.random()
    same, other = build("cifar10/dynamic_dns"), build("cifar10/dynamic_dns", "seed=1")
    for weight, again, different in zip(first.weights, same.weights, other.weights, strict=True):
        np.testing.assert_array_equal(weight, again)
        if "kernel" in weight.name:
            assert np.all(np.mean(weight == different) < 0.01), weight.path
    starts = {
        "root/kernel": [0.29190785, -0.11358903, 0.1001508],
        "conv3_2/predictor/kernel_2": [-1.451943e-05, -6.0346123e-05, -4.736926e-05],
        "score/kernel": [-0.03420449, 0.0011016958, 0.0050331857],
    }
    for path, start in starts.items():
        (weight,) = (weight for weight in first.weights if weight.path == path)
        np.testing.assert_allclose(np.ravel(weight)[:3], start, rtol=1e-4)


def draws():
    """The next random numbers of everybody who has a global state."""
    return [random.random(), np.random.random(), float(tf.random.uniform(())), float(keras.random.uniform(()))]


def test_building_leaves_everybody_elses_random_numbers_alone():
    expected, found = [], []
    for numbers in (expected, found):
        keras.utils.set_random_seed(5)
        numbers += draws()
        if numbers is found:
            build("cifar10/dynamic_dns", "model.widths=[4, 4, 4]")
        numbers += draws()
    assert found == expected


def test_seeded_puts_random_back_after_an_error_too():
    before = random.getstate()
    with pytest.raises(KeyError), seeded(1):
        raise KeyError
    assert random.getstate() == before


# What a config says


def test_config_reaches_the_layers():
    model = build("cifar10/released/nsl_fspherenet", "similarity.filters=5", "batch_norm.decay=0.5")
    norms = [layer for layer in model.layers if layer.name.endswith("_bn")]
    for layer in convolutions(model):
        assert isinstance(layer, DynamicSimilarityConv2D)
        assert layer.structure == "diagonal"
        assert layer.predictor.normalization == "full"
        assert layer.predictor.kernels[0].shape[-1] == 5
        norms += layer.predictor.batch_norms
    assert len(norms) == 10 + 18
    assert {(norm.debias, norm.decay, norm.epsilon) for norm in norms} == {(False, 0.5, 1e-3)}
    static = convolutions(model_of("static_uns"))
    assert {(type(layer), layer.structure) for layer in static} == {(StaticSimilarityConv2D, "unconstrained")}
    assert {type(layer) for layer in convolutions(model_of("baseline"))} == {keras.layers.Conv2D}


def test_each_dynamic_layer_has_a_predictor_of_its_own():
    model = model_of("dynamic_dns")
    predictors = [layer.predictor for layer in convolutions(model)]
    assert len(set(map(id, predictors))) == 9
    paths = {weight.path for weight in model.weights}
    for layer in convolutions(model):
        assert f"{layer.name}/predictor/kernel_1" in paths
        assert f"{layer.name}/predictor/batch_norm_2/moving_variance" in paths


def test_precision_reaches_the_predictors():
    model = build("cifar10/dynamic_dns", "runtime.precision=mixed_bfloat16", "model.widths=[4, 4, 4]")
    policies = {layer.predictor.dtype_policy.name for layer in convolutions(model)}
    policies |= {norm.dtype_policy.name for layer in convolutions(model) for norm in layer.predictor.batch_norms}
    assert policies == {"mixed_bfloat16"}


def test_layers_are_in_the_published_order():
    names = [layer.name for layer in model_of("baseline").layers if not layer.name.endswith(("_bn", "_relu"))]
    blocks = [[f"conv{b}_{i}" for i in range(3)] + [f"pool{b}"] for b in (1, 2, 3)]
    assert names == ["image", "root", *itertools.chain(*blocks), "score", "logits"]
    shapes = [model_of("baseline").get_layer(f"pool{b}").output.shape for b in (1, 2, 3)]
    assert shapes == [(None, 16, 16, 32), (None, 8, 8, 64), (None, 4, 4, 128)]
    assert not any("bias" in weight.name for weight in model_of("baseline").weights)


# Gradients and precision


@pytest.mark.parametrize("variant", [*VARIANTS, "released/static_dns"])
def test_every_weight_gets_a_gradient(variant):
    images = tf.random.stateless_uniform((2, 32, 32, 3), (0, 1), 0, 255)
    with borrowed(variant) as model, tf.GradientTape() as tape:
        for weight in model.trainable_weights:
            if not np.any(weight):  # a predictor's filters learn once its γ has left 0
                weight.assign(0.1 + weight)
        logits = model(images, training=True)
        loss = tf.reduce_sum(logits * tf.random.stateless_normal(logits.shape, (2, 3)))
    for weight, gradient in zip(model.trainable_weights, tape.gradient(loss, model.trainable_weights), strict=True):
        assert np.all(np.isfinite(gradient)), weight.path
        assert np.any(gradient), weight.path


def test_mixed_precision_gives_float32_logits():
    images = tf.random.stateless_uniform((2, 32, 32, 3), (0, 1), 0, 255)
    expected = model_of("dynamic_dns")(images)
    model = build("cifar10/dynamic_dns", "runtime.precision=mixed_bfloat16")
    logits = model(images)
    assert logits.dtype == tf.float32
    assert model.get_layer("conv3_2").compute_dtype == "bfloat16"
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert np.abs(logits - expected).max() < 0.1 * np.std(expected)


# Penalties


def halved_squares(weights):
    return sum(float(np.sum(np.square(weight, dtype=np.float64))) for weight in weights) / 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("baseline", lambda rest, matrices, predictors: 5e-4 * rest),
        ("static_dns", lambda rest, matrices, predictors: 5e-4 * rest),
        ("static_uns", lambda rest, matrices, predictors: 5e-4 * rest + 5e-3 * halved_squares(matrices)),
        (
            "ablations/static_uns_penalty_identity",
            lambda rest, matrices, predictors: 5e-4 * rest + 5e-3 * halved_squares([m - np.eye(9) for m in matrices]),
        ),
        ("dynamic_dns", lambda rest, matrices, predictors: 5e-4 * (rest + predictors)),
        ("ablations/dynamic_dns_decay10", lambda rest, matrices, predictors: 5e-4 * (rest + 10 * predictors)),
        ("dynamic_uns", lambda rest, matrices, predictors: 5e-4 * (rest + predictors)),
    ],
)
def test_penalty(name, expected):
    """`rest`: filters, gammas and betas, the predictors' too; `predictors`: the filters of the predictors."""
    rng = np.random.default_rng(0)
    with borrowed(name) as model:
        weights = model.trainable_weights
        for weight in weights:  # gammas, betas and M away from their start; predictors large enough to be seen
            weight.assign(100 * weight if weight.name[:-1] == "kernel_" else weight + rng.standard_normal(weight.shape))
        matrices = [weight.numpy() for weight in weights if weight.name == "similarity_matrix"]
        predictors = [weight for weight in weights if weight.name in ("kernel_1", "kernel_2")]
        rest = [weight for weight in weights if weight.name in ("kernel", "gamma", "beta")]
        assert len(matrices) + len(predictors) + len(rest) == len(weights)
        assert (len(matrices), len(predictors)) == (9 * ("static" in name), 18 * ("dynamic" in name))
        found = float(tf.add_n(model.losses))
        assert found == pytest.approx(expected(halved_squares(rest), matrices, halved_squares(predictors)), rel=1e-5)
        assert 5e-4 * halved_squares(predictors) > 1e-3 * found or not predictors
