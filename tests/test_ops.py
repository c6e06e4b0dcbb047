"""Window, static and dynamic convolution and batch normalisation, in value and gradient, against slow forms."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from slow_forms import (
    STRUCTURES,
    assert_all_near,
    assert_near,
    each_geometry,
    each_geometry_plain_and_compiled,
    each_structure,
    full,
    gradients,
    label,
    normal,
    operands,
    plain_dynamic_convolution,
    second_order_gradients,
    slow_convolution,
    slow_patches,
)

from neural_similarity import ops
from neural_similarity.ops import Window

# Window


@each_geometry
def test_patches_are_the_loop_and_fold_is_their_adjoint(size, window):
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


@each_geometry_plain_and_compiled
@each_structure
def test_dynamic_convolution_and_its_gradient(fused_functions, size, window, structure):
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
def test_second_order_gradient_of_the_dynamic_convolution(fused_functions, structure):
    window = Window((3, 3), strides=(2, 2))
    arguments = operands((4, 3), window, structure)
    found = second_order_gradients(lambda *args: ops.dynamic_similarity_conv2d(*args, window), *arguments)
    assert all(np.any(gradient) for gradient in found)
    expected = second_order_gradients(lambda *args: plain_dynamic_convolution(*args, window), *arguments)
    assert_all_near(found, expected, 1e-10)


@each_structure
def test_slices_of_the_batch_make_no_difference(fused_functions, structure, monkeypatch):
    window = Window((3, 3), strides=(2, 2))
    arguments = operands((5, 4), window, structure, batch=6)
    image, kernel, _ = arguments
    a_patch = 3 * 2 * kernel[..., 0].nbytes  # of an image
    expected = gradients(lambda *args: plain_dynamic_convolution(*args, window), *arguments)
    slopes = second_order_gradients(lambda *args: plain_dynamic_convolution(*args, window), *arguments)
    for images, slices in [(6, 1), (2, 3)]:
        monkeypatch.setattr(ops.dynamic, "_SLICE_BYTES", images * a_patch)
        assert ops.dynamic._number_of_slices(tf.constant(image), tf.zeros((6, 3, 2, 9)), 9) == slices
        found = gradients(lambda *args: ops.dynamic_similarity_conv2d(*args, window), *arguments)
        assert_all_near(found, expected)
        found = second_order_gradients(lambda *args: ops.dynamic_similarity_conv2d(*args, window), *arguments)
        assert_all_near(found, slopes, 1e-10)


def test_how_many_slices():
    def slices(batch, bytes_of_an_image, dtype=tf.float32):
        image = tf.TensorSpec((batch, 1, 1, bytes_of_an_image // 36), dtype)
        return ops.dynamic._number_of_slices(image, tf.TensorSpec((batch, 1, 1, 9)), 9)

    assert slices(128, 1_180_000) == 16
    assert slices(128, 1_180_000, tf.bfloat16) == 8
    assert slices(100, 1_180_000) == 20  # 5 each
    assert slices(None, 1_180_000) == 1
    assert slices(127, 1_180_000) == 1  # a prime number
    assert slices(128, 100) == 1
    assert slices(4096, 1_180_000) == 32
    assert slices(8, 30_000_000) == 8
    assert slices(70, 30_000_000) == 1  # 2 each would make 35
    assert slices(0, 1_180_000) == 1


# Static beside dynamic


def test_special_matrices_give_the_simpler_forms():
    """An M of ones on the diagonal is plain convolution; a full M that is diagonal is DNS; a constant M is static."""
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
    statistics = (tf.cast(value, wide) for value in (scale, offset, mean, variance))
    by_averages = ops.batch_norm_by_averages(tf.cast(x, dtype), *statistics, 1e-3)
    assert by_averages.dtype == dtype
    assert_near(tf.cast(by_averages, tf.float64), expected, tolerance)


@pytest.mark.parametrize(
    "shape", [(2, 3, 2, 4), (1, 1, 2, 3), (1, 1, 1, 3), (2, 1, 1, 1), (2, 3, 2, 16), (1, 1, 1, 32)]
)
def test_batch_norm(fused_functions, shape):
    for dtype, tolerance in [(tf.float64, 1e-12), (tf.float32, 1e-4), (tf.float16, 1e-2), (tf.bfloat16, 1e-1)]:
        assert_normalises(shape, dtype, tolerance)


def test_batch_norm_by_averages_uses_the_given_mean_and_variance():
    x, scale, offset, mean = normal(1, 2, 3, 2, 4), *normal(2, 3, 4)
    variance = normal(3, 4) ** 2
    expected = (x - mean) / np.sqrt(variance + 0.1) * scale + offset
    for dtype, tolerance in [(tf.float64, 1e-12), (tf.float32, 1e-5)]:
        arguments = (tf.cast(value, dtype) for value in (x, scale, offset, mean, variance))
        found = ops.batch_norm_by_averages(*arguments, 0.1)
        assert_near(found, expected, tolerance)


@pytest.mark.parametrize("channels", [2, 16])  # 16: TensorFlow's fused kernel
def test_batch_norm_gradient_is_that_of_the_plain_form(fused_functions, channels):
    x, scale, offset = 1 + normal(1, 3, 4, 5, channels), 1 + normal(2, channels), normal(3, channels)

    def plain(x, scale, offset):
        mean = tf.reduce_mean(x, (0, 1, 2))
        variance = tf.reduce_mean((x - mean) ** 2, (0, 1, 2))
        return (x - mean) / tf.sqrt(variance + 1e-3) * scale + offset

    expected = gradients(plain, x, scale, offset)
    for dtype, tolerance in [(tf.float64, 1e-12), (tf.float32, 1e-4)]:
        arguments = (tf.cast(value, dtype) for value in (x, scale, offset))
        assert_all_near(gradients(lambda *args: ops.batch_norm(*args, 1e-3)[0], *arguments), expected, tolerance)


# Sixteen bits, XLA, unknown sizes


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16], ids=lambda dtype: dtype.name)
def test_sixteen_bits_within_their_rounding(dtype):
    """The error of a sum is at most a few roundings of the sum of its terms' absolute values."""
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
    """XLA compiles every op and its gradients as one program."""
    window, strided = Window((3, 3)), Window((3, 1), strides=(2, 2), padding="valid")
    arguments = [tf.cast(value, tf.float32) for value in operands((5, 4), window, "diagonal")]
    arguments += [
        tf.cast(value, tf.float32)
        for value in (normal(3, 2, 5, 4, 9, 9), normal(4, 9), normal(5, 9, 9), normal(6, 3, 1, 2, 3), normal(7, 3))
    ]

    def everything(image, kernel, m_dns, m_uns, diagonal, matrix, column, scale):
        outputs = [
            ops.dynamic_similarity_conv2d(image, kernel, m_dns, window),
            ops.dynamic_similarity_conv2d(image, kernel, m_uns, window),
            ops.static_similarity_conv2d(image, kernel, diagonal, window),
            ops.static_similarity_conv2d(image, kernel, matrix, window),
            ops.cosine_sphere_conv2d(image, kernel, window),
        ]
        strides = [
            ops.dynamic_similarity_conv2d(image, column, strided.centres(m_dns[..., :3]), strided),
            ops.dynamic_similarity_conv2d(image, column, strided.centres(m_uns[..., :3, :3]), strided),
            ops.cosine_sphere_conv2d(image, column, strided, normalize_kernel=False),
        ]
        normalised, mean, variance = ops.batch_norm(tf.add_n(outputs), scale, scale, 1e-3)
        by_averages = ops.batch_norm_by_averages(outputs[0], scale, scale, mean, variance, 1e-3)
        outputs = tf.stack([*outputs, normalised, by_averages])
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
    """One trace of the function serves images of every size."""
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
