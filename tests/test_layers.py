"""The Keras layers: drop-in in every kind of model, right in every geometry, whole in a `.keras` file."""

import subprocess
import sys

import keras
import layer_checks
import numpy as np
import pytest
import tensorflow as tf

from neural_similarity.layers import (
    DebiasedBatchNormalization,
    DynamicSimilarityConv2D,
    GlobalSimilarity2D,
    NeuralSimilarityPredictor,
    Orthogonality,
    SphereConv2D,
    StaticSimilarityConv2D,
    TowardsIdentity,
)

pytestmark = [  # Keras' own, about saving and about the generator of its layer test
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning"),
]
STRUCTURES = ("diagonal", "unconstrained")
IMAGE = (2, 6, 5, 3)
GEOMETRIES = [
    {"kernel_size": 3, "padding": "same"},
    {"kernel_size": 3, "strides": 2, "padding": "same"},
    {"kernel_size": 3, "strides": (2, 1), "padding": "valid", "use_bias": False},
    {"kernel_size": (3, 1), "strides": 2, "padding": "same"},
    {"kernel_size": 5, "padding": "valid", "activation": "relu"},
    {"kernel_size": 1},
    {"kernel_size": 3, "padding": "same", "dilation_rate": 2},
]


def normal(seed, *shape):
    return tf.random.stateless_normal(shape, (seed, 0))


def randomise(layer):
    """Moves every weight away from its start; variances stay positive, and averages those of many steps."""
    rng = np.random.default_rng(0)
    for weight in layer.weights:
        if weight.name == "updates":
            weight.assign(10_000)
        elif len(weight.shape) == 1:
            weight.assign(weight + rng.uniform(0.1, 0.5, weight.shape))
        else:
            weight.assign(weight + 0.3 * rng.standard_normal(weight.shape))


def plain_twin(layer, kernel):
    """A `keras.layers.Conv2D` of the same geometry and bias."""
    keys = ("filters", "kernel_size", "strides", "padding", "dilation_rate", "use_bias", "activation")
    twin = keras.layers.Conv2D(**{key: getattr(layer, key) for key in keys})
    twin.build(IMAGE)
    twin.set_weights([kernel, layer.bias] if layer.use_bias else [kernel])
    return twin


def assert_near(found, expected, tolerance=1e-5):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


# Static


@pytest.mark.parametrize("geometry", [*GEOMETRIES, {"kernel_size": 2, "padding": "same"}], ids=str)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_static_layer_is_the_convolution_with_its_merged_kernel(geometry, structure):
    x = normal(1, *IMAGE)
    layer = StaticSimilarityConv2D(4, structure=structure, **geometry)
    first = layer(x)
    assert first.shape == layer.compute_output_shape(IMAGE)
    assert_near(first, plain_twin(layer, layer.kernel)(x))  # M starts as the identity
    randomise(layer)
    twin = plain_twin(layer, layer.merged_kernel())
    assert_near(layer(x), twin(x))
    assert np.abs(twin(x) - plain_twin(layer, layer.kernel)(x)).max() > 0.1


def test_static_layer_in_groups():
    x = normal(1, 2, 5, 5, 4)
    layer = StaticSimilarityConv2D(6, 3, groups=2)
    layer.build(x.shape)
    randomise(layer)
    merged = layer.merged_kernel()
    halves = [tf.nn.conv2d(x[..., i : i + 2], merged[..., o : o + 3], 1, "VALID") for i, o in [(0, 0), (2, 3)]]
    assert_near(layer(x), tf.concat(halves, -1) + layer.bias)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"kernel_size": 3}, np.ones(9)),
        ({"kernel_size": (3, 2)}, np.ones(6)),
        ({"kernel_size": 3, "structure": "unconstrained"}, np.eye(9)),
        ({"kernel_size": 3, "similarity_initializer": "released"}, [1, 0, 0, 0, 1, 0, 0, 0, 1]),
        ({"kernel_size": 5, "similarity_initializer": "released"}, np.eye(5).ravel()),
        ({"kernel_size": (3, 2), "similarity_initializer": "released"}, [1, 0, 0, 1, 0, 0]),
        ({"kernel_size": 3, "structure": "unconstrained", "similarity_initializer": "released"}, np.eye(9)),
        ({"kernel_size": 3, "similarity_initializer": "zeros"}, np.zeros(9)),
        ({"kernel_size": 3, "similarity_initializer": keras.initializers.Constant(0.5)}, np.full(9, 0.5)),
        (
            {"kernel_size": 2, "structure": "unconstrained", "similarity_initializer": keras.initializers.Ones()},
            np.ones((4, 4)),
        ),
    ],
    ids=str,
)
def test_similarity_starts_as_asked(arguments, expected):
    layer = StaticSimilarityConv2D(2, **arguments)
    layer_checks.check_config(layer)
    for same in (layer, StaticSimilarityConv2D.from_config(layer.get_config())):
        same.build(IMAGE)
        np.testing.assert_array_equal(same.similarity_matrix, expected)
        assert same.similarity_matrix.trainable


# Dynamic


def predicted(layer, x):
    """A dynamic layer's M, full, at every pixel of its input."""
    matrix = layer.predictor(x)
    return matrix[..., None] * tf.eye(matrix.shape[-1]) if layer.structure == "diagonal" else matrix


@pytest.mark.parametrize("structure", STRUCTURES)
def test_dynamic_layer_mixes_the_patch_by_the_predicted_m(structure):
    x = normal(1, *IMAGE)
    layer = DynamicSimilarityConv2D(4, 3, structure, padding="same", predictor_filters=5)
    layer.build(IMAGE)
    randomise(layer)
    patches = tf.reshape(tf.image.extract_patches(x, [1, 3, 3, 1], [1] * 4, [1] * 4, "SAME"), (*IMAGE[:3], 9, 3))
    w = tf.reshape(layer.kernel, (9, 3, 4))
    expected = tf.einsum("byxst,sio,byxti->byxo", predicted(layer, x), w, patches) + layer.bias
    assert_near(layer(x), expected, 1e-4)
    assert np.std(layer.predictor(x), axis=(0, 1, 2)).max() > 0.01  # M does differ between pixels


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_map_is_read_at_the_centre_of_every_patch(geometry, structure):
    """A predictor that answers c·I at pixel c makes the layer c times a plain convolution."""
    layer = DynamicSimilarityConv2D(4, structure=structure, **geometry)
    layer.build(IMAGE)
    kh, kw = layer.kernel_size
    number = tf.reshape(tf.range(1.0, 31.0), (1, 6, 5, 1))
    identity = tf.ones(kh * kw) if structure == "diagonal" else tf.eye(kh * kw)
    indicator = tf.reshape(number, (1, 6, 5, *[1] * len(identity.shape))) * identity
    layer.predictor.call = lambda inputs: tf.repeat(indicator, 2, axis=0)

    middle = np.zeros((kh, kw, 1, 1), np.float32)
    middle[kh // 2, kw // 2] = 1
    centre = tf.nn.conv2d(
        number, middle, layer.strides, layer.padding.upper(), dilations=layer.dilation_rate
    )  # what a kernel sees that looks at its middle tap alone
    twin = plain_twin(layer, layer.kernel)
    x = normal(1, *IMAGE)
    found = layer(x)
    assert found.shape == layer.compute_output_shape(IMAGE)
    assert_near(found, centre * twin(x), 1e-4)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("structure", STRUCTURES)
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


GEOMETRY = "DynamicSimilarityConv2D needs groups=1, data_format='channels_last' and an odd kernel size"
STRUCTURE = "`structure` must be one of 'diagonal', 'unconstrained'. Received: 'dns'"


@pytest.mark.parametrize(
    ("create", "expected"),
    [
        (lambda: DynamicSimilarityConv2D(4, 3, groups=2), GEOMETRY),
        (lambda: DynamicSimilarityConv2D(4, 3, data_format="channels_first"), GEOMETRY),
        (lambda: DynamicSimilarityConv2D(4, 2), GEOMETRY),
        (lambda: DynamicSimilarityConv2D(4, (3, 4)), "kernel_size=(3, 4)"),
        (lambda: DynamicSimilarityConv2D(4, 3, strides=2, dilation_rate=2), "dilation_rate=(2, 2)"),
        (lambda: StaticSimilarityConv2D(4, 3, "dns"), STRUCTURE),
        (lambda: DynamicSimilarityConv2D(4, 3, "dns"), STRUCTURE),
        (lambda: NeuralSimilarityPredictor((3, 3), "dns"), STRUCTURE),
        (
            lambda: SphereConv2D(4, 3, "cos"),
            "`operator` must be one of 'cosine', 'linear', 'sigmoid', 'learnable_sigmoid', 'squared_cosine'. Received",
        ),
        (
            lambda: SphereConv2D(4, 3, magnitude="cube"),
            "`magnitude` must be one of 'sphere', 'linear', 'tanh', 'ball', 'segmented'. Received: 'cube'",
        ),
        (lambda: SphereConv2D(4, 3, groups=2), "SphereConv2D needs groups=1 and data_format='channels_last'"),
        (lambda: SphereConv2D(4, 3, data_format="channels_first"), "Received: groups=1, data_format='channels_first'"),
        (
            lambda: DynamicSimilarityConv2D(4, 3, predictor_normalization="none"),
            "`normalization` must be one of 'partial', 'full'. Received: 'none'",
        ),
        (
            lambda: DynamicSimilarityConv2D(4, 3, predictor_moving_average="ema"),
            "`moving_average` must be one of 'debiased', 'released'. Received: 'ema'",
        ),
        (
            lambda: DebiasedBatchNormalization().build((None, 4, 4, None)),
            "The channels (last axis) must be known. Received an input of shape (None, 4, 4, None)",
        ),
        (lambda: DebiasedBatchNormalization()(tf.ones((2, 3))), "expected ndim=4, found ndim=2"),
    ],
)
def test_what_is_refused(create, expected):
    with pytest.raises(ValueError) as caught:
        create()
    assert expected in str(caught.value)


# Predictor


def sphere(x, kernel, over_w):
    """Convolution ÷ ‖x‖, and ÷ ‖w‖ if asked for."""
    squares = tf.nn.conv2d(x * x, tf.ones((3, 3, x.shape[-1], 1)), 1, "SAME")
    if over_w:
        kernel = kernel / tf.sqrt(tf.reduce_sum(kernel * kernel, (0, 1, 2)) + 1e-4)
    return tf.nn.conv2d(x, kernel, 1, "SAME") / tf.sqrt(squares + 1e-4)


def batch_normalised(x, gamma, beta):
    mean, variance = tf.nn.moments(x, (0, 1, 2))
    return (x - mean) / tf.sqrt(variance + 1e-3) * gamma + beta


@pytest.mark.parametrize(
    "arguments",
    [
        {"structure": "diagonal"},
        {"structure": "diagonal", "normalization": "full"},
        {"structure": "unconstrained"},
        {"structure": "unconstrained", "normalization": "full", "batch_norm": True},
        {"structure": "diagonal", "batch_norm": False, "filters": 7},
    ],
    ids=str,
)
def test_predictor_is_the_identity_plus_a_spherenet(arguments):
    x = normal(1, *IMAGE)
    predictor = NeuralSimilarityPredictor((3, 1), **arguments)
    predictor.build(IMAGE)
    randomise(predictor)
    full, norms = predictor.normalization == "full", predictor.batch_norms
    w_1, w_2 = map(tf.convert_to_tensor, predictor.kernels)
    hidden = sphere(x, w_1, full)
    if norms:
        hidden = batch_normalised(hidden, norms[0].gamma, norms[0].beta)
    hidden = tf.nn.relu(hidden)
    residual = sphere(hidden, w_2, True) if full else tf.nn.conv2d(hidden, w_2, 1, "SAME")
    if norms:
        residual = batch_normalised(residual, norms[1].gamma, norms[1].beta)
    shape = (3,) if predictor.structure == "diagonal" else (3, 3)
    identity = tf.ones(3) if predictor.structure == "diagonal" else tf.eye(3)
    found = predictor(x, training=True)
    assert found.shape == predictor.compute_output_shape(IMAGE) == (*IMAGE[:3], *shape)
    assert_near(found, identity + tf.reshape(residual, found.shape), 1e-4)


def test_predictor_has_the_released_sizes_by_default():
    for structure, width, outputs, norms in [("diagonal", 64, 9, 2), ("unconstrained", 128, 81, 0)]:
        predictor = NeuralSimilarityPredictor((3, 3), structure)
        predictor.build((None, 8, 8, 5))
        assert [kernel.shape for kernel in predictor.kernels] == [(3, 3, 5, width), (3, 3, width, outputs)]
        assert len(predictor.batch_norms) == norms
        for kernel, fan_in, scale in zip(predictor.kernels, (45, 9 * width), (0.1, 0.001), strict=True):
            assert np.std(kernel) == pytest.approx(scale * np.sqrt(2 / fan_in), rel=0.06)


@pytest.mark.parametrize("normalization", ["partial", "full"])
def test_predictor_starts_at_the_identity_and_leaves_it(normalization):
    x = normal(1, *IMAGE)
    starts = {}
    for initializer in ("identity", "released"):
        keras.utils.set_random_seed(0)
        predictor = NeuralSimilarityPredictor((3, 3), filters=6, normalization=normalization, initializer=initializer)
        starts[initializer] = predictor(x, training=True)
    np.testing.assert_array_equal(starts["identity"], np.ones((*IMAGE[:3], 9)))
    assert 1e-3 < np.abs(starts["released"] - 1).mean() < 0.5

    layer = DynamicSimilarityConv2D(4, 3, predictor_filters=6, predictor_normalization=normalization)
    model = keras.Sequential([keras.Input(IMAGE[1:]), layer])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(x, normal(2, *model(x).shape), epochs=2, verbose=0)
    first = [kernel.numpy() for kernel in layer.predictor.kernels]
    assert np.abs(layer.predictor.batch_norms[1].gamma).min() > 0
    model.fit(x, normal(2, *model(x).shape), epochs=1, verbose=0)
    for before, kernel in zip(first, layer.predictor.kernels, strict=True):
        assert np.abs(kernel - before).max() > 0  # once γ has left 0, its filters learn as well


def test_training_reaches_the_batch_norm_of_the_predictor():
    x = normal(1, *IMAGE)
    layer = DynamicSimilarityConv2D(4, 3, predictor_batch_norm_decay=0.5, predictor_moving_average="released")
    model = keras.Sequential([keras.Input(IMAGE[1:]), layer])
    norms = layer.predictor.batch_norms
    assert [(norm.decay, norm.moving_average) for norm in norms] == [(0.5, "released")] * 2
    for call in (layer, model):
        call(x)
        call(x, training=False)
        before = [float(norm.updates.value) for norm in norms]
        call(x, training=True)
        assert [float(norm.updates.value) for norm in norms] == [count + 1 for count in before]
    model.compile("sgd", "mse")
    model.fit(x, model(x), batch_size=1, epochs=1, verbose=0)
    assert [float(norm.updates.value) for norm in norms] == [4, 4]
    assert all(np.any(norm.moving_variance) for norm in norms)
    layer.trainable = False
    layer(x, training=True)
    assert [float(norm.updates.value) for norm in norms] == [4, 4]
    layer = DynamicSimilarityConv2D.from_config(layer.get_config())  # and a frozen one comes back frozen
    layer(x, training=True)
    assert [float(norm.updates.value) for norm in layer.predictor.batch_norms] == [0, 0]


# Batch normalisation


def updated(layer, batches):
    for batch in batches:
        layer(batch, training=True)
    return layer


def test_averages_in_closed_form():
    batches = [2 * normal(seed, 4, 3, 2, 3) + seed for seed in range(5)]
    weights = np.float64(1) - np.float32(0.9)
    weights = weights * (1 - weights) ** np.arange(4, -1, -1)  # the latest batch counts most
    for kind in ("debiased", "released"):
        layer = updated(DebiasedBatchNormalization(kind, decay=0.9), batches)
        total = sum(weights) if kind == "debiased" else 1
        for found, statistic in zip(layer.averages(), (np.mean, np.var), strict=True):
            moments = [statistic(batch, axis=(0, 1, 2)) for batch in batches]
            assert_near(found, np.tensordot(weights, moments, 1) / total)
        y, (mean, variance) = layer(batches[0]), layer.averages()
        assert_near(y, (batches[0] - mean) / tf.sqrt(variance + 1e-3))
    assert sum(weights) == pytest.approx(1 - 0.9**5, rel=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_same_batch_again_and_again_is_known_exactly(decay):
    batch = 3 + 2 * normal(1, 4, 3, 2, 3)
    layer = DebiasedBatchNormalization(decay=decay)
    for _ in range(3):
        trained = layer(batch, training=True)
        assert_near(layer(batch), trained, 1e-4)


def test_before_the_first_update():
    x = normal(1, *IMAGE)
    debiased, released = DebiasedBatchNormalization(), DebiasedBatchNormalization("released")
    assert_near(debiased(x), x / np.sqrt(1 + 1e-3))
    assert_near(released(x), x / np.sqrt(1e-3))
    np.testing.assert_array_equal(debiased.averages(), [np.zeros(3), np.ones(3)])
    np.testing.assert_array_equal(released.averages(), [np.zeros(3), np.zeros(3)])


def test_batch_norm_in_training():
    x = 5 + 3 * normal(1, *IMAGE)
    for epsilon in (1e-3, 0.5):
        layer = DebiasedBatchNormalization(epsilon=epsilon)
        layer.build(IMAGE)
        layer.gamma.assign([1.0, 2.0, 3.0])
        layer.beta.assign([3.0, 2.0, 1.0])
        mean, variance = tf.nn.moments(x, (0, 1, 2))
        expected = (x - mean) / tf.sqrt(variance + epsilon) * layer.gamma + layer.beta
        assert_near(layer(x, training=True), expected, 1e-4)
    assert DebiasedBatchNormalization().epsilon == 1e-3
    assert DebiasedBatchNormalization().decay == 0.999


def test_frozen_batch_norm_and_evaluation_leave_the_averages_alone():
    x = 5 + 3 * normal(1, *IMAGE)
    layer = updated(DebiasedBatchNormalization(), [x])
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
    """What the released averages are too small for: they have seen 5 % of the data's mean."""
    batches = [20 + 4 * normal(seed, 64, 2, 2, 3) for seed in range(51)]
    debiased, released = (updated(DebiasedBatchNormalization(kind), batches[:50]) for kind in ("debiased", "released"))
    trained = debiased(batches[50], training=True)
    assert np.abs(debiased(batches[50]) - trained).max() < 0.3
    assert np.abs(released(batches[50]) - trained).max() > 10
    assert_near(released.averages()[0] / (1 - 0.999**50), np.full(3, 20), 0.01)


# Penalties


@pytest.mark.parametrize(("identity", "inside"), [(np.ones(9), np.ones(9)), (np.eye(9), np.ones((9, 9)))])
def test_towards_identity(identity, inside):
    layer_checks.check_config(TowardsIdentity(0.25))
    penalty = TowardsIdentity(0.25)
    assert float(penalty(tf.constant(identity))) == 0
    assert float(penalty(tf.constant(identity + 2 * inside))) == 0.25 * 4 * inside.size
    assert float(penalty(tf.Variable(0 * identity))) == 0.25 * 9


def test_penalties_show_up_in_the_losses():
    layer = StaticSimilarityConv2D(
        4, 3, "unconstrained", kernel_regularizer=keras.regularizers.L2(0.1), similarity_regularizer=TowardsIdentity(10)
    )
    model = keras.Sequential([keras.Input(IMAGE[1:]), layer])
    randomise(model)
    expected = [0.1 * np.sum(np.square(layer.kernel)), 10 * np.sum((layer.similarity_matrix - np.eye(9)) ** 2)]
    np.testing.assert_allclose(model.losses, expected, rtol=1e-5)

    layer = DynamicSimilarityConv2D(
        4, 3, kernel_regularizer="l2", predictor_regularizer="l1", predictor_batch_norm_regularizer="l2"
    )
    model = keras.Sequential([keras.Input(IMAGE[1:]), layer])
    randomise(model)
    expected = [0.01 * np.sum(np.square(layer.kernel))]
    expected += [0.01 * np.sum(np.abs(kernel)) for kernel in layer.predictor.kernels]
    for norm in layer.predictor.batch_norms:
        expected += [0.01 * np.sum(np.square(weight)) for weight in (norm.gamma, norm.beta)]
    np.testing.assert_allclose(sorted(model.losses), sorted(expected), rtol=1e-5)

    norm = DebiasedBatchNormalization(gamma_regularizer="l1", beta_regularizer="l2")
    norm.build(IMAGE)
    randomise(norm)
    expected = [0.01 * np.sum(np.abs(norm.gamma)), 0.01 * np.sum(np.square(norm.beta))]
    np.testing.assert_allclose(norm.losses, expected, rtol=1e-5)


# All of them

LAYERS = {
    "static_dns": (StaticSimilarityConv2D, {"filters": 4, "kernel_size": 3, "similarity_regularizer": "l2"}),
    "static_uns": (
        StaticSimilarityConv2D,
        {
            "filters": 4,
            "kernel_size": (3, 1),
            "structure": "unconstrained",
            "similarity_initializer": "released",
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
            "predictor_initializer": "released",
            "predictor_init_scales": (1.0, 0.5),
            "predictor_moving_average": "released",
            "predictor_batch_norm_decay": 0.9,
            "predictor_regularizer": "l2",
        },
    ),
    "dynamic_uns": (
        DynamicSimilarityConv2D,
        {
            "filters": 4,
            "kernel_size": 3,
            "structure": "unconstrained",
            "dilation_rate": 2,
            "predictor_filters": 6,
            "predictor_init_scales": (1.0, 1.0),
            "activation": "relu",
        },
    ),
    "full": (
        DynamicSimilarityConv2D,
        {
            "filters": 4,
            "kernel_size": 3,
            "predictor_normalization": "full",
            "predictor_initializer": "released",
            "predictor_filters": 6,
            "predictor_batch_norm_regularizer": "l1",
        },
    ),
    "predictor": (NeuralSimilarityPredictor, {"kernel_size": (3, 3), "filters": 6, "initializer": "released"}),
    "predictor_uns": (
        NeuralSimilarityPredictor,
        {
            "kernel_size": (3, 1),
            "structure": "unconstrained",
            "initializer": "released",
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
    "batch_norm": (DebiasedBatchNormalization, {}),
    "batch_norm_released": (
        DebiasedBatchNormalization,
        {
            "moving_average": "released",
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


def create(which, **more):
    layer_class, arguments = LAYERS[which]
    return layer_class(**arguments, **more)


@each_layer
def test_config_and_keras_file_keep_everything(name, tmp_path):
    layer = create(name, name="tried", trainable=name != "full")
    layer_checks.check_config(layer)
    config = layer.get_config()
    for key, value in LAYERS[name][1].items():
        if isinstance(value, (bool, float, int)) or key in ("structure", "padding", "predictor_initializer"):
            assert config[key] in (value, (value, value))  # Keras writes kernel_size 3 as (3, 3)
    layer_checks.check_round_trip(layer, SHAPE, tmp_path)


@pytest.mark.parametrize(
    ("name", "output_shape", "trainable", "fixed", "losses"),
    [
        ("static_uns", (2, 7, 6, 4), 2, 0, 1),
        ("dynamic_dns", (2, 4, 3, 4), 8, 6, 2),
        ("predictor_uns", (2, 7, 6, 3, 3), 6, 6, 2),
        ("sphere_learnable", (2, 3, 3, 4), 3, 0, 0),
        ("sphere_decoupled", (2, 3, 2, 4), 2, 2, 0),
        ("global", SHAPE, 4, 0, 3),
        ("batch_norm_released", SHAPE, 2, 3, 1),
    ],
)
def test_as_keras_does(name, output_shape, trainable, fixed, losses):
    layer_class, arguments = LAYERS[name]
    layer_checks.check_as_keras_does(
        layer_class,
        arguments,
        SHAPE,
        expected_output_shape=output_shape,
        expected_num_trainable_weights=trainable,
        expected_num_non_trainable_weights=fixed,
        expected_num_losses=losses,
        supports_masking=layer_class is DebiasedBatchNormalization,
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
    sorted(LAYERS.keys() - {"static_dns", "predictor", "predictor_uns", "batch_norm_released"}),
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


# In a model


def stack(inputs):
    """The convolutions behind each other, global similarity, and a classifier."""
    x = StaticSimilarityConv2D(4, 3, "unconstrained", padding="same")(inputs)
    x = DebiasedBatchNormalization()(x)
    x = DynamicSimilarityConv2D(4, 3, strides=2, predictor_filters=6)(x)
    x = DynamicSimilarityConv2D(4, (1, 3), "unconstrained", predictor_filters=6, padding="same", activation="relu")(x)
    x = GlobalSimilarity2D(2)(SphereConv2D(4, 3, "learnable_sigmoid", "segmented", padding="same")(x))
    return keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))


def functional():
    inputs = keras.Input((None, None, 3))
    return keras.Model(inputs, stack(inputs))


def sequential():
    return keras.Sequential(
        [
            StaticSimilarityConv2D(4, 3),
            DynamicSimilarityConv2D(4, (3, 1), predictor_filters=6),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.convolution = DynamicSimilarityConv2D(4, 3, predictor_normalization="full", predictor_filters=6)
        self.head = keras.layers.Dense(2)

    def call(self, inputs, training=None):  # without `training` Keras would fit it in evaluation mode
        return self.head(keras.ops.mean(self.convolution(inputs), (1, 2)))


@pytest.mark.parametrize(
    ("build", "jit_compile"),
    [(functional, False), (sequential, True), (Subclassed, False)],
    ids=["functional", "sequential-compiled", "subclassed"],
)
def test_drop_in(build, jit_compile):
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


def test_functional_model_takes_images_of_any_size():
    model = functional()
    for size in [(7, 6), (5, 8)]:
        x = normal(1, 2, *size, 3)
        inputs = keras.Input((*size, 3))
        fixed = keras.Model(inputs, stack(inputs))
        fixed.set_weights(model.get_weights())
        assert_near(tf.function(model)(x), fixed(x))


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
