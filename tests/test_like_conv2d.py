"""What `Conv2D` does, the convolutions here do, and what they do not do they refuse: the rows of docs/layers.md."""

import functools
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_checks import (
    IMAGE,
    KERAS_WARNINGS,
    STRUCTURES,
    assert_equal_weights,
    assert_near,
    normal,
    randomise,
    saved_and_loaded,
)

from neural_similarity.interop.merge import merge
from neural_similarity.layers import (
    BatchNormalization2D,
    DynamicSimilarityConv2D,
    GlobalSimilarity2D,
    NeuralSimilarityPredictor,
    SphereConv2D,
    StaticSimilarityConv2D,
)

pytestmark = KERAS_WARNINGS

CONVOLUTIONS = {
    "static": functools.partial(StaticSimilarityConv2D, structure="unconstrained"),
    "dynamic": lambda *args, **kwargs: DynamicSimilarityConv2D(
        *args, **{"predictor": NeuralSimilarityPredictor(filters=6), **kwargs}
    ),
    "sphere": functools.partial(SphereConv2D, operator="learnable_sigmoid", magnitude="tanh"),
}
each_convolution = pytest.mark.parametrize("kind", CONVOLUTIONS)


def network(kind, **arguments):
    """A model of one such layer, its weights away from their start, and a batch for it."""
    inputs = keras.Input(IMAGE[1:])
    model = keras.Model(inputs, CONVOLUTIONS[kind](4, 3, name="convolution", **arguments)(inputs))
    randomise(model)
    return model, normal(1, *IMAGE)


# Arguments


@each_convolution
def test_positional_arguments(kind):
    layer = CONVOLUTIONS[kind](5, 3, 2)
    assert (layer.filters, layer.kernel_size, layer.strides) == (5, (3, 3), (2, 2))
    assert layer(normal(1, *IMAGE)).shape == keras.layers.Conv2D(5, 3, 2)(normal(1, *IMAGE)).shape


@pytest.mark.parametrize("layer_class", [StaticSimilarityConv2D, DynamicSimilarityConv2D, SphereConv2D])
def test_arguments_that_conv2d_lacks_go_by_their_names(layer_class):
    with pytest.raises(TypeError, match="positional arguments"):
        layer_class(5, 3, 2, "diagonal")


@each_convolution
@pytest.mark.parametrize(
    "geometry",
    [{"strides": 2}, {"dilation_rate": 2}, {"padding": "same"}, {"strides": (2, 1), "padding": "same"}],
    ids=str,
)
def test_strides_dilation_and_padding(kind, geometry):
    """The output has `Conv2D`'s shape. That its values are right, the layers' own tests hold against loops."""
    layer, plain = CONVOLUTIONS[kind](4, 3, **geometry), keras.layers.Conv2D(4, 3, **geometry)
    x = normal(1, *IMAGE)
    assert layer(x).shape == layer.compute_output_shape(IMAGE) == plain(x).shape


@each_convolution
def test_strides_with_dilation_are_refused_by_conv2d(kind):
    for new_layer in (CONVOLUTIONS[kind], keras.layers.Conv2D):
        with pytest.raises(ValueError, match="`strides > 1` not supported in conjunction with `dilation_rate > 1`"):
            new_layer(4, 3, strides=2, dilation_rate=2)


@pytest.mark.parametrize("kind", ["static", "sphere"])
def test_even_kernels(kind):
    layer = CONVOLUTIONS[kind](4, (2, 4), padding="same")
    assert layer(normal(1, *IMAGE)).shape == (2, 6, 5, 4)


def test_even_kernels_have_no_centre_for_a_dynamic_m():
    with pytest.raises(ValueError, match="odd kernel size, as M is read at the patch's centre"):
        DynamicSimilarityConv2D(4, 2)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("groups", [1, 2])
def test_groups_and_channels_first_of_the_static_layer(groups, structure):
    """M acts on the taps, which are the same for all channels, wherever these stand and however they are grouped."""
    last = StaticSimilarityConv2D(6, 3, structure=structure, groups=groups)
    first = StaticSimilarityConv2D(6, 3, structure=structure, groups=groups, data_format="channels_first")
    plain = keras.layers.Conv2D(6, 3, groups=groups)
    x = normal(1, 2, 6, 5, 4)
    x_first = tf.transpose(x, (0, 3, 1, 2))
    for layer, images in ((last, x), (first, x_first), (plain, x)):
        layer.build(images.shape)
    randomise(last)
    first.set_weights(last.get_weights())
    plain.set_weights([last.merged_kernel(), last.bias])
    assert_near(last(x), plain(x))
    assert_near(first(x_first), tf.transpose(plain(x), (0, 3, 1, 2)))


@pytest.mark.parametrize("kind", ["dynamic", "sphere"])
@pytest.mark.parametrize("arguments", [{"groups": 2}, {"data_format": "channels_first"}], ids=str)
def test_groups_and_channels_first_are_refused(kind, arguments):
    with pytest.raises(ValueError, match=r"needs (groups=1|data_format='channels_last')"):
        CONVOLUTIONS[kind](4, 3, **arguments)


@each_convolution
def test_bias_activation_and_constraint(kind):
    constraint = keras.constraints.UnitNorm(axis=[0, 1, 2])
    model, x = network(kind, activation="relu", bias_initializer="ones", kernel_constraint=constraint)
    layer = model.get_layer("convolution")
    bare = CONVOLUTIONS[kind](4, 3, use_bias=False)
    bare.build(IMAGE)
    bare.set_weights([weight for weight in layer.weights if weight is not layer.bias])
    assert_near(model(x), tf.nn.relu(bare(x) + layer.bias))
    model.compile("sgd", "mse")
    model.fit(x, model(x), verbose=0)
    assert_near(tf.norm(tf.reshape(layer.kernel, (-1, 4)), axis=0), np.ones(4))


# Models


def stack(inputs):
    """The convolutions behind each other, global similarity, and a classifier."""
    uns = NeuralSimilarityPredictor(6, (1, 3), structure="unconstrained")
    x = StaticSimilarityConv2D(4, 3, structure="unconstrained", padding="same")(inputs)
    x = BatchNormalization2D()(x)
    x = DynamicSimilarityConv2D(4, 3, 2, predictor=NeuralSimilarityPredictor(6))(x)
    x = DynamicSimilarityConv2D(4, (1, 3), structure="unconstrained", predictor=uns, padding="same", activation="relu")(
        x
    )
    x = SphereConv2D(4, 3, operator="learnable_sigmoid", magnitude="segmented", padding="same")(x)
    return keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(GlobalSimilarity2D(2)(x)))


def functional():
    inputs = keras.Input((None, None, 3))
    return keras.Model(inputs, stack(inputs))


def sequential():
    predictor = NeuralSimilarityPredictor(6, (3, 1))
    return keras.Sequential(
        [
            StaticSimilarityConv2D(4, 3),
            DynamicSimilarityConv2D(4, (3, 1), predictor=predictor),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        predictor = NeuralSimilarityPredictor(6, normalization="full")
        self.convolution = DynamicSimilarityConv2D(4, 3, predictor=predictor)
        self.head = keras.layers.Dense(2)

    def call(self, inputs, training=None):  # without `training` Keras would fit it in evaluation mode
        return self.head(keras.ops.mean(self.convolution(inputs), (1, 2)))


@pytest.mark.parametrize(
    ("build", "jit_compile"),
    [(functional, False), (sequential, True), (Subclassed, False)],
    ids=["functional", "sequential-compiled", "subclassed"],
)
def test_fit_and_predict(build, jit_compile):
    model = build()
    x, labels = normal(1, 8, 7, 6, 3), tf.constant([0, 1] * 4)
    model(x)
    before = [weight.numpy() for weight in model.weights]
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=jit_compile)
    history = model.fit(x, labels, batch_size=4, epochs=2, verbose=0).history["loss"]
    assert np.all(np.isfinite(history))
    for weight, old in zip(model.weights, before, strict=True):
        assert np.all(np.isfinite(weight)), weight.path
        assert np.any(weight != old), weight.path
    np.testing.assert_allclose(model.predict(x, verbose=0), model(x), rtol=1e-3, atol=1e-4)


def test_images_of_any_size():
    model = functional()
    for size in [(7, 6), (5, 8)]:
        x = normal(1, 2, *size, 3)
        inputs = keras.Input((*size, 3))
        fixed = keras.Model(inputs, stack(inputs))
        fixed.set_weights(model.get_weights())
        assert_near(tf.function(model)(x), fixed(x))


@each_convolution
def test_clone_and_weights(kind):
    """`clone_model` gives a network of its own, and `set_weights(get_weights())` makes the two equal."""
    model, x = network(kind)
    clone = keras.models.clone_model(model)
    assert [weight.path for weight in clone.weights] == [weight.path for weight in model.weights]
    assert not {id(weight) for weight in clone.weights} & {id(weight) for weight in model.weights}
    assert np.abs(clone(x) - model(x)).max() > 1e-3
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone(x), model(x))


@each_convolution
def test_keras_file(kind, tmp_path):
    model, x = network(kind)
    again = saved_and_loaded(model, tmp_path)
    assert_equal_weights(again, model)
    np.testing.assert_array_equal(again(x), model(x))


@each_convolution
def test_weights_file(kind, tmp_path):
    model, x = network(kind)
    other = keras.models.clone_model(model)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other(x), model(x))


@each_convolution
def test_export(kind, tmp_path):
    model, x = network(kind)
    model.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(tmp_path / "exported")
    assert_near(exported.serve(x), model(x))


# LoRA and quantisation


def with_lora(kind, **arguments):
    model, x = network(kind, **arguments)
    before = model(x)
    layer = model.get_layer("convolution")
    layer.enable_lora(2)
    assert_near(model(x), before)  # it starts with no update
    layer.lora_kernel_b.assign(normal(3, *layer.lora_kernel_b.shape))
    assert np.abs(model(x) - before).max() > 0.01
    return model, x


@each_convolution
def test_lora_trains_its_update_and_what_is_not_the_kernel(kind):
    model, x = with_lora(kind)
    names = {weight.name for weight in model.trainable_weights}
    assert "kernel" not in names
    assert {"lora_kernel_a", "lora_kernel_b", "bias"} < names
    before = {weight.path: weight.numpy() for weight in model.weights}
    model.compile("adam", "mse")
    model.fit(x, 1 + model(x), verbose=0)
    for weight in model.trainable_weights:
        assert np.any(weight != before[weight.path]), weight.path
    (kernel,) = (weight for weight in model.weights if weight.path == "convolution/kernel")
    np.testing.assert_array_equal(kernel, before["convolution/kernel"])


@each_convolution
def test_keras_file_with_lora(kind, tmp_path):
    """As with `Conv2D`, the file holds the kernel with the update added, and the loaded update starts at zero."""
    model, x = with_lora(kind)
    again = saved_and_loaded(model, tmp_path)
    layer = again.get_layer("convolution")
    assert layer.lora_enabled
    assert not np.any(layer.lora_kernel_b)
    assert_near(again(x), model(x))
    assert_near(saved_and_loaded(again, tmp_path)(x), model(x))


@each_convolution
def test_clone_with_lora(kind):
    model, x = with_lora(kind)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone(x), model(x))


@pytest.mark.parametrize("structure", STRUCTURES)
def test_merging_takes_the_update_of_lora_in(structure):
    model, x = with_lora("static", structure=structure)
    merged = merge(model)
    assert type(merged.get_layer("convolution")) is keras.layers.Conv2D
    assert not merged.get_layer("convolution").lora_enabled
    assert_near(merged(x), model(x))


@each_convolution
def test_quantize_is_not_implemented_as_in_conv2d(kind):
    model, _ = network(kind)
    plain = keras.layers.Conv2D(4, 3)
    plain.build(IMAGE)
    for layer in (plain, model.get_layer("convolution")):
        with pytest.raises(NotImplementedError, match="does not have a `quantize` method implemented"):
            layer.quantize("int8")


# The page and the package


def test_the_page_names_tests_that_exist():
    tests = Path(__file__).parent
    page = (tests.parent / "docs" / "layers.md").read_text(encoding="utf-8")

    def named(text):  # "`test_like_conv2d.py`: `test_export`" gives (test_like_conv2d.py, test_export)
        return re.findall(r"`(test_\w+\.py)`: `(test_\w+)`", text)

    table, *_ = page.partition("\n## ")
    rows = [line for line in table.splitlines() if line.startswith("| ") and "---" not in line]
    assert len(rows) > 10
    for row in rows[1:]:
        assert named(row), row
    for file, test in named(page):
        assert f"def {test}(" in (tests / file).read_text(encoding="utf-8")


def test_layers_import_neither_config_nor_plots():
    program = """
import sys
for name in ("matplotlib", "sklearn", "pydantic", "yaml", "PIL", "tqdm"):
    sys.modules[name] = None  # an import of it fails; Keras' own are optional
from neural_similarity.layers import DynamicSimilarityConv2D
print(DynamicSimilarityConv2D(4, 3).compute_output_shape((None, 8, 8, 3)))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.strip() == "(None, 6, 6, 4)", result.stderr


@pytest.mark.parametrize(
    ("make", "average"),
    [
        (lambda: DynamicSimilarityConv2D(2, 3, padding="same"), lambda layer: layer.predictor.batch_norms[0].updates),
        (keras.layers.BatchNormalization, lambda layer: layer.moving_mean),
    ],
    ids=["dynamic", "keras"],
)
def test_a_subclassed_model_needs_training(make, average):
    """Keras tells inner layers that the model trains only where the model's `call` names `training`."""

    class Blind(keras.Model):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def call(self, inputs):
            return self.layer(inputs)

    class Told(Blind):
        def call(self, inputs, training=None):
            return self.layer(inputs)

    images = np.random.default_rng(0).normal(size=(8, 6, 6, 2)).astype("float32")
    for form, moved in ((Blind, False), (Told, True)):
        model = form(make())
        model.compile("sgd", "mse")
        model.fit(images, images, verbose=0)
        assert bool(np.any(np.asarray(average(model.layer)) != 0)) == moved
