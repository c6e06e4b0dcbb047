"""Bregman divergences of the largest of k functions that are affine, without a difference of large numbers.

φ(x) = max_k h_k(x) or, smoothed by a temperature τ > 0, τ log Σ_k exp(h_k(x)/τ). With the functions' values the
divergence has a closed form, in which φ(y) and its gradient do not occur:

- τ = 0: D(x, y) = max_k h_k(x) − h_w(x), where w is the function that is largest at y.
- τ > 0: D(x, y) = τ KL(softmax(h(y)/τ) ‖ softmax(h(x)/τ)).

So D(x, x) is exactly 0 for τ = 0. The functions may also be those of sets, as means over their points; then φ is convex
in the sets' distribution, whatever the functions are.

q samples · n references · p pairs · d dimensions · k functions · … any number of axes
"""

import tensorflow as tf

from neural_similarity.ops.inner_products import inner_products_plus
from neural_similarity.ops.wide import at_least_float32


def affine_pieces(x, slopes, offsets):
    """The functions' values ⟨slope_k, x⟩ + offset_k, `(…, k)`.

    Args:
        x: `(…, d)`.
        slopes: `(k, d)`.
        offsets: `(k,)`.
    """
    x = at_least_float32(x)
    return tf.einsum("...d,kd->...k", x, tf.cast(slopes, x.dtype)) + tf.cast(offsets, x.dtype)


def largest_piece(pieces, temperature=0.0):
    """φ from the functions' values `(…, k)`, the shape `(…,)`."""
    pieces = at_least_float32(pieces)
    if not temperature:
        return tf.reduce_max(pieces, -1)
    return temperature * tf.reduce_logsumexp(pieces / temperature, -1)


def piece_shares(pieces, temperature=0.0):
    """How much each function counts in ∇φ, `(…, k)`; they sum to 1. Of equal values the first one counts alone."""
    pieces = at_least_float32(pieces)
    if not temperature:
        return tf.one_hot(tf.argmax(pieces, -1), tf.shape(pieces)[-1], dtype=pieces.dtype)
    return tf.nn.softmax(pieces / temperature)


def pieces_all_pairs(pieces_x, pieces_y, temperature=0.0):
    """D of all pairs, `(…, q, n)`, at least 0 but for rounding where τ > 0.

    Args:
        pieces_x: `(…, q, k)` values at the samples.
        pieces_y: `(…, n, k)` values at the references.
        temperature: τ.
    """
    pieces_x, pieces_y = at_least_float32(pieces_x), at_least_float32(pieces_y)
    if not temperature:
        largest, nan = tf.reduce_max(pieces_x, -1), _nan_where_none(pieces_y)
        winners = tf.argmax(pieces_y, -1)
        if tf.config.list_physical_devices("GPU"):  # whose products would round the values
            at_winners = tf.gather(pieces_x, winners, axis=-1, batch_dims=pieces_x.shape.rank - 2)
            return largest[..., None] - at_winners + nan[..., None, :]
        # The product with a one picks a value as it is. All together takes two fifths of the time that it took with a
        # gather (docs/performance.md).
        picked = tf.one_hot(winners, tf.shape(pieces_y)[-1], dtype=pieces_y.dtype)
        finite = tf.clip_by_value(pieces_x, pieces_x.dtype.min, pieces_x.dtype.max)  # as 0 · ∞ would be NaN
        return inner_products_plus(-finite, largest, picked, nan)
    log_x, log_y = (tf.nn.log_softmax(pieces / temperature) for pieces in (pieces_x, pieces_y))
    shares = tf.exp(log_y)
    own = tf.reduce_sum(shares * log_y, -1)
    return inner_products_plus(-temperature * log_x, tf.zeros_like(log_x[..., 0]), shares, temperature * own)


def pieces_pairs(pieces_x, pieces_y, temperature=0.0):
    """D of p pairs, `(p,)`, at least 0 but for rounding. The pieces are `(p, k)`; see `pieces_all_pairs`."""
    pieces_x, pieces_y = at_least_float32(pieces_x), at_least_float32(pieces_y)
    if not temperature:
        winners, nan = tf.argmax(pieces_y, -1), _nan_where_none(pieces_y)
        return tf.reduce_max(pieces_x, -1) - tf.gather(pieces_x, winners, batch_dims=1) + nan
    log_x, log_y = (tf.nn.log_softmax(pieces / temperature) for pieces in (pieces_x, pieces_y))
    return temperature * tf.einsum("pk,pk->p", tf.exp(log_y), log_y - log_x)


def _nan_where_none(pieces):
    """0 for each vector, and NaN for one that contains NaN, as `argmax` returns an index for it all the same."""
    contains_nan = tf.reduce_any(tf.math.is_nan(pieces), -1)
    return tf.where(contains_nan, tf.constant(float("nan"), pieces.dtype), tf.zeros((), pieces.dtype))
