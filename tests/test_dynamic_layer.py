"""`DynamicSimilarityConv2D`: the patch mixed by the M at its centre; and what may predict that M, shared or not."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_checks import (
    GEOMETRIES,
    IMAGE,
    KERAS_WARNINGS,
    assert_near,
    each_structure,
    normal,
    plain_twin,
    randomise,
    saved_and_loaded,
)

from neural_similarity.layers import DynamicSimilarityConv2D, NeuralSimilarityPredictor

pytestmark = KERAS_WARNINGS


# The convolution


def predicted(layer, x):
    """A dynamic layer's M, full, at every pixel of its input."""
    matrix = layer.predictor(x)
    return matrix[..., None] * tf.eye(matrix.shape[-1]) if layer.structure == "diagonal" else matrix


@each_structure
def test_layer_mixes_the_patch_by_the_predicted_m(structure):
    x = normal(1, *IMAGE)
    predictor = NeuralSimilarityPredictor(5, structure=structure)
    layer = DynamicSimilarityConv2D(4, 3, structure=structure, padding="same", predictor=predictor)
    layer.build(IMAGE)
    randomise(layer)
    patches = tf.reshape(tf.image.extract_patches(x, [1, 3, 3, 1], [1] * 4, [1] * 4, "SAME"), (*IMAGE[:3], 9, 3))
    w = tf.reshape(layer.kernel, (9, 3, 4))
    expected = tf.einsum("byxst,sio,byxti->byxo", predicted(layer, x), w, patches) + layer.bias
    assert_near(layer(x), expected, 1e-4)
    assert np.std(layer.predictor(x), axis=(0, 1, 2)).max() > 0.01  # M does differ between pixels


class Numbered(keras.layers.Layer):
    """Predicts c·I at pixel c: 1, 2, 3, … row by row."""

    def __init__(self, identity, **kwargs):
        super().__init__(**kwargs)
        self.identity = identity

    def call(self, inputs):
        batch, height, width, _ = inputs.shape
        number = tf.reshape(tf.range(1.0, height * width + 1), (1, height, width, *[1] * len(self.identity.shape)))
        return tf.repeat(number * self.identity, batch, axis=0)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@each_structure
def test_map_is_read_at_the_centre_of_every_patch(geometry, structure):
    """A predictor that answers c·I at pixel c makes the layer c times a plain convolution."""
    kernel_size = geometry["kernel_size"]
    kh, kw = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
    predictor = Numbered(tf.ones(kh * kw) if structure == "diagonal" else tf.eye(kh * kw))
    layer = DynamicSimilarityConv2D(4, structure=structure, predictor=predictor, **geometry)
    layer.build(IMAGE)

    middle = np.zeros((kh, kw, 1, 1), np.float32)
    middle[kh // 2, kw // 2] = 1
    number = tf.reshape(tf.range(1.0, 31.0), (1, 6, 5, 1))
    centre = tf.nn.conv2d(
        number, middle, layer.strides, layer.padding.upper(), dilations=layer.dilation_rate
    )  # what a kernel sees that looks at its middle tap alone
    twin = plain_twin(layer, layer.kernel)
    x = normal(1, *IMAGE)
    found = layer(x)
    assert found.shape == layer.compute_output_shape(IMAGE)
    assert_near(found, centre * twin(x), 1e-4)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@each_structure
def test_zeroed_predictor_leaves_a_plain_convolution(geometry, structure):
    x = normal(1, *IMAGE)
    layer = DynamicSimilarityConv2D(4, structure=structure, **geometry)
    layer.build(IMAGE)
    randomise(layer)
    for kernel in layer.predictor.kernels:
        kernel.assign(tf.zeros_like(kernel))
    for norm in layer.predictor.batch_norms:
        norm.beta.assign(tf.zeros_like(norm.beta))
        norm.moving_mean.assign(tf.zeros_like(norm.beta))
    for training in (True, False):
        assert_near(layer(x, training=training), plain_twin(layer, layer.kernel)(x))


GEOMETRY = "DynamicSimilarityConv2D needs groups=1 and an odd kernel size"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"groups": 2}, GEOMETRY),
        ({"data_format": "channels_first"}, "DynamicSimilarityConv2D needs data_format='channels_last'"),
        ({"kernel_size": 2}, GEOMETRY),
        ({"kernel_size": (3, 4)}, "kernel_size=(3, 4)"),
        ({"strides": 2, "dilation_rate": 2}, "dilation_rate=(2, 2)"),
        ({"structure": "dns"}, "`structure` must be one of 'diagonal', 'unconstrained'. Received: 'dns'"),
        ({"predictor": "small"}, "`predictor` must be a Keras layer, its serialised dict, or None. Received: 'small'"),
    ],
)
def test_what_is_refused(arguments, expected):
    with pytest.raises(ValueError) as caught:
        DynamicSimilarityConv2D(**{"filters": 4, "kernel_size": 3, **arguments})
    assert expected in str(caught.value)


# What may be a predictor


@keras.saving.register_keras_serializable("tests")
class Brightness(NeuralSimilarityPredictor):
    """A user's own: the usual one, times a learned brightness."""

    def __init__(self, start=1.0, **kwargs):
        super().__init__(**kwargs)
        self.start = start

    def build(self, input_shape):
        super().build(input_shape)
        self.brightness = self.add_weight(
            name="brightness", shape=(), initializer=keras.initializers.Constant(self.start)
        )

    def call(self, inputs):
        return self.brightness * super().call(inputs)

    def get_config(self):
        return {**super().get_config(), "start": self.start}


@keras.saving.register_keras_serializable("tests")
class WithoutBuild(keras.layers.Layer):
    """A user's own that leaves it to Keras to build its parts."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = keras.layers.Conv2D(4, 3, padding="same", activation="relu")
        self.last = keras.layers.Conv2D(9, 1)

    def call(self, inputs):
        return 1 + self.last(self.first(inputs))


def small_network():
    return keras.Sequential([keras.layers.Conv2D(5, 1, activation="tanh"), keras.layers.Conv2D(9, 1)])


@pytest.mark.parametrize(
    "new_predictor",
    [
        lambda: None,
        lambda: NeuralSimilarityPredictor(filters=5),
        lambda: keras.saving.serialize_keras_object(NeuralSimilarityPredictor(filters=5)),
        lambda: Brightness(start=0.5, filters=5),
        lambda: keras.layers.Conv2D(9, 3, padding="same"),
        WithoutBuild,
        small_network,
    ],
    ids=["default", "ours", "dict", "subclass", "Conv2D", "without-build", "Sequential"],
)
def test_any_layer_may_predict_m(new_predictor, tmp_path):
    """It trains with the layer, and a `.keras` file and `from_config` keep it."""
    layer = DynamicSimilarityConv2D(4, 3, padding="same", name="tried", predictor=new_predictor())
    inputs = keras.Input(IMAGE[1:])
    model = keras.Model(inputs, layer(inputs))
    x = normal(1, *IMAGE)
    before = [weight.numpy() for weight in layer.predictor.trainable_weights]
    assert before
    model.compile("adam", "mse")
    model.fit(x, normal(2, *IMAGE[:3], 4), epochs=2, verbose=0)
    changes = zip(layer.predictor.trainable_weights, before, strict=True)
    assert all(np.any(weight != old) for weight, old in changes)

    again = saved_and_loaded(model, tmp_path)
    for found, expected in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(again(x), model(x))
    assert type(again.layers[1].predictor) is type(layer.predictor)

    copy = DynamicSimilarityConv2D.from_config(layer.get_config())
    copy.build(IMAGE)
    copy.set_weights(layer.get_weights())
    assert_near(copy(x), layer(x))


def test_default_predictor_is_ours_with_the_layers_geometry():
    layer = DynamicSimilarityConv2D(4, (5, 1), structure="unconstrained", dtype="mixed_bfloat16")
    assert type(layer.predictor) is NeuralSimilarityPredictor
    assert (layer.predictor.kernel_size, layer.predictor.structure) == ((5, 1), "unconstrained")
    assert layer.predictor.dtype_policy.name == "mixed_bfloat16"
    layer = DynamicSimilarityConv2D(4, 3, name="conv1_0")
    layer.build(IMAGE)
    assert [weight.path for weight in layer.predictor.weights if "1" in weight.name or "norm_1" in weight.path] == [
        "conv1_0/predictor/kernel_1",
        *(
            f"conv1_0/predictor/batch_norm_1/{name}"
            for name in ("gamma", "beta", "moving_mean", "moving_variance", "updates")
        ),
    ]


MUST = "must return M for the 9 taps of the kernel at every pixel: shape "


@pytest.mark.parametrize(
    ("predictor", "structure", "expected"),
    [
        (
            lambda: NeuralSimilarityPredictor(4, kernel_size=5),
            "diagonal",
            [MUST + "(2, 6, 5, 9). Received a predictor that returns shape (2, 6, 5, 25).", "kernel_size=(3, 3)"],
        ),
        (
            lambda: NeuralSimilarityPredictor(4, structure="unconstrained"),
            "diagonal",
            [MUST + "(2, 6, 5, 9). Received a predictor that returns shape (2, 6, 5, 9, 9).", "structure='diagonal'"],
        ),
        (
            lambda: NeuralSimilarityPredictor(4),
            "unconstrained",
            [MUST + "(2, 6, 5, 9, 9). Received a predictor that returns shape (2, 6, 5, 9).", "'unconstrained'"],
        ),
        (
            lambda: keras.layers.Conv2D(9, 3),
            "diagonal",
            [MUST + "(2, 6, 5, 9). Received a predictor that returns shape (2, 4, 3, 9)."],
        ),
        (
            lambda: built_for(NeuralSimilarityPredictor(4, name="used"), 4),
            "diagonal",
            [
                "The predictor of layer 'tried' cannot read the layer's input of shape (2, 6, 5, 3). Layers that share",
                "layer 'used'",
                "was built for inputs of 4 channels",
            ],
        ),
    ],
    ids=["kernel-size", "unconstrained", "diagonal", "smaller", "width"],
)
def test_a_predictor_that_does_not_fit_is_refused(predictor, structure, expected):
    layer = DynamicSimilarityConv2D(4, 3, structure=structure, predictor=predictor(), name="tried")
    with pytest.raises(ValueError) as caught:
        layer.build(IMAGE)
    for part in expected:
        assert part in str(caught.value)


def built_for(predictor, channels):
    predictor.build((None, None, None, channels))
    return predictor


def test_unknown_sizes_fit():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, DynamicSimilarityConv2D(4, 3, predictor=small_network())(inputs))
    assert model(normal(1, *IMAGE)).shape == (2, 4, 3, 4)


# One predictor for several layers


def two_layers_with_one_predictor(network="functional"):
    shared = NeuralSimilarityPredictor(filters=5, name="shared")
    layers = [
        DynamicSimilarityConv2D(3, 3, padding="same", predictor=shared, name="first"),
        DynamicSimilarityConv2D(3, 3, strides=2, predictor=shared, name="second"),
    ]
    inputs = keras.Input(IMAGE[1:])
    if network == "sequential":
        model = keras.Sequential([inputs, *layers])
    else:
        model = keras.Model(inputs, layers[1](layers[0](inputs)))
    randomise(model)
    return model


def predictors(model):
    return [model.get_layer(name).predictor for name in ("first", "second")]


def unshared_twin(model):
    """The same function with a predictor for each layer: what `clone_model` makes."""
    clone = keras.models.clone_model(model)
    for name in ("first", "second"):
        clone.get_layer(name).set_weights(model.get_layer(name).get_weights())
    return clone


def test_a_clone_has_a_predictor_for_each_layer():
    """As Keras says of `clone_model`: it does not preserve the uniqueness of shared objects within the model."""
    model = two_layers_with_one_predictor()
    clone = unshared_twin(model)
    x = normal(1, *IMAGE)
    np.testing.assert_array_equal(clone(x), model(x))
    for copy in (clone, keras.models.model_from_json(model.to_json()), model.from_config(model.get_config())):
        first, second = predictors(copy)
        assert len({id(predictor) for predictor in (first, second, *predictors(model))}) == 3
        assert len(copy.weights) == len(model.weights) + len(first.weights)


def test_shared_weights_count_once_and_learn_from_both_layers():
    model = two_layers_with_one_predictor()
    assert [weight.path for weight in model.weights if weight.name == "kernel_1"] == ["first/shared/kernel_1"]
    x = normal(1, *IMAGE)
    gradients = []
    for network in (model, unshared_twin(model)):
        kernels = [predictor.kernels[0].value for predictor in predictors(network)]
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(network(x) ** 2)
        gradients.append(tape.gradient(loss, kernels))
    (both, _), (first, second) = gradients
    assert np.any(first)
    assert np.any(second)
    assert_near(both / np.std(both), (first + second) / np.std(both), 1e-3)


@pytest.mark.parametrize("network", ["functional", "sequential"])
def test_keras_file_keeps_a_shared_predictor_shared(network, tmp_path):
    model = two_layers_with_one_predictor(network)
    again = saved_and_loaded(model, tmp_path)
    first, second = predictors(again)
    assert first is second
    for found, expected in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    x = normal(1, *IMAGE)
    np.testing.assert_array_equal(again(x), model(x))
    again.save(tmp_path / "again.keras")
    assert len(set(map(id, predictors(keras.models.load_model(tmp_path / "again.keras"))))) == 1


# Training, freezing and precision reach the predictor


def updates(layer):
    return [float(norm.updates.value) for norm in layer.predictor.batch_norms]


@pytest.mark.parametrize("predictor", [lambda: None, NeuralSimilarityPredictor], ids=["default", "passed"])
def test_training_reaches_the_batch_norm_of_the_predictor(predictor):
    x = normal(1, *IMAGE)
    layer = DynamicSimilarityConv2D(4, 3, predictor=predictor())
    model = keras.Sequential([keras.Input(IMAGE[1:]), layer])
    for call in (layer, model):
        call(x)
        call(x, training=False)
        before = updates(layer)
        call(x, training=True)
        assert updates(layer) == [count + 1 for count in before]
    model.compile("sgd", "mse")
    model.fit(x, model(x), batch_size=1, epochs=1, verbose=0)
    assert updates(layer) == [4, 4]
    assert all(np.any(norm.moving_variance) for norm in layer.predictor.batch_norms)
    layer.trainable = False
    layer(x, training=True)
    assert updates(layer) == [4, 4]
    assert not model.trainable_weights
    layer = DynamicSimilarityConv2D.from_config(layer.get_config())  # and a frozen one comes back frozen
    layer(x, training=True)
    assert updates(layer) == [0, 0]


@pytest.mark.parametrize("predictor", [lambda: None, NeuralSimilarityPredictor], ids=["default", "passed"])
def test_a_layer_that_is_created_frozen_has_a_frozen_predictor(predictor):
    layer = DynamicSimilarityConv2D(4, 3, predictor=predictor(), trainable=False)
    model = keras.Sequential([keras.Input(IMAGE[1:]), layer])
    layer(normal(1, *IMAGE), training=True)
    assert updates(layer) == [0, 0]
    assert not model.trainable_variables


def test_arguments_reach_the_batch_norm_of_the_predictor():
    predictor = NeuralSimilarityPredictor(batch_norm_decay=0.5, debias=False)
    assert [(norm.decay, norm.debias) for norm in predictor.batch_norms] == [(0.5, False)] * 2


@each_structure
@pytest.mark.parametrize("policies", [("float32", "mixed_bfloat16"), ("mixed_bfloat16", "float32")], ids=str)
def test_a_predictor_may_have_another_precision(policies, structure):
    """Its M is cast to the layer's."""
    x = normal(1, *IMAGE)
    reference = DynamicSimilarityConv2D(4, 3, structure=structure)
    reference.build(IMAGE)
    predictor = NeuralSimilarityPredictor(structure=structure, dtype=policies[1])
    layer = DynamicSimilarityConv2D(4, 3, structure=structure, predictor=predictor, dtype=policies[0])
    layer.build(IMAGE)
    layer.set_weights(reference.get_weights())
    found, expected = layer(x), reference(x)
    assert found.dtype == layer.compute_dtype
    assert predictor(x).dtype == predictor.compute_dtype
    assert np.abs(tf.cast(found, tf.float32) - expected).max() < 0.1 * np.std(expected)


@pytest.mark.parametrize("first", ["predictor", "convolution"])
@pytest.mark.parametrize(
    "make",
    [lambda: NeuralSimilarityPredictor(4), lambda: keras.layers.Conv2D(9, 3, padding="same")],
    ids=["ours", "conv"],
)
def test_a_predictor_may_be_a_layer_of_the_model_too(make, first, tmp_path):
    """For looking at M beside the output."""
    inputs, predictor = keras.Input((6, 6, 3)), make()
    convolution = DynamicSimilarityConv2D(3, 3, padding="same", predictor=predictor)
    if first == "predictor":
        outputs = [predictor(inputs), convolution(inputs)]
    else:
        outputs = [convolution(inputs), predictor(inputs)][::-1]
    model = keras.Model(inputs, outputs)
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype("float32")
    for one, other in zip(model(images), keras.models.load_model(tmp_path / "model.keras")(images), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_predictor_of_several_outputs_is_refused():
    @keras.saving.register_keras_serializable("tests")
    class Two(keras.layers.Layer):
        def call(self, inputs):
            return [inputs, inputs]

    with pytest.raises(ValueError, match="must return M for the 9 taps"):
        DynamicSimilarityConv2D(3, 3, predictor=Two()).build((None, 6, 6, 9))
