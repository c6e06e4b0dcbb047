"""Global neural similarity: every pixel is compared with every other (Liu et al., NeurIPS 2019, appendix B).

The letters of this module: b batch · n query pixels, which look · m key pixels, which are looked at · d channels of
query and key · c channels of the value.
"""

import tensorflow as tf

from neural_similarity.ops.fused import fused
from neural_similarity.ops.shapes import dimensions
from neural_similarity.ops.wide import at_least_float32

# How many entries of the (b, n, m) map are in memory at once: 32 MB in float32. Blocks of that size are as fast as the
# whole map, and smaller ones are slower (docs/performance.md). The gradient holds three arrays of that size.
_LARGEST_MAP = 1 << 23


def attention_map(query, key):
    """Where each pixel looks: A[b, n, m] = softmax over m of Σ_d query[b, n, d] key[b, m, d], without a scale.

    Args:
        query: `(b, n, d)`.
        key: `(b, m, d)`.

    Returns:
        `(b, n, m)` in float32 or wider; the entries over m sum to 1.
    """
    return tf.nn.softmax(tf.einsum("bnd,bmd->bnm", at_least_float32(query), at_least_float32(key)))


def global_similarity(query, key, value, queries_per_block=None):
    """o = A V with A = softmax(QKᵀ), without ever holding the whole (b, n, m) map A in memory.

    The map is computed for one block of query pixels after the other, and once more in the gradient. Memory therefore
    grows with n + m, not with n·m: for an image of 64×64 pixels, n = m = 4,096, and the whole map would have 17 million
    entries. A map that fits into one block is computed at once, and TensorFlow may keep it for the gradient.

    Args:
        query: `(b, n, d)`.
        key: `(b, m, d)`.
        value: `(b, m, c)`. All three have one dtype.
        queries_per_block: how many query pixels a block has; by default as many as give a map of 8 million entries.

    Returns:
        `(b, n, c)` in that dtype; the softmax is computed in float32 or wider.

    Raises:
        ValueError: `queries_per_block` is less than 1.
    """
    if queries_per_block is not None and queries_per_block < 1:
        raise ValueError(f"`queries_per_block` must be 1 or more. Received: {queries_per_block!r}")

    @tf.custom_gradient
    def attend(query, key, value):
        blocks = _QueryBlocks(query, key, queries_per_block)

        def grad(upstream):
            if blocks.is_one:
                return _attend_gradient(query, key, value, upstream)
            queries, upstreams = blocks.split(query), blocks.split(upstream)

            def add_block(i, d_queries, d_key, d_value):
                d_query, more_key, more_value = _attend_gradient(queries[i], key, value, upstreams[i])
                more = at_least_float32(more_key), at_least_float32(more_value)
                return i + 1, d_queries.write(i, d_query), d_key + more[0], d_value + more[1]

            start = (
                tf.constant(0),
                tf.TensorArray(query.dtype, blocks.count),
                tf.zeros_like(at_least_float32(key)),
                tf.zeros_like(at_least_float32(value)),
            )
            _, d_queries, d_key, d_value = tf.while_loop(
                lambda i, *_: i < blocks.count,
                add_block,
                start,
                parallel_iterations=1,  # one block in memory at a time
                maximum_iterations=blocks.count,  # XLA has to know it for the gradient of a loop
            )
            d_query = tf.ensure_shape(blocks.join(d_queries.stack()), query.shape)
            return d_query, tf.cast(d_key, key.dtype), tf.cast(d_value, value.dtype)

        if blocks.is_one:
            return _attend(query, key, value), grad
        outputs = tf.map_fn(
            lambda block: _attend(block, key, value),
            blocks.split(query),
            fn_output_signature=value.dtype,
            parallel_iterations=1,
        )
        return tf.ensure_shape(blocks.join(outputs), (*query.shape[:2], value.shape[2])), grad

    return attend(*map(tf.convert_to_tensor, (query, key, value)))


def _attend(query, key, value):
    return tf.einsum("bnm,bmc->bnc", tf.cast(attention_map(query, key), value.dtype), value)


def _attend_gradient(query, key, value, upstream):
    """The gradients of `_attend` with respect to query, key and value."""
    weights = attention_map(query, key)
    d_value = tf.einsum("bnm,bnc->bmc", tf.cast(weights, value.dtype), upstream)
    d_scores = _softmax_gradient(weights, tf.einsum("bnc,bmc->bnm", upstream, value))
    d_query = tf.einsum("bnm,bmd->bnd", d_scores, at_least_float32(key))
    d_key = tf.einsum("bnm,bnd->bmd", d_scores, at_least_float32(query))
    return tf.cast(d_query, query.dtype), tf.cast(d_key, key.dtype), d_value


@fused
def _softmax_gradient(weights, d_weights):
    products = weights * at_least_float32(d_weights)
    return products - weights * tf.reduce_sum(products, axis=-1, keepdims=True)


class _QueryBlocks:
    """Splits the query pixels of `(b, n, …)` into blocks of equal size; zeros fill up the last one.

    Attributes:
        size: query pixels in a block.
        count: how many blocks there are, 1 or more.
        is_one: whether the whole map is known to fit into one block.
    """

    def __init__(self, query, key, size):
        batch, self.pixels, _ = dimensions(query)
        entries = batch * dimensions(key)[1]  # of the map, for one query pixel
        if size is None:
            size = _maximum(1, _LARGEST_MAP // _maximum(1, entries))
        self.size = -_maximum(-size, -_maximum(1, self.pixels))  # no larger than all pixels
        self.count = _maximum(1, -(-self.pixels // self.size))  # without pixels there is one block, of zeros
        self.is_one = isinstance(self.count, int) and self.count == 1

    def split(self, x):
        """`(b, n, d)` → `(count, b, size, d)`."""
        batch, _, channels = dimensions(x)
        x = tf.pad(x, [(0, 0), (0, self.count * self.size - self.pixels), (0, 0)])
        return tf.transpose(tf.reshape(x, (batch, self.count, self.size, channels)), (1, 0, 2, 3))

    def join(self, blocks):
        """`(count, b, size, d)` → `(b, n, d)`."""
        _, batch, _, channels = dimensions(blocks)
        x = tf.reshape(tf.transpose(blocks, (1, 0, 2, 3)), (batch, self.count * self.size, channels))
        return x[:, : self.pixels]


def _maximum(a, b):
    return tf.maximum(a, b) if tf.is_tensor(a) or tf.is_tensor(b) else max(a, b)
