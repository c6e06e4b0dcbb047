"""The pieces that XLA compiles where they are large: the same numbers, in every corner."""

import numpy as np
import pytest
import tensorflow as tf
import test_ops
import test_sphere
from slow_forms import assert_all_near, assert_near, each_structure, gradients, label, normal, operands

from neural_similarity import ops
from neural_similarity.ops import Window


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
    test_ops.test_dynamic_convolution_and_its_gradient(size, window, structure)
    test_ops.test_second_order_gradient_of_the_dynamic_convolution(structure)


def test_compiled_norms_are_the_slow_loop(nothing_is_small):
    window = Window((3, 3), strides=(2, 2))
    test_sphere.test_patch_norm((4, 5), window)
    test_sphere.test_cosine_sphere_convolution((4, 5), window)
    test_sphere.test_zero_patches_and_zero_filters(True)
    test_ops.test_batch_norm((2, 3, 2, 4))
    test_ops.test_batch_norm_gradient_is_that_of_the_plain_form(2)


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
