"""SphereNet-9 and its plain counterpart as the shipped configs describe them."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from neural_similarity import config as configs
from neural_similarity import models
from neural_similarity.families.image_recognition import build_loss, network, penalties
from neural_similarity.layers import GlobalSimilarity2D, SphereConv2D
from neural_similarity.training.loop import gradient_step
from neural_similarity.training.optimizers import build_optimizer

ROWS = (
    "sa_spherenet",
    "spherenet_cosine",
    "spherenet_linear",
    "spherenet_sigmoid",
    "spherenet_learnable_sigmoid",
    "cnn9_128",
)
NARROW = "model.widths=[8, 16, 24]"
each_row = pytest.mark.parametrize("row", ROWS)


def config_of(row, *overrides):
    return configs.load(f"configs/cifar10/{row}.yaml", overrides, environment={})


def narrow(row, *overrides):
    config = config_of(row, NARROW, *overrides)
    return config, network(config, 10)


def images(batch=2, size=32):
    return tf.random.stateless_uniform((batch, size, size, 3), (0, 1), 0, 255)


def moved(model):
    """The model with every weight away from its start."""
    random = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(weight + 0.2 * random.standard_normal(weight.shape))
    return model


@each_row
def test_layers(row):
    _, model = narrow(row)
    stages = [[f"conv{s}_{i}{part}" for i in range(3) for part in ("", "_bn", "_relu")] for s in (1, 2, 3)]
    for s, stage in enumerate(stages, start=1):
        stage += [f"pool{s}", *([f"att{s}"] if row == "sa_spherenet" and s < 3 else [])]
    head = ["fc6", *(["fc6_bn"] if row != "sa_spherenet" else []), "score", "logits"]
    assert [layer.name for layer in model.layers] == ["image", "centred", *itertools.chain(*stages), *head]
    convolutions = [layer for layer in model.layers if layer.name.startswith("conv") and hasattr(layer, "kernel")]
    convolutions.append(model.get_layer("fc6"))
    if row == "cnn9_128":
        assert not any(isinstance(layer, SphereConv2D) for layer in model.layers)
    else:
        operator = row.removeprefix("spherenet_") if row != "sa_spherenet" else "cosine"
        assert {layer.operator for layer in convolutions} == {operator}
    assert not any("bias" in weight.name for weight in model.weights)
    assert model.get_layer("fc6").output.shape == (None, 1, 1, 24)


def test_images_are_centred():
    _, model = narrow("sa_spherenet")
    x = np.arange(256, dtype=np.float32)[:, None, None, None] * np.ones((1, 32, 32, 3), np.float32)
    np.testing.assert_array_equal(model.get_layer("centred")(x), (x - 127.5) / 128)
    _, model = narrow("sa_spherenet", "data.input_scaling=none")
    assert "centred" not in [layer.name for layer in model.layers]


@each_row
def test_starts(row):
    model = network(config_of(row), 10)
    for weight in model.trainable_weights:
        if "kernel" in weight.name:
            scale = np.sqrt(2 / np.prod(weight.shape[:3]))
            assert np.std(weight) == pytest.approx(scale, rel=5 / np.sqrt(2 * np.size(weight))), weight.path
        elif weight.name == "k":
            np.testing.assert_array_equal(weight, np.full(weight.shape, np.float32(0.7)))
        elif weight.name == "gamma":
            assert np.all(np.asarray(weight) == (0 if weight.path.startswith("att") else 1)), weight.path
        else:
            assert not np.any(weight), weight.path


@each_row
def test_penalties(row):
    _, model = narrow(row)
    decayed, angles = 0.0, 0.0
    for weight in moved(model).trainable_weights:
        value, layer = np.asarray(weight, np.float64), weight.path.split("/")[0]
        body = (layer == "fc6" or layer.startswith("conv")) and weight.name == "kernel"
        attention = layer.startswith("att") and weight.name != "gamma"
        if (body and row != "cnn9_128") or attention:
            w = value.reshape(-1, value.shape[-1])
            angles += 2e-4 / 2 * np.sum((w.T @ w - np.eye(w.shape[1])) ** 2)
        if attention or layer == "score" or layer.endswith("_bn") or (body and row == "cnn9_128"):
            decayed += 5e-4 / 2 * np.sum(value**2)
    found = penalties(model)
    assert float(found["penalty"]) == pytest.approx(decayed, rel=1e-5)
    assert ("orthogonality" in found) == (row != "cnn9_128")
    assert float(found.get("orthogonality", 0)) == pytest.approx(angles, rel=1e-5)
    assert float(tf.add_n(model.losses)) == pytest.approx(decayed + angles, rel=1e-5)  # as Keras adds them up


@each_row
def test_every_weight_gets_a_gradient(row):
    config, model = narrow(row)
    moved(model)
    with tf.GradientTape() as tape:
        _, parts = build_loss(config, model)((images(), tf.constant([1, 7])))
    assert set(parts) == {"cross_entropy", "penalty", "accuracy", *(["orthogonality"] if row != "cnn9_128" else [])}
    for weight, gradient in zip(
        model.trainable_weights, tape.gradient(parts["cross_entropy"], model.trainable_weights), strict=True
    ):
        assert np.all(np.isfinite(gradient)), weight.path
        assert np.any(gradient), weight.path


def test_attention_starts_as_nothing():
    """γ is 0: with the same other weights the logits are those of the network without."""
    _, looking = narrow("sa_spherenet")
    _, blind = narrow("sa_spherenet", "model.attention=false")
    assert not any(isinstance(layer, GlobalSimilarity2D) for layer in blind.layers)
    blind.set_weights([weight for weight in looking.weights if not weight.path.startswith("att")])
    np.testing.assert_array_equal(looking(images()), blind(images()))
    for name in ("att1", "att2"):
        looking.get_layer(name).gamma.assign(0.5)
    assert np.max(np.abs(looking(images()) - blind(images()))) > 1e-4


@pytest.mark.parametrize("row", ["sa_spherenet", "cnn9_128"])
@pytest.mark.parametrize("size", [8, 24, 48])
def test_other_sizes_change_fc6_alone(row, size):
    _, model = narrow(row, "data.name=folder", f"data.image_size={size}")
    _, usual = narrow(row)
    assert model(images(size=size)).shape == (2, 10)
    assert model.get_layer("fc6").kernel.shape == (size // 8, size // 8, 24, 24)
    shapes = [[w.shape for w in m.weights if not w.path.startswith("fc6")] for m in (model, usual)]
    assert shapes[0] == shapes[1]


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"`image_size` must be a positive multiple of 8"):
        models.spherenet9(10, image_size=20)
    with pytest.raises(ValueError, match=r"`input_scaling` must be 'none' or 'centred'\. Received: 'zero'"):
        models.cnn9_128(10, input_scaling="zero")
    with pytest.raises(ValueError, match="`operator` must be one of"):
        models.spherenet9(10, "angle")
    with pytest.raises(ValueError, match="8 or more where `filters`"):
        models.spherenet9(10, widths=(4, 8, 8), attention=True)


def test_query_relu_is_the_configs():
    """Where the query is negative they differ; the golden query filters are positive, so that parity is blind."""
    ours, ablation = (narrow(row)[1] for row in ("sa_spherenet", "ablations/sa_spherenet_no_query_relu"))
    assert [model.get_layer("att1").query_relu for model in (ours, ablation)] == [True, False]
    for model in (ours, ablation):
        model.set_weights(ours.get_weights())
        model.get_layer("att1").gamma.assign(1.0)
    assert np.max(np.abs(ours(images()) - ablation(images()))) > 1e-4


def test_recipe_is_the_released_codes():
    released = config_of("released/sa_spherenet").to_dict()
    assert released["data"] == {
        "name": "cifar10",
        "root": "data",
        "global_batch_size": 128,
        "augmentation": "flip",
        "input_scaling": "centred",
        "validation_fraction": 0.0,
    }
    assert released["model"] == {
        "name": "spherenet9",
        "widths": [128, 192, 256],
        "head_batch_norm": False,
        "operator": "cosine",
        "attention": True,
        "query_relu": True,
        "orthogonality": 2e-4,
    }
    assert released["batch_norm"] == {"debias": False, "decay": 0.999}
    assert released["loss"] == {"label_smoothing": 0.01, "weight_decay": 5e-4}
    assert released["optimizer"] == {
        "name": "adam",
        "learning_rate": 1e-3,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-8,
    }
    assert released["schedule"] == {
        "train_steps": 64_000,
        "boundaries_steps": [34_000, 54_000],
        "factor": 0.1,
        "warmup_steps": 0,
        "scale": 1.0,
    }


def test_mixed_precision_gives_float32_logits():
    _, model = narrow("sa_spherenet")
    for name in ("att1", "att2"):
        model.get_layer(name).gamma.assign(1.0)
    _, mixed = narrow("sa_spherenet", "runtime.precision=mixed_bfloat16")
    mixed.set_weights(model.get_weights())
    expected, logits = (each(images(), training=True) for each in (model, mixed))
    assert logits.dtype == tf.float32
    assert mixed.get_layer("att2").compute_dtype == "bfloat16"
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    assert np.abs(logits - expected).max() < 0.2 * np.std(expected)


@pytest.mark.slow
@pytest.mark.parametrize("row", ["sa_spherenet", "spherenet_learnable_sigmoid"])
def test_whole_step_compiles(row):
    """One XLA program gives the step that TensorFlow runs."""
    results = []
    for jit in (False, True):
        config, model = narrow(row, "data.name=folder", "data.image_size=8")
        moved(model)
        optimizer = build_optimizer(config.optimizer, 1e-3)
        optimizer.build(model.trainable_variables)
        step = tf.function(gradient_step(model, optimizer, build_loss(config, model)), jit_compile=jit)
        metrics = step((images(4, 8), tf.constant([0, 3, 5, 9])))
        results.append([*metrics.values(), *model.weights])
    for compiled, plain in zip(*reversed(results), strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=2e-3, atol=2e-3)
