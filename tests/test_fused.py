"""The functions that XLA compiles where their tensors are large: when, how many are kept, and the same numbers."""

import functools
import gc
import logging

import numpy as np
import pytest
import tensorflow as tf
from slow_forms import (
    assert_all_near,
    assert_near,
    each_structure,
    gradients,
    label,
    normal,
    operands,
    second_order_gradients,
)
from tensorflow.python.eager.polymorphic_function import polymorphic_function  # private, as its warnings are

from neural_similarity import ops
from neural_similarity.ops import Window

# What is compiled, and what is kept of it


@ops.fused.recomputed
def power_of(x, power):
    return x**power


@pytest.fixture
def room_for_three(monkeypatch):
    """Compiles everything, and keeps three functions; returns the cache."""
    monkeypatch.setattr(ops.fused, "_LARGE", 0)
    cache = functools.lru_cache(maxsize=3)(ops.fused._compiled.__wrapped__)
    monkeypatch.setattr(ops.fused, "_compiled", cache)
    return cache


def test_a_function_is_compiled_where_a_tensor_is_large():
    def compiled(shape):
        traced = tf.function(lambda x: power_of(x, power=2)).get_concrete_function(tf.TensorSpec(shape, tf.float32))
        return any("_XlaMustCompile" in op.node_def.attr for op in traced.graph.get_operations())

    assert not compiled((2, 3))
    assert not compiled((None, 3))
    assert compiled((1 << 10, 1 << 10))
    assert compiled((None, 1 << 12))  # an unknown size counts as 16
    assert_near(power_of(tf.fill((512, 512), 3.0), power=2), np.full((512, 512), 9.0))
    assert_near(power_of(tf.fill((512, 512), 3.0), power=3), np.full((512, 512), 27.0))


def test_one_function_for_each_shape_dtype_and_setting(room_for_three):
    for _ in range(3):
        for x, power in [(tf.ones(3), 2), (tf.ones(3, tf.float64), 2), (tf.ones(3), 3)]:
            power_of(x, power=power)
    assert room_for_three.cache_info().misses == 3


def test_no_more_functions_are_kept_than_the_limit():
    kept = ops.fused._compiled
    for size in range(ops.fused._KEPT + 5):
        kept(power_of, False, ((tf.float32, (size,)),))  # made, but neither traced nor compiled
    assert kept.cache_info().currsize == ops.fused._KEPT
    kept.cache_clear()


def test_dropped_functions_change_no_result(room_for_three):
    """A step that was traced and a tape that was recorded before still work, and a new call compiles again."""

    def cube(x):
        return power_of(x, power=3)

    def expected(x):
        return x**3, 3 * x**2

    x = normal(1, 2, 3)
    step = tf.function(lambda x: gradients(cube, x, upstream=1)).get_concrete_function(tf.constant(x))
    watched = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(watched)
        outputs = cube(watched)
    for size in range(4, 10):
        other = normal(size, size)
        assert_all_near(gradients(cube, other, upstream=1), expected(other))
        assert room_for_three.cache_info().currsize <= 3
    gc.collect()
    assert_all_near(step(tf.constant(x)), expected(x))
    assert_near(tape.gradient(outputs, watched), expected(x)[1])
    compiled = room_for_three.cache_info().misses
    assert_near(cube(tf.constant(x)), expected(x)[0])
    assert room_for_three.cache_info().misses == compiled + 1


def test_tensorflow_does_not_warn_of_retracing(room_for_three, caplog, monkeypatch):
    # TensorFlow warns twice of a function and then never again: a new manager knows of no earlier test's warnings.
    manager = polymorphic_function._FrequentTracingDetectorManager()
    monkeypatch.setattr(polymorphic_function, "_frequent_tracing_detector_manager", manager)
    sizes = [*range(1, 9)] * 2  # the second round compiles again what the first had to drop
    with caplog.at_level(logging.WARNING, "tensorflow"):
        for size in sizes:
            power_of(tf.ones(size), power=2)
        assert "retracing" not in caplog.text
        one_function = tf.function(lambda x: x**2)
        for size in sizes:
            one_function(tf.ones(size))
        assert "retracing" in caplog.text  # the warning that would have come


# Where indices, masks and sizes run out


@each_structure
@pytest.mark.parametrize("size", [(2, 4), (4, 2), (2, 2)], ids=label)
def test_no_output(fused_functions, size, structure):
    window = Window((3, 3), padding="valid")
    image, kernel, matrix = operands(size, window, structure)
    found = gradients(lambda *args: ops.dynamic_similarity_conv2d(*args, window), image, kernel, matrix)
    assert 0 in found[0].shape
    for gradient, argument in zip(found[1:], (image, kernel, matrix), strict=True):
        assert_near(gradient, np.zeros(argument.shape))


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_what_is_not_finite_stays_where_it_is_seen(fused_functions, value):
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
def test_forward_mode_is_the_gradient(fused_functions, structure):
    window = Window((3, 3), strides=(2, 1))
    arguments = [tf.constant(each) for each in operands((4, 3), window, structure)]
    tangents = [tf.constant(normal(20 + i, *each.shape)) for i, each in enumerate(arguments)]
    with tf.autodiff.ForwardAccumulator(arguments, tangents) as forward:
        outputs = ops.dynamic_similarity_conv2d(*arguments, window)
    found, *slopes = gradients(lambda *args: ops.dynamic_similarity_conv2d(*args, window), *arguments)
    weights = normal(9, *found.shape)
    along = sum(np.vdot(slope, tangent) for slope, tangent in zip(slopes, tangents, strict=True))
    np.testing.assert_allclose(np.vdot(weights, forward.jvp(outputs)), along)


def test_lists_and_unknown_channels(fused_functions):
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


def test_second_order_gradient_of_the_cosine(fused_functions):
    window = Window((3, 3))
    image, kernel, _ = operands((3, 4), window, "diagonal")

    def plain(image, kernel):
        patches = window.patches(image)
        norms = tf.sqrt(tf.reduce_sum(patches**2, (3, 4)) + 1e-4)[..., None]
        kernel /= tf.sqrt(tf.reduce_sum(kernel**2, (0, 1, 2)) + 1e-4)
        return tf.einsum("byxki,kio->byxo", patches, tf.reshape(kernel, (9, 2, 3))) / norms

    found = second_order_gradients(lambda *args: ops.cosine_sphere_conv2d(*args, window), image, kernel)
    assert_all_near(found, second_order_gradients(plain, image, kernel), 1e-9)
