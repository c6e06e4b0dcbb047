"""Slow forms of the ops, loops that a reader can believe; and the inputs and checks that several test files share."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

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
COMPILED_GEOMETRIES = GEOMETRIES[9], GEOMETRIES[12], GEOMETRIES[15]  # stride, odd stride, dilation


def label(value):
    """Names an image size or a window in a test's name: `4x5`, or `3x3-s2x2-valid-d1x1`."""
    if isinstance(value, str):
        return value
    if not isinstance(value, Window):
        return "x".join(map(str, value))
    kernel, strides, dilation = map(label, (value.kernel_size, value.strides, value.dilation_rate))
    return f"{kernel}-s{strides}-{value.padding}-d{dilation}"


each_geometry = pytest.mark.parametrize(("size", "window"), GEOMETRIES, ids=label)
# Every geometry in plain TensorFlow, and three where XLA compiles, as compiling takes seconds.
each_geometry_plain_and_compiled = pytest.mark.parametrize(
    ("fused_functions", "size", "window"),
    [("plain", *geometry) for geometry in GEOMETRIES] + [("compiled", *geometry) for geometry in COMPILED_GEOMETRIES],
    ids=label,
    indirect=["fused_functions"],
)
each_structure = pytest.mark.parametrize("structure", STRUCTURES)


# The slow forms


def slow_axis(size, taps, stride, padding, dilation):
    """The number of outputs along one axis, and the number of zeros before the first pixel.

    Where the number of zeros is odd, TensorFlow puts the larger half behind the last pixel.
    """
    extent = (taps - 1) * dilation + 1
    if padding == "valid":
        return len(range(0, size - extent + 1, stride)), 0
    outputs = math.ceil(size / stride)
    return outputs, max((outputs - 1) * stride + extent - size, 0) // 2


def slow_patches(image, window):
    """x_t(p), the input pixel that tap t reads at output pixel p: `(b, h, w, i)` → `(b, y, x, k, i)`."""
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
    """y(p) = Σ_s Σ_t M(p)[s, t] ⟨w_s, x_t(p)⟩, `(b, y, x, o)`, for a full M, `(k, k)` or `(b, y, x, k, k)`."""
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
    """M with all its entries: a diagonal `(…, k)` becomes `(…, k, k)`."""
    return matrix[..., None] * np.eye(matrix.shape[-1]) if structure == "diagonal" else matrix


def plain_dynamic_convolution(image, kernel, matrix, window):
    """The dynamic convolution with the gradient that TensorFlow finds by itself."""
    patches = window.patches(image)
    taps = tf.reshape(kernel, (-1, *kernel.shape[2:]))
    spec = "byxs,sio,byxsi->byxo" if len(matrix.shape) == 4 else "byxst,sio,byxti->byxo"
    return tf.einsum(spec, matrix, taps, patches)


# The inputs


def normal(seed, *shape):
    """Numbers from the normal distribution, the same for the same seed and shape."""
    return np.random.default_rng(seed).standard_normal(shape)


def operands(size, window, structure, batch=2, dynamic=True):
    """An image of 2 channels, a kernel of 3 filters, and an M that is not symmetric; all in float64.

    With `dynamic` there is an M for every output pixel, otherwise one for all.
    """
    image = normal(1, batch, *size, 2)
    kernel = normal(2, *window.kernel_size, 2, 3)
    k = math.prod(window.kernel_size)
    shape = (k,) if structure == "diagonal" else (k, k)
    return image, kernel, normal(3, *(slow_patches(image, window).shape[:3] if dynamic else ()), *shape)


# The checks


def gradients(function, *arguments, upstream=None):
    """The values of a function, and the gradient of Σ values · upstream with respect to every argument.

    `upstream` is a number or an array; by default an array of random numbers, the same at every call.
    """
    arguments = [tf.convert_to_tensor(argument) for argument in arguments]
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        values = function(*arguments)
        weights = tf.cast(normal(9, *values.shape) if upstream is None else upstream, values.dtype)
        total = tf.reduce_sum(values * weights)
    return values, *tape.gradient(total, arguments)


def second_order_gradients(function, *arguments):
    """The sums of the squared gradients of `function(…)²`, and the gradients of those sums: no gradient is constant."""

    def squared_gradients(*args):
        _, *first_order = gradients(lambda *a: function(*a) ** 2, *args)
        return tf.stack([tf.reduce_sum(gradient**2) for gradient in first_order])

    return gradients(squared_gradients, *arguments)


def assert_near(found, expected, tolerance=1e-12):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def assert_all_near(found, expected, tolerance=1e-12):
    for one, other in zip(found, expected, strict=True):
        assert_near(one, other, tolerance)
