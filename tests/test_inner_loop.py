"""The inner loop, beside finite differences and by its properties."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

from neural_similarity.few_shot.functional import call_with
from neural_similarity.few_shot.heads import prototypes
from neural_similarity.few_shot.inner_loop import adapted
from neural_similarity.interop.merge import merge
from neural_similarity.layers import StaticSimilarityConv2D
from neural_similarity.models import conv4
from neural_similarity.models.seeding import seeded
from neural_similarity.ops import squared_distances
from neural_similarity.ops.batch_norm import batch_norm

MATRICES = [f"conv{block}/similarity_matrix" for block in range(1, 5)]


@pytest.fixture(scope="module")
def model():
    with seeded(0):
        return conv4(StaticSimilarityConv2D, filters=3, image_size=16, dtype="float64")


@pytest.fixture(scope="module")
def images():
    """Two classes of three images."""
    return tf.constant(np.random.default_rng(0).uniform(0, 255, (6, 16, 16, 3)), tf.float32)


def episode_loss(model, images, parameters):
    features = call_with(model, parameters, images, training=True)
    features = tf.reshape(features, (2, 3, -1))
    centres = prototypes(tf.reshape(features[:, :2], (4, -1)), [0, 0, 1, 1], 2)
    logits = -squared_distances(tf.reshape(features[:, 2:], (2, -1)), centres)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits([0, 1], logits))


def outer_loss(model, images, rate=0.05, steps=2, second_order=True):
    """The loss after adaptation, on the same images, as a function of a kernel and of the matrices before."""

    def loss(kernel, *matrices):
        def inner(values):
            return episode_loss(model, images, {"conv2/kernel": kernel, **dict(zip(MATRICES, values, strict=True))})

        return inner(adapted(inner, matrices, [rate] * 4, steps, second_order))

    start = [model.get_layer("conv2").kernel.value]
    return loss, start + [model.get_layer(f"conv{b}").similarity_matrix.value for b in range(1, 5)]


def test_the_second_order_gradient_agrees_with_finite_differences(model, images):
    loss, start = outer_loss(model, images)
    exact, numeric = tf.test.compute_gradient(tf.function(loss), start, delta=1e-6)
    for one, other in zip(exact, numeric, strict=True):
        assert np.abs(other).max() > 1e-4
        np.testing.assert_allclose(one, other, atol=1e-6 + 1e-4 * np.abs(other).max())


def test_the_first_order_gradient_is_another_one(model, images):
    gradients = []
    for second_order in (True, False):
        loss, start = outer_loss(model, images, second_order=second_order)
        with tf.GradientTape() as tape:
            tape.watch(start)
            value = loss(*start)
        gradients.append((float(value), np.concatenate([np.ravel(g) for g in tape.gradient(value, start)])))
    (value, second), (same, first) = gradients
    assert value == same
    assert np.abs(first - second).max() > 1e-3 * np.abs(second).max()


def test_a_step_equals_plain_gradient_descent():
    def loss(values):
        return tf.reduce_sum(3 * values[0] ** 2) + values[1]

    x, y = tf.constant([1.0, -2.0]), tf.constant(5.0)
    for steps, factor in ((0, 1.0), (1, 0.4), (3, 0.4**3)):
        one, other = adapted(loss, [x, y], [0.1, 2.0], steps)
        np.testing.assert_allclose(one, factor * x, rtol=1e-6)
        assert float(other) == 5.0 - 2.0 * steps


def test_a_rate_can_be_learned():
    rate = tf.constant(0.1)
    with tf.GradientTape() as tape:
        tape.watch(rate)
        (x,) = adapted(lambda values: values[0] ** 2, [tf.constant(3.0)], [rate], 1)
        loss = x**2  # (3 − 6·rate)²
    assert float(tape.gradient(loss, rate)) == pytest.approx(2 * (3 - 0.6) * -6)


def test_adaptation_changes_nothing_but_what_it_returns_and_merges(model, images):
    before = [w.numpy() for w in model.weights]
    matrices = [model.get_layer(f"conv{b}").similarity_matrix for b in range(1, 5)]

    def inner(values):
        return episode_loss(model, images, dict(zip(MATRICES, values, strict=True)))

    after = adapted(inner, matrices, [0.5] * 4, 2)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    assert all(np.abs(a - m.numpy()).max() > 1e-4 for a, m in zip(after, matrices, strict=True))
    features = call_with(model, dict(zip(MATRICES, after, strict=True)), images, training=False)
    for matrix, value in zip(matrices, after, strict=True):
        matrix.assign(value)
    np.testing.assert_allclose(merge(model)(images), features, atol=1e-10)  # as plain kernels
    for weight, value in zip(model.weights, before, strict=True):
        weight.assign(value)


def test_a_parameter_without_effect_and_one_that_is_not_there_are_refused(model, images):
    with pytest.raises(ValueError, match=r"does not depend on the parameters at the places \[1\]"):
        adapted(lambda values: values[0] ** 2, [tf.constant(1.0), tf.constant(2.0)], [0.1, 0.1], 1)
    with pytest.raises(ValueError, match="no trainable weights"):
        call_with(model, {"conv9/kernel": tf.zeros(1)}, images, training=True)


def _two_gradients(normalise, arguments, directions, dtype):
    """The gradients of a function of the normalised x, and the gradients of their products with `directions`."""
    x, scale, offset, weights = (tf.constant(value, dtype) for value in arguments)
    with tf.GradientTape() as outer:
        outer.watch([x, scale, offset, weights])
        with tf.GradientTape() as inner:
            inner.watch([x, scale, offset])
            loss = tf.reduce_sum(weights * tf.tanh(normalise(x, scale, offset, 1e-3)[0]))
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
        return _two_gradients(batch_norm, *arguments, tf.float32)

    if jit_compile is not None:
        found = tf.function(found, jit_compile=jit_compile)
    for value, expected in zip(found(), _two_gradients(batch_norm, *arguments, tf.float64), strict=True):
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
    x, scale, offset, weights, *directions = (
        rng.standard_normal(shape)
        for shape in ((3, 2, 2, 16), 16, 16, (3, 2, 2, 16), *[(3, 2, 2, 16)] * 3, *[(16,)] * 3)
    )

    def derivatives(dtype, order=4):
        values = [tf.constant(value, dtype) for value in (x, scale, offset)]
        along = [tf.constant(value, dtype) for value in directions]

        def derivative(order):
            if not order:
                outputs = batch_norm(*values, 0.1)[0]
                return tf.reduce_sum(tf.constant(weights, dtype) * tf.tanh(outputs))
            with tf.GradientTape() as tape:
                tape.watch(values)
                value = derivative(order - 1)
            slopes = tape.gradient(value, values)
            return sum(
                tf.reduce_sum(slope * along[(order + i) % 3 if i == 0 else 2 + i]) for i, slope in enumerate(slopes)
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
