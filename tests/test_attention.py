"""Global similarity: its map against a loop, blocks of it against the whole; and the layer that uses it."""

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from slow_forms import assert_all_near, assert_near, gradients, normal, second_order_gradients

from neural_similarity import ops
from neural_similarity.layers import GlobalSimilarity2D

SIZES = [(2, 7, 5, 3, 4), (1, 1, 1, 1, 1), (3, 4, 9, 2, 1)]  # b, n, m, d, c
EMPTY = [(2, 0, 5, 3, 4), (0, 3, 4, 2, 2), (2, 3, 0, 2, 2)]


def operands(b, n, m, d, c):
    return normal(1, b, n, d), normal(2, b, m, d), normal(3, b, m, c)


def slow_map(query, key):
    weights = np.zeros((*query.shape[:2], key.shape[1]))
    for b, n in np.ndindex(*query.shape[:2]):
        scores = [math.exp(query[b, n] @ k) for k in key[b]]
        weights[b, n] = np.array(scores) / sum(scores)
    return weights


def plain(query, key, value):
    return tf.einsum("bnm,bmc->bnc", ops.attention_map(query, key), value)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_map_and_outputs_are_the_loop(sizes):
    query, key, value = operands(*sizes)
    weights = slow_map(query, key)
    assert_near(ops.attention_map(query, key), weights)
    expected = np.stack([w @ v for w, v in zip(weights, value, strict=True)])
    assert_near(ops.global_similarity(query, key, value), expected)


@pytest.mark.parametrize(
    ("fused_functions", "sizes", "block"),
    [("plain", sizes, block) for sizes in [*SIZES, *EMPTY] for block in (1, 2, 3, 7, 100)]
    + [("compiled", SIZES[0], block) for block in (2, 100)],
    ids=str,
    indirect=["fused_functions"],
)
def test_blocks_are_the_whole(fused_functions, sizes, block):
    arguments = operands(*sizes)
    found = gradients(lambda *args: ops.global_similarity(*args, queries_per_block=block), *arguments)
    assert_all_near(found, gradients(plain, *arguments))


def test_gradient_against_differences():
    arguments = [tf.constant(each) for each in operands(2, 3, 4, 2, 2)]
    exact, numeric = tf.test.compute_gradient(
        lambda *args: tf.sin(ops.global_similarity(*args, queries_per_block=2)), arguments, delta=1e-6
    )
    for found, expected in zip(exact, numeric, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize("block", [2, 100])
def test_second_order_gradient(fused_functions, block):
    arguments = operands(2, 3, 4, 2, 2)
    found = second_order_gradients(lambda *args: ops.global_similarity(*args, queries_per_block=block), *arguments)
    assert_all_near(found, second_order_gradients(plain, *arguments), 1e-9)


@pytest.mark.parametrize("block", [0, -1])
def test_a_block_has_one_query_pixel_or_more(block):
    with pytest.raises(ValueError, match=f"`queries_per_block` must be 1 or more. Received: {block}"):
        ops.global_similarity(*operands(1, 2, 3, 4, 5), queries_per_block=block)


def test_large_scores_do_not_overflow():
    """e^1000 is beyond float32; the pixel with the largest score gets all the weight."""
    query, key, value = (
        tf.constant([[[1000.0], [-1000.0]]]),
        tf.constant([[[1.0], [-1.0]]]),
        tf.constant([[[3.0], [5.0]]]),
    )
    outputs, *grads = gradients(lambda *args: ops.global_similarity(*args, queries_per_block=1), query, key, value)
    np.testing.assert_array_equal(outputs, [[[3.0], [5.0]]])
    upstream = tf.cast(normal(9, 1, 2, 1), tf.float32)
    for found, expected in zip(grads, (tf.zeros_like(query), tf.zeros_like(key), upstream), strict=True):
        np.testing.assert_array_equal(found, expected)


def tensors(graph):
    """Every tensor of a graph and of the functions that it calls."""
    seen = [graph, *(graph._get_function(name).graph for name in graph._functions)]
    return [tensor for each in seen for op in each.get_operations() for tensor in op.outputs]


def test_no_tensor_holds_the_whole_map(monkeypatch):
    batch, pixels = 2, 48
    spec = [tf.TensorSpec((batch, pixels, channels)) for channels in (2, 2, 4)]

    def largest():
        traced = tf.function(lambda *args: gradients(ops.global_similarity, *args, upstream=1.0))
        sizes = [tensor.shape.num_elements() for tensor in tensors(traced.get_concrete_function(*spec).graph)]
        return max(size for size in sizes if size is not None)

    assert largest() == batch * pixels**2
    monkeypatch.setattr(ops.attention, "_LARGEST_MAP", 5 * batch * pixels)  # five of 48 query pixels
    assert largest() == 5 * batch * pixels


@pytest.mark.parametrize("largest_map", [1 << 23, 40])
def test_unknown_sizes(largest_map, monkeypatch):
    """One trace of the function serves every size, in blocks and at once."""
    monkeypatch.setattr(ops.attention, "_LARGEST_MAP", largest_map)

    @tf.function(input_signature=[tf.TensorSpec((None, None, channels), tf.float64) for channels in (2, 2, 3)])
    def traced(*args):
        return gradients(ops.global_similarity, *args, upstream=1)

    for batch, n, m in [(2, 7, 5), (1, 4, 4), (3, 11, 2), (2, 0, 3)]:
        arguments = operands(batch, n, m, 2, 3)
        assert_all_near(traced(*arguments), gradients(plain, *arguments, upstream=1))
    assert traced.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("block", [3, 100])
def test_compiled_is_eager(block):
    arguments = [tf.constant(each, tf.float32) for each in operands(2, 7, 5, 3, 4)]

    def attend(*args):
        return gradients(lambda *a: ops.global_similarity(*a, queries_per_block=block), *args)

    assert_all_near(tf.function(attend, jit_compile=True)(*arguments), attend(*arguments), 1e-5)


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16], ids=lambda dtype: dtype.name)
def test_sixteen_bits_within_their_rounding(fused_functions, dtype):
    rounded = [tf.cast(each, dtype) for each in operands(2, 7, 5, 3, 4)]
    exact = gradients(plain, *(tf.cast(each, tf.float64) for each in rounded), upstream=1)
    for block in (2, 100):
        found = gradients(
            lambda *args, b=block: ops.global_similarity(*args, queries_per_block=b), *rounded, upstream=1
        )
        for one, other in zip(found, exact, strict=True):
            assert one.dtype == dtype
            np.testing.assert_allclose(tf.cast(one, tf.float64), other, atol=0.02 * np.max(np.abs(other)))
    assert ops.attention_map(*rounded[:2]).dtype == tf.float32


# The layer


def moved(layer, shape):
    """Builds a layer and moves its weights away from their initial values; γ, which starts at 0, becomes 0.7."""
    layer.build(shape)
    for i, weight in enumerate(layer.weights):
        weight.assign(0.7 if weight.name == "gamma" else normal(10 + i, *weight.shape))
    return layer


@pytest.mark.parametrize("query_relu", [True, False])
def test_layer_is_the_loop(query_relu):
    x = normal(1, 2, 3, 4, 5)
    layer = moved(GlobalSimilarity2D(2, query_relu=query_relu, dtype="float64"), x.shape)
    pixels = x.reshape(2, 12, 5)
    lengths = np.sqrt(np.sum(pixels**2, -1, keepdims=True) + 1e-4)

    def project(kernel):
        w = np.asarray(kernel)[0, 0]
        return pixels @ (w / np.sqrt(np.sum(w**2, 0) + 1e-4)) / lengths

    query, key, value = map(project, (layer.query_kernel, layer.key_kernel, layer.value_kernel))
    weights = slow_map(np.maximum(query, 0) if query_relu else query, key)
    assert_near(layer.attention_map(x), weights)
    assert_near(layer(x), (pixels + 0.7 * weights @ value).reshape(x.shape))


def test_layer_starts_as_the_identity():
    x = tf.constant(normal(1, 2, 3, 4, 8), tf.float32)
    layer = GlobalSimilarity2D()
    np.testing.assert_array_equal(layer(x), x)
    assert layer.query_kernel.shape == layer.key_kernel.shape == (1, 1, 8, 1)
    assert layer.value_kernel.shape == (1, 1, 8, 8)
    starts = [np.ravel(kernel)[:8] for kernel in (layer.query_kernel, layer.key_kernel, layer.value_kernel)]
    assert all(np.any(a != b) for a, b in itertools.combinations(starts, 2))


def test_permuted_pixels_give_permuted_outputs():
    x = normal(1, 2, 3, 4, 5)
    layer = moved(GlobalSimilarity2D(2, dtype="float64"), x.shape)
    order = np.random.default_rng(3).permutation(12)

    def permuted(x):
        return np.asarray(x).reshape(2, 12, 5)[:, order].reshape(x.shape)

    assert_near(layer(permuted(x)), permuted(layer(x)))


def test_layer_takes_maps_of_any_size():
    inputs = keras.Input((None, None, 8))
    model = keras.Model(inputs, moved(GlobalSimilarity2D(), (None, None, None, 8))(inputs))
    layer = model.layers[1]
    traced = tf.function(model, input_signature=[tf.TensorSpec((None, None, None, 8))])
    for size in [(3, 4), (5, 2), (1, 1), (0, 4)]:
        x = tf.constant(normal(1, 2, *size, 8), tf.float32)
        assert_near(traced(x), layer(x), 1e-5)
    assert model.output_shape == (None, None, None, 8)


@pytest.mark.parametrize(("channels", "filters"), [(7, None), (None, None), (None, 2)])
def test_channels_that_cannot_be_had(channels, filters):
    with pytest.raises(ValueError, match=r"The channels \(last axis\) must be known, and 8 or more where `filters`"):
        GlobalSimilarity2D(filters).build((None, 4, 4, channels))
