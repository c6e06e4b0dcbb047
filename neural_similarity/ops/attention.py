"""Global neural similarity: every pixel compared with every other (Liu et al., NeurIPS 2019, appendix B).

b batch · n pixels that look · m pixels looked at · d channels of query and key · c of the value.
"""

import tensorflow as tf

from neural_similarity.ops.fused import fused
from neural_similarity.ops.shapes import dimensions
from neural_similarity.ops.wide import at_least_float32

# How many entries of the (b, n, m) map are in memory at once: 32 MB of float32. Pieces of that size are as fast as the
# whole map, and smaller ones slower (docs/performance.md). The gradient holds three arrays of that size.
_LARGEST_MAP = 1 << 23


def attention_map(query, key):
    """Where each pixel looks: softmax over m of ⟨q_n, k_m⟩, not scaled.

    Args:
        query: `(b, n, d)`.
        key: `(b, m, d)`.

    Returns:
        `(b, n, m)`, rows that sum to 1, in float32 or wider.
    """
    return tf.nn.softmax(tf.einsum("bnd,bmd->bnm", at_least_float32(query), at_least_float32(key)))


def global_similarity(query, key, value, rows=None):
    """o = softmax(QKᵀ) V, of whose (b, n, m) map only a piece at a time is in memory.

    The map is made for some query pixels at a time, and again in the gradient, so that memory grows with n + m and not
    with n·m. A map that is no larger than one piece may be kept for the gradient.

    Args:
        query: `(b, n, d)`.
        key: `(b, m, d)`.
        value: `(b, m, c)`. All of one dtype.
        rows: query pixels a piece; by default as many as make a map of 8 million entries.

    Returns:
        `(b, n, c)` of that dtype; the softmax is computed in float32 or wider.

    Raises:
        ValueError: `rows` is less than 1.
    """
    if rows is not None and rows < 1:
        raise ValueError(f"`rows` must be 1 or more. Received: {rows!r}")

    @tf.custom_gradient
    def attend(query, key, value):
        pieces = _Pieces(query, key, rows)

        def grad(upstream):
            if pieces.whole:
                return _attend_gradient(query, key, value, upstream)
            queries, upstreams = pieces.cut(query), pieces.cut(upstream)

            def add(i, d_queries, d_key, d_value):
                d_query, more_key, more_value = _attend_gradient(queries[i], key, value, upstreams[i])
                more = at_least_float32(more_key), at_least_float32(more_value)
                return i + 1, d_queries.write(i, d_query), d_key + more[0], d_value + more[1]

            begin = (
                tf.constant(0),
                tf.TensorArray(query.dtype, pieces.count),
                tf.zeros_like(at_least_float32(key)),
                tf.zeros_like(at_least_float32(value)),
            )
            _, d_queries, d_key, d_value = tf.while_loop(
                lambda i, *_: i < pieces.count,
                add,
                begin,
                parallel_iterations=1,
                maximum_iterations=pieces.count,  # XLA's gradient of a loop needs to know
            )
            d_query = tf.ensure_shape(pieces.join(d_queries.stack()), query.shape)
            return d_query, tf.cast(d_key, key.dtype), tf.cast(d_value, value.dtype)

        if pieces.whole:
            return _attend(query, key, value), grad
        outputs = tf.map_fn(
            lambda some: _attend(some, key, value),
            pieces.cut(query),
            fn_output_signature=value.dtype,
            parallel_iterations=1,
        )
        return tf.ensure_shape(pieces.join(outputs), (*query.shape[:2], value.shape[2])), grad

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


class _Pieces:
    """Some query pixels at a time: `(b, n, …)` in `count` pieces `(b, rows, …)`, the last filled up with zeros."""

    def __init__(self, query, key, rows):
        batch, self.pixels, _ = dimensions(query)
        entries = batch * dimensions(key)[1]  # of the map, for one query pixel
        if rows is None:
            rows = _largest(1, _LARGEST_MAP // _largest(1, entries))
        self.rows = -_largest(-rows, -_largest(1, self.pixels))
        self.count = _largest(1, -(-self.pixels // self.rows))  # one, of zeros, where there are no pixels
        self.whole = isinstance(self.count, int) and self.count == 1

    def cut(self, x):
        """`(b, n, d)` → `(count, b, rows, d)`."""
        batch, _, channels = dimensions(x)
        x = tf.pad(x, [(0, 0), (0, self.count * self.rows - self.pixels), (0, 0)])
        return tf.transpose(tf.reshape(x, (batch, self.count, self.rows, channels)), (1, 0, 2, 3))

    def join(self, pieces):
        """`(count, b, rows, d)` → `(b, n, d)`."""
        _, batch, _, channels = dimensions(pieces)
        x = tf.reshape(tf.transpose(pieces, (1, 0, 2, 3)), (batch, self.count * self.rows, channels))
        return x[:, : self.pixels]


def _largest(a, b):
    return tf.maximum(a, b) if tf.is_tensor(a) or tf.is_tensor(b) else max(a, b)
