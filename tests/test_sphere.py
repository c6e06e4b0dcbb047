"""SphereConv and its relatives against loops, in value and gradient, at the edges too."""

import math

import numpy as np
import pytest
import tensorflow as tf
from slow_forms import (
    assert_near,
    each_geometry_plain_and_compiled,
    gradients,
    normal,
    operands,
    slow_convolution,
    slow_patches,
)

from neural_similarity import layers, ops
from neural_similarity.ops import Window

# Norms and cosine


@each_geometry_plain_and_compiled
def test_patch_norm(fused_functions, size, window):
    image = normal(1, 2, *size, 3)
    expected = np.sqrt(np.sum(slow_patches(image, window) ** 2, axis=(3, 4)) + 1e-4)
    assert_near(ops.patch_norm(image, window), expected[..., None])


def test_filter_norm():
    kernel = normal(1, 3, 2, 4, 5)
    assert_near(ops.filter_norm(kernel), np.sqrt(np.sum(kernel**2, axis=(0, 1, 2)) + 1e-4))
    assert ops.filter_norm(tf.cast(kernel, tf.bfloat16)).dtype == tf.float32


@each_geometry_plain_and_compiled
def test_cosine_sphere_convolution(fused_functions, size, window):
    image, kernel, _ = operands(size, window, "diagonal")
    product = slow_convolution(image, kernel, np.eye(math.prod(window.kernel_size)), window)
    over_x = product / np.sqrt(np.sum(slow_patches(image, window) ** 2, axis=(3, 4)) + 1e-4)[..., None]
    cosine = ops.cosine_sphere_conv2d(tf.constant(image), kernel, window)
    assert_near(cosine, over_x / np.sqrt(np.sum(kernel**2, axis=(0, 1, 2)) + 1e-4))
    assert np.abs(cosine).max() < 1
    partial = ops.cosine_sphere_conv2d(tf.constant(image), tf.constant(kernel), window, normalize_kernel=False)
    assert_near(partial, over_x)


def test_cosine_of_a_patch_with_itself():
    """ε sits inside both roots: ⟨x, x⟩ / (√(‖x‖² + ε)·√(‖x‖² + ε))."""
    x = np.array([0.03, -0.04])  # ‖x‖² = 25 ε
    image, kernel = tf.constant(x.reshape(1, 1, 1, 2)), tf.constant(x.reshape(1, 1, 2, 1))
    for normalize_kernel, expected in [(True, 25 / 26), (False, 25e-4 / math.sqrt(26e-4))]:
        found = ops.cosine_sphere_conv2d(image, kernel, Window((1, 1)), normalize_kernel)
        np.testing.assert_allclose(found, [[[[expected]]]])


@pytest.mark.parametrize("normalize_kernel", [True, False])
def test_zero_patches_and_zero_filters(fused_functions, normalize_kernel):
    window = Window((3, 3))
    assert_near(ops.patch_norm(tf.zeros((1, 2, 2, 3)), window), np.full((1, 2, 2, 1), 0.01), 1e-7)
    assert_near(ops.filter_norm(tf.zeros((3, 3, 3, 2))), np.full(2, 0.01), 1e-7)
    image, kernel = tf.zeros((1, 4, 4, 3)), tf.zeros((3, 3, 3, 2))
    for arguments in [(image, kernel), (image, kernel + 1), (image + 1, kernel)]:
        found = gradients(lambda *args: ops.cosine_sphere_conv2d(*args, window, normalize_kernel), *arguments)
        assert not np.any(found[0])
        assert all(np.all(np.isfinite(value)) for value in found)


def test_weight_normalized_convolution():
    window = Window((3, 3), strides=(2, 1))
    image, kernel, _ = operands((4, 5), window, "diagonal")
    found = ops.weight_normalized_conv2d(tf.constant(image), tf.constant(kernel), window)
    cosine = ops.cosine_sphere_conv2d(tf.constant(image), tf.constant(kernel), window)
    assert_near(found, cosine * ops.patch_norm(tf.constant(image), window))


# Operators

K = np.array([0.06, 0.3, 0.75, 40.0])  # for four filters


def g_linear(theta, k):
    return 1 - 2 * theta / math.pi


def g_sigmoid(theta, k):
    a, b = math.exp(-math.pi / (2 * k)), math.exp(theta / k - math.pi / (2 * k))
    return (1 + a) / (1 - a) * (1 - b) / (1 + b)


def g_squared_cosine(theta, k):
    return math.copysign(math.cos(theta) ** 2, math.cos(theta))


OPERATORS = {
    "linear": (lambda cosine, k: ops.linear_operator(cosine), g_linear),
    "sigmoid": (ops.sigmoid_operator, g_sigmoid),
    "squared_cosine": (lambda cosine, k: ops.squared_cosine_operator(cosine), g_squared_cosine),
}
each_operator = pytest.mark.parametrize("operator", OPERATORS)


DTYPES = (tf.float64, tf.float32, tf.float16, tf.bfloat16)


def cosines(*shape):
    return np.random.default_rng(5).uniform(-0.999, 0.999, shape)


@each_operator
def test_operator_is_the_papers_formula(fused_functions, operator):
    function, slow = OPERATORS[operator]
    cosine = cosines(2, 3, 4)
    expected = np.array([[[slow(math.acos(c), k) for c, k in zip(row, K, strict=True)] for row in x] for x in cosine])
    assert_near(function(tf.constant(cosine), tf.constant(K)), expected, 1e-9)
    if operator == "sigmoid":
        expected = [slow(math.acos(c), ops.SIGMOID_K) for c in cosine[0, 0]]
        assert_near(function(tf.constant(cosine[0, 0]), ops.SIGMOID_K), np.array(expected), 1e-9)


@each_operator
def test_operator_falls_from_one_to_minus_one(fused_functions, operator):
    function, _ = OPERATORS[operator]
    steps = np.linspace(1, -1, 401)
    for dtype, tolerance in zip(DTYPES, (1e-12, 1e-6, 2e-3, 2e-2), strict=True):
        k = tf.constant(K, tf.float64 if dtype == tf.float64 else tf.float32)
        g = tf.cast(function(tf.cast(np.stack([steps] * 4, -1), dtype), k), tf.float64)
        assert np.max(np.abs(g)) <= 1 + tolerance
        np.testing.assert_allclose(g[0], 1, atol=tolerance)
        np.testing.assert_allclose(g[200], 0, atol=tolerance)
        np.testing.assert_allclose(g[400], -1, atol=tolerance)
        assert np.all(np.diff(g, axis=0) <= tolerance)


def test_wide_sigmoid_is_linear():
    cosine = tf.constant(cosines(20))
    assert_near(ops.sigmoid_operator(cosine, 300.0), ops.linear_operator(cosine), 1e-5)


@each_operator
def test_operator_gradient_against_differences(fused_functions, operator):
    function, _ = OPERATORS[operator]
    arguments = [tf.constant(0.9 * cosines(3, 4)), tf.constant(K)]
    exact, numeric = tf.test.compute_gradient(lambda *args: tf.sin(function(*args)), arguments, delta=1e-6)
    for found, expected in zip(exact, numeric, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_safe_acos():
    x = np.linspace(-1, 1, 101)
    assert_near(ops.safe_acos(tf.constant(x)), np.arccos(x))
    exact, numeric = tf.test.compute_gradient(ops.safe_acos, [tf.constant(0.99 * x)], delta=1e-7)
    np.testing.assert_allclose(exact[0], numeric[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_safe_acos_is_finite_at_and_beyond_its_edges(dtype):
    x = tf.cast([-1.1, -1, -1 + 1e-9, 0.5, 1 - 1e-9, 1, 1.1], dtype)
    angle, slope = gradients(ops.safe_acos, x, upstream=1)
    assert angle.dtype == slope.dtype == dtype
    expected = [math.pi, math.pi, math.pi, math.pi / 3, 0, 0, 0]
    np.testing.assert_allclose(tf.cast(angle, tf.float64), expected, atol=0.02 if dtype.size == 2 else 1e-4)
    assert np.all(np.isfinite(tf.cast(slope, tf.float64)))
    assert np.all(tf.cast(slope, tf.float64) <= -1.1)
    assert np.min(tf.cast(slope, tf.float64)) >= -1001


@each_operator
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_operator_gradients_at_the_edges(fused_functions, operator, dtype):
    function, _ = OPERATORS[operator]
    wide = tf.float64 if dtype == tf.float64 else tf.float32
    found = gradients(
        lambda c: function(c, tf.constant(0.05, wide)), tf.cast([-1.01, -1, 0, 1, 1.01], dtype), upstream=1
    )
    for values in found:
        assert values.dtype == dtype
        assert np.all(np.isfinite(tf.cast(values, tf.float64)))


@pytest.mark.parametrize("function", ["acos", "linear", "sigmoid"])
def test_large_gradients_stay_finite_in_float16(function):
    """As loss scaling makes them: a slope of 1,000 times 6e4 is beyond float16.

    The squared cosine is not among them: its slope is at most 2, and 2 · 6e4 is no number in float16.
    """
    apply = ops.safe_acos if function == "acos" else lambda c: OPERATORS[function][0](c, tf.constant(0.75))
    x = tf.constant([-1, -0.9999, 0.9999, 1], tf.float16)
    _, slope = gradients(apply, x, upstream=tf.fill((4,), tf.constant(6e4, tf.float16)))
    assert slope.dtype == tf.float16
    assert np.all(np.isfinite(slope))
    assert np.max(np.abs(slope)) == np.finfo(np.float16).max


@each_operator
def test_second_order_gradient_of_an_operator(fused_functions, operator):
    function, _ = OPERATORS[operator]
    x = 0.9 * cosines(4)

    def slope(c):
        return gradients(lambda c: function(c, tf.constant(K)), c, upstream=1)[1]

    step = 1e-6
    numeric = (slope(tf.constant(x + step)) - slope(tf.constant(x - step))) / (2 * step)
    np.testing.assert_allclose(gradients(slope, x, upstream=1)[1], numeric, rtol=1e-4, atol=1e-4)


# Magnitudes

MAGNITUDES = {
    "tanh": (ops.tanh_magnitude, lambda x, rho: math.tanh(x / rho)),
    "ball": (ops.ball_magnitude, lambda x, rho: min(x / rho, 1)),
    "segmented": (ops.segmented_magnitude, lambda x, rho: x if x < rho else x / 2 + rho / 2),
}


@pytest.mark.parametrize("magnitude", MAGNITUDES)
def test_magnitude(magnitude):
    function, slow = MAGNITUDES[magnitude]
    norm, radius = np.random.default_rng(6).uniform(0.1, 3, (2, 3, 4, 1)), np.array([0.5, 1.0, 1.7, 9.0])
    expected = np.vectorize(slow, otypes=[float])(*np.broadcast_arrays(norm, radius))
    assert_near(function(tf.constant(norm), tf.constant(radius)), expected)
    exact, numeric = tf.test.compute_gradient(function, [tf.constant(norm), tf.constant(radius)], delta=1e-7)
    for found, wanted in zip(exact, numeric, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


# The layer


def slow_sphere(layer, image, mean_norm):
    """h(‖x‖) g(θ) of every patch and filter, in loops."""
    window = Window(layer.kernel_size, layer.strides, layer.padding, layer.dilation_rate)
    patches = slow_patches(image, window)
    kernel = np.asarray(layer.kernel, np.float64).reshape(-1, layer.filters)
    k = np.abs(layer.k) + 0.05 if layer.operator == "learnable_sigmoid" else np.full(layer.filters, 0.3)
    g = {"cosine": lambda theta, k: math.cos(theta), "linear": g_linear, "squared_cosine": g_squared_cosine}
    outputs = np.zeros((*patches.shape[:3], layer.filters))
    for *p, o in np.ndindex(*outputs.shape):
        x, w = patches[tuple(p)].ravel(), kernel[:, o]
        norm = math.sqrt(np.sum(x**2) + 1e-4)
        theta = math.acos(w @ x / norm / math.sqrt(np.sum(w**2) + 1e-4))
        h = {"sphere": 1, "linear": norm}.get(layer.magnitude)
        if h is None:
            h = MAGNITUDES[layer.magnitude][1](norm, (layer.radius[o] ** 2 + 1e-4) * mean_norm)
        outputs[(*p, o)] = h * g.get(layer.operator, g_sigmoid)(theta, k[o])
    return outputs


@pytest.mark.parametrize("magnitude", layers.sphere.MAGNITUDES)
@pytest.mark.parametrize("operator", layers.sphere.OPERATORS)
def test_every_operator_with_every_magnitude(operator, magnitude):
    image = normal(1, 2, 4, 5, 2)
    layer = layers.SphereConv2D(
        3,
        3,
        2,
        operator=operator,
        magnitude=magnitude,
        magnitude_decay=0.5,
        padding="same",
        use_bias=False,
        dtype="float64",
    )
    layer.build(image.shape)
    for weight in layer.trainable_weights:
        weight.assign(weight + 0.3 * normal(7, *weight.shape))
    norms = ops.patch_norm(tf.constant(image), Window((3, 3), strides=(2, 2)))
    assert_near(layer(image), slow_sphere(layer, image, 1.0), 1e-9)  # before the first update
    found = layer(image, training=True)
    assert_near(found, slow_sphere(layer, image, np.mean(norms)), 1e-9)
    layer(2 * image, training=True)
    if magnitude in MAGNITUDES:
        twice = np.mean(ops.patch_norm(tf.constant(2 * image), Window((3, 3), strides=(2, 2))))
        mean = (0.25 * np.mean(norms) + 0.5 * twice) / 0.75
        assert_near(layer(image), slow_sphere(layer, image, mean), 1e-6)
        assert float(layer.updates) == 2
    if magnitude == "sphere":
        assert np.abs(found).max() <= 1


@pytest.mark.parametrize("magnitude", MAGNITUDES)
def test_gradient_sees_the_mean_norm(magnitude):
    layer = layers.SphereConv2D(2, 3, magnitude=magnitude, use_bias=False, dtype="float64")
    image = normal(1, 1, 4, 3, 2)
    layer.build(image.shape)

    def total(image):
        return tf.reduce_sum(layer(image, training=True) * normal(2, 1, 2, 1, 2))

    exact, numeric = tf.test.compute_gradient(total, [tf.constant(image)], delta=1e-6)
    np.testing.assert_allclose(exact[0], numeric[0], rtol=1e-5, atol=1e-7)


def test_frozen_layer_keeps_its_mean_norm():
    layer = layers.SphereConv2D(2, 3, magnitude="ball")
    layer(tf.ones((1, 4, 4, 2)), training=True)
    layer.trainable = False
    layer(9 * tf.ones((1, 4, 4, 2)), training=True)
    assert float(layer.updates) == 1


@pytest.mark.parametrize("operator", layers.sphere.OPERATORS)
@pytest.mark.parametrize("policy", ["float64", "float32", "mixed_bfloat16", "mixed_float16"])
def test_zero_patches_and_filters_have_finite_gradients(operator, policy):
    layer = layers.SphereConv2D(2, 3, operator=operator, padding="same", dtype=policy)
    layer.build((1, 4, 4, 3))
    for image, kernel in [(0, 0), (0, 1), (1, 0), (1, 1), (1, -1)]:
        x = image * tf.ones((1, 4, 4, 3), layer.compute_dtype)
        layer.kernel.assign(kernel * tf.ones_like(layer.kernel))
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(tf.cast(layer(x), tf.float32))
        for gradient in tape.gradient(total, [x, *layer.trainable_weights]):
            assert np.all(np.isfinite(tf.cast(gradient, tf.float64)))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            {"operator": "cos"},
            "`operator` must be one of 'cosine', 'linear', 'sigmoid', 'learnable_sigmoid', 'squared_cosine'. Received",
        ),
        (
            {"magnitude": "cube"},
            "`magnitude` must be one of 'sphere', 'linear', 'tanh', 'ball', 'segmented'. Received: 'cube'",
        ),
        ({"groups": 2}, "SphereConv2D needs groups=1. Received: groups=2"),
        ({"data_format": "channels_first"}, "SphereConv2D needs data_format='channels_last'. Received"),
    ],
)
def test_what_is_refused(arguments, expected):
    with pytest.raises(ValueError) as caught:
        layers.SphereConv2D(4, 3, **arguments)
    assert expected in str(caught.value)
