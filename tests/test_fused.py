"""The functions that XLA compiles where their tensors are large: when, how many at most, and the same numbers."""

import logging

import keras
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
from neural_similarity.layers import DynamicSimilarityConv2D, NeuralSimilarityPredictor
from neural_similarity.ops import Window

# What is compiled, and what is kept of it


@ops.fused.recomputed
def power_of(x, power):
    return x**power


@pytest.fixture(autouse=True)
def none_compiled(monkeypatch):
    """As at the start of a process, whatever earlier tests compiled."""
    monkeypatch.setattr(ops.fused, "_COMPILED", {})


@pytest.fixture
def at_most_three(monkeypatch):
    """Compiles whatever its size, and three functions at most; returns the dict of those that are compiled."""
    monkeypatch.setattr(ops.fused, "_LARGE", 0)
    monkeypatch.setattr(ops.fused, "_MOST", 3)
    return ops.fused._COMPILED


def is_compiled(function, *arguments, **settings):
    """Whether a step that calls `function` on tensors of such shapes has a compiled function in it."""
    specs = [tf.TensorSpec(shape, tf.float32) for shape in arguments]
    traced = tf.function(lambda *args: function(*args, **settings)).get_concrete_function(*specs)
    return any("_XlaMustCompile" in op.node_def.attr for op in traced.graph.get_operations())


def test_a_function_is_compiled_where_a_tensor_is_large():
    def compiled(shape):
        return is_compiled(power_of, shape, power=2)

    assert not compiled((2, 3))
    assert not compiled((None, 3))
    assert compiled((1 << 10, 1 << 10))
    assert compiled((None, 1 << 12))  # an unknown batch counts as 16
    assert_near(power_of(tf.fill((512, 512), 3.0), power=2), np.full((512, 512), 9.0))
    assert_near(power_of(tf.fill((512, 512), 3.0), power=3), np.full((512, 512), 27.0))


@pytest.mark.parametrize("shape", [(8, None, 64, 64), (8, 64, None, 64), (None, None, None, 1 << 12)], ids=str)
def test_images_of_unknown_size_are_not_compiled(shape):
    """XLA would compile a program for each size that comes, and keep it."""
    assert not is_compiled(power_of, shape, power=2)
    assert not is_compiled(lambda x: ops.patch_norm(x, Window((3, 3))), shape)
    layer = DynamicSimilarityConv2D(4, 3)
    layer.build(shape)
    assert not is_compiled(layer, shape)
    assert is_compiled(layer, (None, 64, 64, shape[-1]))


def test_predict_compiles_for_the_first_size_only():
    """From the second on Keras traces the model for images of unknown size."""
    layer = DynamicSimilarityConv2D(2, 3, predictor=NeuralSimilarityPredictor(2))
    model = keras.Sequential([keras.Input((None, None, 16)), layer])
    for width in (65, 66, 70, 80):
        x = normal(width, 1, 64, width, 16).astype("float32")
        assert_near(model.predict(x, verbose=0), layer(x).numpy(), 1e-4)
        ours = [signature for *_, signature in ops.fused._COMPILED if signature[0][1][0] is None]
        assert {shape[2] for _, shape in (signature[0] for signature in ours)} <= {65}


def test_one_function_for_each_shape_dtype_and_setting(at_most_three):
    for _ in range(3):
        for x, power in [(tf.ones(3), 2), (tf.ones(3, tf.float64), 2), (tf.ones(3), 3)]:
            power_of(x, power=power)
    assert len(at_most_three) == 3


def test_no_more_functions_are_compiled_than_the_limit(at_most_three, caplog):
    """What comes after the last one has the same result, and what was compiled stays so."""

    def cube(x):
        return power_of(x, power=3)

    with caplog.at_level(logging.WARNING, "neural_similarity"):
        for size in [*range(2, 9), 2, 8]:
            x = normal(size, size)
            assert_all_near(gradients(cube, x, upstream=1), (x**3, 3 * x**2))
    # forward and gradient of the first size, and the second one's forward
    assert [signature for *_, signature in at_most_three] == [
        ((tf.float64, (2,)),),
        ((tf.float64, (2,)), (tf.float64, (2,)), (tf.float64, (2,))),
        ((tf.float64, (3,)),),
    ]
    assert caplog.text.count("3 functions are compiled") == 1


def test_tensorflow_does_not_warn_of_retracing(at_most_three, caplog, monkeypatch):
    # TensorFlow warns twice of a function and then never again: a new manager knows of no earlier test's warnings.
    manager = polymorphic_function._FrequentTracingDetectorManager()
    monkeypatch.setattr(polymorphic_function, "_frequent_tracing_detector_manager", manager)
    monkeypatch.setattr(ops.fused, "_MOST", 8)
    sizes = [*range(1, 9)] * 2
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
