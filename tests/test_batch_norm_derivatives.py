"""Derivatives of `batch_norm` of every order, most of all where TensorFlow's fused kernel computes it."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

from neural_similarity.ops.batch_norm import batch_norm


def _two_gradients(arguments, directions, dtype):
    """The gradients of a function of the normalised x, and the gradients of their products with `directions`."""
    x, scale, offset, weights = (tf.constant(value, dtype) for value in arguments)
    with tf.GradientTape() as outer:
        outer.watch([x, scale, offset, weights])
        with tf.GradientTape() as inner:
            inner.watch([x, scale, offset])
            loss = tf.reduce_sum(weights * tf.tanh(batch_norm(x, scale, offset, 1e-3)[0]))
        first = inner.gradient(loss, [x, scale, offset])
        along = sum(tf.reduce_sum(g * tf.constant(d, dtype)) for g, d in zip(first, directions, strict=True))
    return [*first, *outer.gradient(along, [x, scale, offset, weights])]


@pytest.mark.parametrize("size", [3, 16])  # too small for XLA, and compiled
@pytest.mark.parametrize("jit_compile", [None, False, True], ids=["eager", "graph", "xla"])
def test_all_second_gradients_of_the_fused_kernel(size, jit_compile):
    """In float64 the fused kernel is not used; TensorFlow differentiates our own mean and variance twice."""
    rng = np.random.default_rng(1)
    shape = (4, size, size, 64)
    x, weights, of_x = (rng.standard_normal(shape) for _ in range(3))
    scale, (offset, of_scale, of_offset) = rng.uniform(0.5, 2, 64), rng.standard_normal((3, 64))
    arguments = ((x, scale, offset, weights), (of_x, of_scale, of_offset))

    def found():
        return _two_gradients(*arguments, tf.float32)

    if jit_compile is not None:
        found = tf.function(found, jit_compile=jit_compile)
    for value, expected in zip(found(), _two_gradients(*arguments, tf.float64), strict=True):
        np.testing.assert_allclose(value, expected, atol=2e-5 * np.abs(expected).max())


def test_second_gradient_through_a_function_that_is_a_graph():
    """Each of the two gradients is then a graph of its own."""
    rng = np.random.default_rng(5)
    x, weights = (rng.standard_normal((4, 3, 3, 16)) for _ in range(2))

    def found(dtype):
        value, factors = tf.constant(x, dtype), tf.constant(weights, dtype)
        normalise = tf.function(lambda x: batch_norm(x, tf.ones(16, dtype), tf.zeros(16, dtype), 1e-3)[0])
        with tf.GradientTape() as outer:
            outer.watch(value)
            with tf.GradientTape() as inner:
                inner.watch(value)
                loss = tf.reduce_sum(factors * tf.tanh(normalise(value)))
            slope = inner.gradient(loss, value)
        return outer.gradient(slope, value, factors)

    np.testing.assert_allclose(found(tf.float32), found(tf.float64), atol=1e-5)


def test_a_gradient_leaves_no_tensor_behind():
    """Nothing waits for Python's search for cycles, which does not know how large a tensor is."""
    value = tf.random.normal((2, 3, 3, 16))
    gc.collect()
    gc.disable()
    try:
        upstream = tf.ones((2, 3, 3, 16))
        with tf.GradientTape() as tape:
            tape.watch(value)
            outputs = batch_norm(value, tf.ones(16), tf.zeros(16), 1e-3)[0]
        slope = tape.gradient(outputs, value, upstream)
        left = [weakref.ref(upstream), weakref.ref(slope)]
        del tape, outputs, upstream, slope
        assert [each() for each in left] == [None, None]
    finally:
        gc.enable()


def test_forward_mode_of_the_gradient_of_the_fused_kernel():
    rng = np.random.default_rng(2)
    x, direction, weights = (rng.standard_normal((4, 3, 3, 16)) for _ in range(3))

    def product(dtype):
        """The product of a Hessian matrix and `direction`."""
        point, along, factors = (tf.constant(value, dtype) for value in (x, direction, weights))
        with tf.autodiff.ForwardAccumulator(point, along) as forward:
            with tf.GradientTape() as tape:
                tape.watch(point)
                outputs = batch_norm(point, tf.ones(16, dtype), tf.zeros(16, dtype), 1e-3)[0]
                loss = tf.reduce_sum(factors * tf.tanh(outputs))
            slope = tape.gradient(loss, point)
        return forward.jvp(slope)

    np.testing.assert_allclose(product(tf.float32), product(tf.float64), atol=1e-5)


@pytest.mark.parametrize("in_graph", [False, True], ids=["eager", "graph"])
def test_derivatives_of_the_fused_kernel_go_on(in_graph):
    """Up to the fourth, with respect to x, γ and β."""
    rng = np.random.default_rng(3)
    x, weights, *maps = (rng.standard_normal((3, 2, 2, 16)) for _ in range(5))
    scale, offset, *vectors = rng.standard_normal((4, 16))

    def derivatives(dtype, order=4):
        values = [tf.constant(value, dtype) for value in (x, scale, offset)]

        def derivative(order):
            if not order:
                outputs = batch_norm(*values, 0.1)[0]
                return tf.reduce_sum(tf.constant(weights, dtype) * tf.tanh(outputs))
            with tf.GradientTape() as tape:
                tape.watch(values)
                value = derivative(order - 1)
            slopes = tape.gradient(value, values)
            directions = maps[order % 3], *vectors  # other pixels in each order
            return sum(
                tf.reduce_sum(slope * tf.constant(d, dtype)) for slope, d in zip(slopes, directions, strict=True)
            )

        return [derivative(each) for each in range(1, order + 1)]

    run = tf.function(derivatives) if in_graph else derivatives
    np.testing.assert_allclose(run(tf.float32), derivatives(tf.float64), rtol=2e-4)


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16], ids=lambda dtype: dtype.name)
def test_second_gradients_of_narrow_maps(dtype):
    """They have the dtypes of their arguments, and are as exact as 16 bits allow; the batch size is unknown."""
    rng = np.random.default_rng(4)
    x, upstream, of_x = (rng.standard_normal((4, 16, 16, 64)) for _ in range(3))
    scale, offset = rng.uniform(0.5, 2, (2, 64))

    def second(x, upstream, of_x, scale, offset):
        with tf.GradientTape() as outer:
            outer.watch([x, scale, upstream])
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = batch_norm(x, scale, offset, 1e-3)[0]
            slope = inner.gradient(y, x, upstream)
        return outer.gradient(slope, [x, scale, upstream], of_x)

    narrow = [tf.cast(value, dtype) for value in (x, upstream, of_x)]
    unknown = tf.TensorSpec((None, 16, 16, 64), dtype)
    vector = tf.TensorSpec(64, tf.float32)
    run = tf.function(second, input_signature=[unknown] * 3 + [vector] * 2)
    found = run(*narrow, *(tf.constant(value, tf.float32) for value in (scale, offset)))
    assert [value.dtype for value in found] == [dtype, tf.float32, dtype]
    exact = second(*(tf.cast(value, tf.float64) for value in narrow), tf.constant(scale), tf.constant(offset))
    for value, expected in zip(found, exact, strict=True):
        np.testing.assert_allclose(tf.cast(value, tf.float64), expected, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize("channels", [3, 16])  # without TensorFlow's fused kernel, and with it
def test_batch_normalisation_has_the_right_gradient_of_its_gradient(channels):
    """`tf.nn.moments` has not: in its variance the mean is a constant."""
    rng = np.random.default_rng(0)
    x, direction, weights = (rng.standard_normal((4, 3, 3, channels)) for _ in range(3))
    scale, offset = rng.uniform(0.5, 2, channels), rng.standard_normal(channels)

    def slope(x, dtype):
        """The derivative of a function of the normalised x along `direction`."""
        x, d, w = (tf.cast(value, dtype) for value in (x, direction, weights))
        with tf.GradientTape() as tape:
            tape.watch(x)
            y, _, _ = batch_norm(x, tf.cast(scale, dtype), tf.cast(offset, dtype), 1e-3)
            value = tf.reduce_sum(w * tf.tanh(y))
        return tf.reduce_sum(tape.gradient(value, x) * d)

    x32 = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x32)
        value = slope(x32, tf.float32)
    exact = tape.gradient(value, x32)
    expected = np.zeros_like(x)
    for place in np.ndindex(2, 1, 1, channels):
        up, down = x.copy(), x.copy()
        up[place] += 1e-5
        down[place] -= 1e-5
        expected[place] = (slope(up, tf.float64) - slope(down, tf.float64)) / 2e-5
    np.testing.assert_allclose(exact[:2, :1, :1], expected[:2, :1, :1], atol=2e-3)
