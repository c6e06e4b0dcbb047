"""Every op against loops that a reader can believe, gradients against differences, compiled forms against eager."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from neural_similarity import ops
from neural_similarity.ops import Window

STRUCTURES = ("diagonal", "unconstrained")
GEOMETRIES = [  # height and width of an image, and a window on it
    ((3, 4), Window((3, 3))),
    ((4, 3), Window((3, 3), padding="valid")),
    ((3, 3), Window((3, 3), padding="valid")),
    ((2, 3), Window((1, 1))),
    ((4, 5), Window((1, 1), strides=(2, 2))),
    ((4, 3), Window((5, 5))),
    ((2, 2), Window((5, 5))),
    ((4, 3), Window((3, 1))),
    ((3, 5), Window((1, 5), padding="valid")),
    ((4, 5), Window((3, 3), strides=(2, 2))),
    ((5, 4), Window((3, 3), strides=(2, 2), padding="valid")),
    ((6, 7), Window((3, 3), strides=(5, 4))),
    ((6, 5), Window((5, 3), strides=(3, 2), padding="valid")),
    ((4, 5), Window((3, 3), dilation_rate=(2, 2))),
    ((6, 5), Window((3, 3), padding="valid", dilation_rate=(2, 2))),
    ((5, 4), Window((3, 5), dilation_rate=(2, 1))),
]


def label(value):
    """Of a geometry, in a test's name: `4x5` or `3x3-s2x2-valid-d1x1`."""
    if not isinstance(value, Window):
        return "x".join(map(str, value))
    kernel, strides, dilation = map(label, (value.kernel_size, value.strides, value.dilation_rate))
    return f"{kernel}-s{strides}-{value.padding}-d{dilation}"


each_geometry = pytest.mark.parametrize(("size", "window"), GEOMETRIES, ids=label)
each_structure = pytest.mark.parametrize("structure", STRUCTURES)


# The believable forms


def slow_axis(size, taps, stride, padding, dilation):
    """(number of outputs, zeros in front) along one axis; TensorFlow puts the odd zero behind."""
    extent = (taps - 1) * dilation + 1
    if padding == "valid":
        return len(range(0, size - extent + 1, stride)), 0
    outputs = math.ceil(size / stride)
    return outputs, max((outputs - 1) * stride + extent - size, 0) // 2


def slow_patches(image, window):
    """x_t(p) for every pixel p and tap t: `(b, y, x, k, i)`."""
    batch, height, width, channels = image.shape
    (kh, kw), (down, across), padding, (dy, dx) = window
    rows, top = slow_axis(height, kh, down, padding, dy)
    columns, left = slow_axis(width, kw, across, padding, dx)
    patches = np.zeros((batch, rows, columns, kh * kw, channels))
    for y, x, t in itertools.product(range(rows), range(columns), range(kh * kw)):
        row, column = y * down - top + t // kw * dy, x * across - left + t % kw * dx
        if 0 <= row < height and 0 <= column < width:
            patches[:, y, x, t] = image[:, row, column]
    return patches


def slow_convolution(image, kernel, matrix, window):
    """y(p) = Σ_s Σ_t M(p)[s, t] ⟨w_s, x_t(p)⟩ with a full M, `(k, k)` or `(b, y, x, k, k)`."""
    patches = slow_patches(image, window)
    k = patches.shape[3]
    matrix = np.broadcast_to(matrix, (*patches.shape[:3], k, k))
    w = kernel.reshape(k, *kernel.shape[2:])
    outputs = np.zeros((*patches.shape[:3], kernel.shape[3]))
    for p in np.ndindex(*patches.shape[:3]):
        for s, t in itertools.product(range(k), repeat=2):
            outputs[p] += matrix[(*p, s, t)] * (patches[(*p, t)] @ w[s])
    return outputs


def full(matrix, structure):
    return matrix[..., None] * np.eye(matrix.shape[-1]) if structure == "diagonal" else matrix


def plain_dynamic_convolution(image, kernel, matrix, window):
    """The dynamic convolution with the gradient that TensorFlow finds by itself."""
    patches = window.patches(image)
    taps = tf.reshape(kernel, (-1, *kernel.shape[2:]))
    spec = "byxs,sio,byxsi->byxo" if len(matrix.shape) == 4 else "byxst,sio,byxti->byxo"
    return tf.einsum(spec, matrix, taps, patches)


# What they are tried on


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def operands(size, window, structure, batch=2, dynamic=True):
    """An image of 2 channels, a kernel of 3 filters and an M that is not symmetric, in float64."""
    image = normal(1, batch, *size, 2)
    kernel = normal(2, *window.kernel_size, 2, 3)
    k = math.prod(window.kernel_size)
    shape = (k,) if structure == "diagonal" else (k, k)
    return image, kernel, normal(3, *(slow_patches(image, window).shape[:3] if dynamic else ()), *shape)


def gradients(function, *arguments, upstream=None):
    """Values, and the gradient of their sum (weighted by a fixed random array) with respect to every argument."""
    arguments = [tf.convert_to_tensor(argument) for argument in arguments]
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        values = function(*arguments)
        weights = tf.cast(normal(9, *values.shape) if upstream is None else upstream, values.dtype)
        total = tf.reduce_sum(values * weights)
    return values, *tape.gradient(total, arguments)


def assert_near(found, expected, tolerance=1e-12):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def assert_all_near(found, expected, tolerance=1e-12):
    for one, other in zip(found, expected, strict=True):
        assert_near(one, other, tolerance)


# Window


@each_geometry
def test_patches_and_fold_is_their_adjoint(size, window):
    image = normal(1, 2, *size, 3)
    found = window.patches(tf.constant(image))
    patches = slow_patches(image, window)
    np.testing.assert_array_equal(found, patches)

    upstream, weights = normal(2, *patches.shape), normal(3, *patches.shape[:-1])
    folded = window.fold(tf.constant(upstream), tf.constant(image), tf.constant(weights))
    weighted = upstream * weights[..., None]
    assert folded.shape == image.shape
    np.testing.assert_allclose(np.vdot(patches, weighted), np.vdot(image, folded))
    assert_near(folded, gradients(window.patches, image, upstream=weighted)[1])


@each_geometry
def test_centres_are_what_the_middle_tap_sees(size, window):
    for channels in [(3,), (2, 4)]:
        pixel_map = normal(1, 2, *size, math.prod(channels))
        middle = slow_patches(pixel_map, window)[:, :, :, math.prod(window.kernel_size) // 2]
        found = window.centres(tf.constant(pixel_map.reshape(2, *size, *channels)))
        np.testing.assert_array_equal(found, middle.reshape(*middle.shape[:3], *channels))


# Static


@each_geometry
@each_structure
def test_static_convolution(size, window, structure):
    image, kernel, matrix = operands(size, window, structure, dynamic=False)
    expected = slow_convolution(image, kernel, full(matrix, structure), window)
    assert_near(ops.static_similarity_conv2d(image, kernel, matrix, window), expected)


@each_structure
def test_similarity_kernel_is_the_transposed_m_times_w(structure):
    _, kernel, matrix = operands((3, 3), Window((3, 2)), structure, dynamic=False)
    w, merged = kernel.reshape(6, 2, 3), np.zeros((6, 2, 3))
    for s, t in itertools.product(range(6), repeat=2):
        merged[t] += full(matrix, structure)[s, t] * w[s]
    assert_near(ops.similarity_kernel(tf.constant(kernel), matrix), merged.reshape(kernel.shape))


# Dynamic


@each_geometry
@each_structure
def test_dynamic_convolution_and_its_gradient(size, window, structure):
    arguments = operands(size, window, structure)
    found = gradients(lambda *args: ops.dynamic_similarity_conv2d(*args, window), *arguments)
    image, kernel, matrix = arguments
    assert_near(found[0], slow_convolution(image, kernel, full(matrix, structure), window))
    assert_all_near(found, gradients(lambda *args: plain_dynamic_convolution(*args, window), *arguments))


@pytest.mark.parametrize(
    ("size", "window"),
    [
        ((2, 2), Window((3, 3))),
        ((3, 4), Window((3, 3), strides=(2, 2))),
        ((3, 2), Window((3, 1), padding="valid")),
        ((3, 4), Window((1, 3), dilation_rate=(1, 2))),
    ],
    ids=label,
)
@each_structure
def test_dynamic_gradient_against_differences(size, window, structure):
    arguments = operands(size, window, structure, batch=1)
    weights = normal(4, *slow_patches(arguments[0], window).shape[:3], 3)

    @tf.function
    def total(*args):
        return tf.reduce_sum(ops.dynamic_similarity_conv2d(*args, window) * weights)

    exact, numeric = tf.test.compute_gradient(total, [tf.constant(a) for a in arguments], delta=1e-3)
    for argument, found, expected in zip(arguments, exact, numeric, strict=True):
        assert found.shape == (1, argument.size)
        np.testing.assert_allclose(found, expected, atol=1e-9)  # the op is linear in each: no truncation


@each_structure
def test_second_order_gradient_of_the_dynamic_convolution(structure):
    window = Window((3, 3), strides=(2, 2))
    arguments = operands((4, 3), window, structure)

    def sharpness(convolution):
        def squared_gradients(*args):
            _, *grads = gradients(lambda *a: convolution(*a, window) ** 2, *args)
            return tf.stack([tf.reduce_sum(grad**2) for grad in grads])

        return gradients(squared_gradients, *arguments)

    found = sharpness(ops.dynamic_similarity_conv2d)
    assert all(np.any(grad) for grad in found)
    assert_all_near(found, sharpness(plain_dynamic_convolution), 1e-10)


# Properties


def test_reductions():
    window = Window((3, 3))
    image, kernel, diagonal = operands((4, 5), window, "diagonal", dynamic=False)
    pixels = image.shape[:3]
    unconstrained = normal(4, 9, 9)
    plain = tf.nn.conv2d(image, kernel, 1, "SAME")

    def static(matrix):
        return ops.static_similarity_conv2d(image, kernel, matrix, window)

    def dynamic(matrix):
        return ops.dynamic_similarity_conv2d(image, kernel, np.broadcast_to(matrix, pixels + matrix.shape), window)

    for form in (static, dynamic):
        assert_near(form(np.ones(9)), plain)
        assert_near(form(np.eye(9)), plain)
        assert_near(form(np.diag(diagonal)), form(diagonal))
    for matrix in (diagonal, unconstrained):
        assert_near(dynamic(matrix), static(matrix))
        merged = ops.similarity_kernel(tf.constant(kernel), matrix)
        assert_near(dynamic(matrix), tf.nn.conv2d(image, merged, 1, "SAME"))
    assert np.abs(static(unconstrained) - static(unconstrained.T)).max() > 1


# SphereConv


@each_geometry
def test_patch_norm(size, window):
    image = normal(1, 2, *size, 3)
    expected = np.sqrt(np.sum(slow_patches(image, window) ** 2, axis=(3, 4)) + 1e-4)
    assert_near(ops.patch_norm(image, window), expected[..., None])


def test_filter_norm():
    kernel = normal(1, 3, 2, 4, 5)
    assert_near(ops.filter_norm(kernel), np.sqrt(np.sum(kernel**2, axis=(0, 1, 2)) + 1e-4))
    assert ops.filter_norm(tf.cast(kernel, tf.bfloat16)).dtype == tf.float32


@each_geometry
def test_cosine_sphere_convolution(size, window):
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
def test_zero_patches_and_zero_filters(normalize_kernel):
    window = Window((3, 3))
    assert_near(ops.patch_norm(tf.zeros((1, 2, 2, 3)), window), np.full((1, 2, 2, 1), 0.01), 1e-7)
    assert_near(ops.filter_norm(tf.zeros((3, 3, 3, 2))), np.full(2, 0.01), 1e-7)
    image, kernel = tf.zeros((1, 4, 4, 3)), tf.zeros((3, 3, 3, 2))
    for arguments in [(image, kernel), (image, kernel + 1), (image + 1, kernel)]:
        found = gradients(lambda *args: ops.cosine_sphere_conv2d(*args, window, normalize_kernel), *arguments)
        assert not np.any(found[0])
        assert all(np.all(np.isfinite(value)) for value in found)


# Batch normalisation


def assert_normalises(shape, dtype, tolerance):
    x, scale, offset = 3 + 2 * normal(1, *shape), 1 + normal(2, shape[-1]), normal(3, shape[-1])
    wide = max(dtype, tf.float32, key=lambda d: d.size)
    x = tf.cast(x, dtype)
    y, mean, variance = ops.batch_norm(x, tf.cast(scale, wide), tf.cast(offset, wide), 1e-3)
    x = tf.cast(x, tf.float64).numpy()
    expected = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-3) * scale + offset
    assert (y.dtype, mean.dtype, variance.dtype) == (dtype, wide, wide)
    assert_near(tf.cast(y, tf.float64), expected, tolerance)
    assert_near(mean, x.mean((0, 1, 2)), min(tolerance, 1e-5))
    assert_near(variance, x.var((0, 1, 2)), min(tolerance, 1e-5))
    again = ops.normalize(tf.cast(x, dtype), *(tf.cast(v, wide) for v in (scale, offset, mean, variance)), 1e-3)
    assert again.dtype == dtype
    assert_near(tf.cast(again, tf.float64), expected, tolerance)


@pytest.mark.parametrize(
    "shape", [(2, 3, 2, 4), (1, 1, 2, 3), (1, 1, 1, 3), (2, 1, 1, 1), (2, 3, 2, 16), (1, 1, 1, 32)]
)
def test_batch_norm(shape):
    for dtype, tolerance in [(tf.float64, 1e-12), (tf.float32, 1e-4), (tf.float16, 1e-2), (tf.bfloat16, 1e-1)]:
        assert_normalises(shape, dtype, tolerance)


def test_normalize_takes_what_it_is_given():
    x, scale, offset, mean = normal(1, 2, 3, 2, 4), *normal(2, 3, 4)
    variance = normal(3, 4) ** 2
    expected = (x - mean) / np.sqrt(variance + 0.1) * scale + offset
    for dtype, tolerance in [(tf.float64, 1e-12), (tf.float32, 1e-5)]:
        found = ops.normalize(*(tf.cast(value, dtype) for value in (x, scale, offset, mean, variance)), 0.1)
        assert_near(found, expected, tolerance)


@pytest.mark.parametrize("channels", [2, 16])  # 16: TensorFlow's fused kernel
def test_batch_norm_gradient_is_that_of_the_plain_form(channels):
    x, scale, offset = 1 + normal(1, 3, 4, 5, channels), 1 + normal(2, channels), normal(3, channels)

    def plain(x, scale, offset):
        mean = tf.reduce_mean(x, (0, 1, 2))
        variance = tf.reduce_mean((x - mean) ** 2, (0, 1, 2))
        return (x - mean) / tf.sqrt(variance + 1e-3) * scale + offset

    expected = gradients(plain, x, scale, offset)
    for dtype, tolerance in [(tf.float64, 1e-12), (tf.float32, 1e-4)]:
        arguments = (tf.cast(value, dtype) for value in (x, scale, offset))
        assert_all_near(gradients(lambda *args: ops.batch_norm(*args, 1e-3)[0], *arguments), expected, tolerance)


# Pieces that XLA compiles where they are large


@pytest.fixture
def nothing_is_small(monkeypatch):
    monkeypatch.setattr(ops.fused, "_LARGE", 0)


@pytest.mark.parametrize(
    ("size", "window"),
    [
        ((4, 5), Window((3, 3), strides=(2, 2))),
        ((6, 5), Window((5, 3), strides=(3, 2), padding="valid")),
        ((5, 4), Window((3, 5), dilation_rate=(2, 1))),
    ],
    ids=label,
)
@each_structure
def test_compiled_pieces_are_the_slow_loop(nothing_is_small, size, window, structure):
    test_dynamic_convolution_and_its_gradient(size, window, structure)
    test_second_order_gradient_of_the_dynamic_convolution(structure)


def test_compiled_norms_are_the_slow_loop(nothing_is_small):
    window = Window((3, 3), strides=(2, 2))
    test_patch_norm((4, 5), window)
    test_cosine_sphere_convolution((4, 5), window)
    test_zero_patches_and_zero_filters(True)
    test_batch_norm((2, 3, 2, 4))
    test_batch_norm_gradient_is_that_of_the_plain_form(2)


def test_a_piece_is_compiled_where_it_is_large():
    @ops.fused.fused
    def squared(x, power):
        return x**power

    def compiled(shape):
        traced = tf.function(lambda x: squared(x, power=2)).get_concrete_function(tf.TensorSpec(shape, tf.float32))
        return any("_XlaMustCompile" in op.node_def.attr for op in traced.graph.get_operations())

    assert not compiled((2, 3))
    assert not compiled((None, 3))
    assert compiled((1 << 10, 1 << 10))
    assert compiled((None, 1 << 12))  # an unknown size counts as 16
    assert_near(squared(tf.fill((512, 512), 3.0), power=2), np.full((512, 512), 9.0))
    assert_near(squared(tf.fill((512, 512), 3.0), power=3), np.full((512, 512), 27.0))


@pytest.mark.parametrize("large", [0, 1 << 16], ids=["compiled", "plain"])
class TestEdges:
    """Where indices, masks and sizes run out, in both forms of the pieces."""

    @pytest.fixture(autouse=True)
    def _form(self, large, monkeypatch):
        monkeypatch.setattr(ops.fused, "_LARGE", large)

    @each_structure
    @pytest.mark.parametrize("size", [(2, 4), (4, 2), (2, 2)], ids=label)
    def test_no_output(self, size, structure):
        window = Window((3, 3), padding="valid")
        image, kernel, matrix = operands(size, window, structure)
        found = gradients(lambda *args: ops.dynamic_similarity_conv2d(*args, window), image, kernel, matrix)
        assert 0 in found[0].shape
        for gradient, argument in zip(found[1:], (image, kernel, matrix), strict=True):
            assert_near(gradient, np.zeros(argument.shape))

    @pytest.mark.parametrize("value", [np.inf, np.nan])
    def test_what_is_not_finite_stays_where_it_is_seen(self, value):
        window = Window((1, 1), strides=(2, 2))
        image, kernel, matrix = operands((4, 4), window, "diagonal", batch=1)
        upstream = np.ones((1, 2, 2, 3))
        upstream[0, 0, 0] = value
        _, d_image, _, _ = gradients(
            lambda *args: ops.dynamic_similarity_conv2d(*args, window), image, kernel, matrix, upstream=upstream
        )
        odd = ~np.isfinite(d_image).all(-1)
        assert odd[0, 0, 0]
        assert odd.sum() == 1

        image[0, 0, 0] = value
        window = Window((3, 3))
        image, kernel, matrix = image, normal(2, 3, 3, 2, 3), normal(3, 1, 4, 4, 9)
        odd = ~np.isfinite(ops.dynamic_similarity_conv2d(image, kernel, matrix, window)).all(-1)
        np.testing.assert_array_equal(np.argwhere(odd[0]), [(0, 0), (0, 1), (1, 0), (1, 1)])

    @each_structure
    def test_forward_mode_is_the_gradient(self, structure):
        window = Window((3, 3), strides=(2, 1))
        arguments = [tf.constant(each) for each in operands((4, 3), window, structure)]
        tangents = [tf.constant(normal(20 + i, *each.shape)) for i, each in enumerate(arguments)]
        with tf.autodiff.ForwardAccumulator(arguments, tangents) as forward:
            outputs = ops.dynamic_similarity_conv2d(*arguments, window)
        found, *slopes = gradients(lambda *args: ops.dynamic_similarity_conv2d(*args, window), *arguments)
        weights = normal(9, *found.shape)
        along = sum(np.vdot(slope, tangent) for slope, tangent in zip(slopes, tangents, strict=True))
        np.testing.assert_allclose(np.vdot(weights, forward.jvp(outputs)), along)

    def test_lists_and_unknown_channels(self):
        window = Window((3, 3), strides=(2, 2))
        arguments = operands((4, 3), window, "diagonal")

        @tf.function(input_signature=[tf.TensorSpec((None,) * 4, tf.float64)] * 3)
        def convolve(image, kernel, matrix):
            kernel = tf.ensure_shape(kernel, (3, 3, 2, 3))
            return gradients(
                lambda *args: ops.dynamic_similarity_conv2d(*args, Window([3, 3], [2, 2], "same", [1, 1])),
                *(image, kernel, matrix),
                upstream=1,
            )

        expected = gradients(lambda *args: ops.dynamic_similarity_conv2d(*args, window), *arguments, upstream=1)
        assert_all_near(convolve(*arguments), expected)

    def test_second_order_gradient_of_the_cosine(self):
        window = Window((3, 3))
        image, kernel, _ = operands((3, 4), window, "diagonal")

        def plain(image, kernel):
            patches = window.patches(image)
            norms = tf.sqrt(tf.reduce_sum(patches**2, (3, 4)) + 1e-4)[..., None]
            kernel /= tf.sqrt(tf.reduce_sum(kernel**2, (0, 1, 2)) + 1e-4)
            return tf.einsum("byxki,kio->byxo", patches, tf.reshape(kernel, (9, 2, 3))) / norms

        def sharpness(convolution):
            def squared_gradients(*args):
                _, *grads = gradients(lambda *a: convolution(*a) ** 2, *args)
                return tf.stack([tf.reduce_sum(grad**2) for grad in grads])

            return gradients(squared_gradients, image, kernel)

        found = sharpness(lambda image, kernel: ops.cosine_sphere_conv2d(image, kernel, window))
        assert_all_near(found, sharpness(plain), 1e-9)


# Sixteen bits, compilation, shapes that are not known


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16], ids=lambda dtype: dtype.name)
def test_sixteen_bits_within_their_rounding(dtype):
    """Errors stay within a few roundings of the sum of all terms' magnitudes."""
    rounding = 2 * float(np.finfo(np.float16).eps if dtype == tf.float16 else 2**-7)
    window = Window((3, 3))
    for structure in STRUCTURES:
        rounded = [tf.cast(value, dtype) for value in operands((4, 5), window, structure)]
        exact = [tf.cast(value, tf.float64) for value in rounded]
        found = gradients(lambda *args: ops.dynamic_similarity_conv2d(*args, window), *rounded, upstream=1)
        expected = gradients(lambda *args: plain_dynamic_convolution(*args, window), *exact, upstream=1)
        magnitude = gradients(lambda *args: plain_dynamic_convolution(*args, window), *map(tf.abs, exact), upstream=1)
        for value, wanted, bound in zip(found, expected, magnitude, strict=True):
            assert value.dtype == dtype
            assert np.all(np.abs(tf.cast(value, tf.float64) - wanted) <= rounding * bound)

        image, kernel, matrix = rounded[0], rounded[1], rounded[2][0, 0, 0]
        static = ops.static_similarity_conv2d(image, kernel, matrix, window)
        wanted, bound = (
            slow_convolution(f(exact[0]).numpy(), f(exact[1]).numpy(), full(f(exact[2])[0, 0, 0], structure), window)
            for f in (tf.identity, tf.abs)
        )
        assert static.dtype == dtype
        assert np.all(np.abs(tf.cast(static, tf.float64) - wanted) <= rounding * bound)

    cosine = ops.cosine_sphere_conv2d(rounded[0], rounded[1], window)
    assert cosine.dtype == dtype
    np.testing.assert_allclose(
        tf.cast(cosine, tf.float64), ops.cosine_sphere_conv2d(exact[0], exact[1], window), atol=2 * rounding
    )


def test_norms_do_not_overflow_in_float16():
    image = tf.fill((1, 3, 3, 3), tf.constant(300, tf.float16))  # 300² is beyond float16
    norm = ops.patch_norm(image, Window((3, 3)))
    assert norm.dtype == tf.float32
    assert float(norm[0, 1, 1, 0]) == pytest.approx(300 * math.sqrt(27))
    cosine = ops.cosine_sphere_conv2d(image, tf.ones((3, 3, 3, 1), tf.float16), Window((3, 3)))
    assert float(cosine[0, 1, 1, 0]) == pytest.approx(1, abs=2e-3)


def test_compiled_is_eager():
    """One XLA program with every op and its gradients, static shapes."""
    window, strided = Window((3, 3)), Window((3, 1), strides=(2, 2), padding="valid")
    arguments = [tf.cast(value, tf.float32) for value in operands((5, 4), window, "diagonal")]
    arguments += [
        tf.cast(value, tf.float32)
        for value in (normal(3, 2, 5, 4, 9, 9), normal(4, 9), normal(5, 9, 9), normal(6, 3, 1, 2, 3), normal(7, 3))
    ]

    def everything(image, kernel, m_dns, m_uns, diagonal, matrix, column, scale):
        def read(pixel_map):  # the first three taps' at the strided outputs
            return strided.centres(pixel_map)

        outputs = [
            ops.dynamic_similarity_conv2d(image, kernel, m_dns, window),
            ops.dynamic_similarity_conv2d(image, kernel, m_uns, window),
            ops.static_similarity_conv2d(image, kernel, diagonal, window),
            ops.static_similarity_conv2d(image, kernel, matrix, window),
            ops.cosine_sphere_conv2d(image, kernel, window),
        ]
        strides = [
            ops.dynamic_similarity_conv2d(image, column, read(m_dns[..., :3]), strided),
            ops.dynamic_similarity_conv2d(image, column, read(m_uns[..., :3, :3]), strided),
            ops.cosine_sphere_conv2d(image, column, strided, normalize_kernel=False),
        ]
        normalised, mean, variance = ops.batch_norm(tf.add_n(outputs), scale, scale, 1e-3)
        outputs = tf.stack([*outputs, normalised, ops.normalize(outputs[0], scale, scale, mean, variance, 1e-3)])
        return tf.concat([tf.reshape(outputs, [-1]), tf.reshape(tf.stack(strides), [-1])], 0)

    eager = gradients(everything, *arguments)
    compiled = tf.function(lambda *args: gradients(everything, *args), jit_compile=True)(*arguments)
    for one, other in zip(compiled, eager, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "window",
    [
        Window((3, 3), strides=(2, 2)),
        Window((5, 3), strides=(3, 2), padding="valid"),
        Window((3, 3), dilation_rate=(2, 2)),
        Window((1, 1), strides=(2, 2)),
    ],
    ids=label,
)
def test_unknown_height_and_width(window):
    """One trace serves every size."""
    k = math.prod(window.kernel_size)
    kernel = tf.constant(normal(2, *window.kernel_size, 2, 3))

    def convolutions(image, m_dns, m_uns):
        m_dns, m_uns = window.centres(m_dns), window.centres(m_uns)
        y = ops.dynamic_similarity_conv2d(image, kernel, m_dns, window)
        return y + ops.dynamic_similarity_conv2d(image, kernel, m_uns, window)

    shapes = [(None, None, None, *last) for last in ((2,), (k,), (k, k))]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float64) for shape in shapes])
    def traced(*args):
        with tf.GradientTape() as tape:
            tape.watch(args)
            values = convolutions(*args)
        return values, *tape.gradient(values, args)

    for batch, size in [(1, (5, 6)), (2, (6, 5)), (1, (8, 7))]:
        arguments = [normal(3, batch, *size, *shape[3:]) for shape in shapes]
        assert_all_near(traced(*arguments), gradients(convolutions, *arguments, upstream=1))
    assert traced.experimental_get_tracing_count() == 1
