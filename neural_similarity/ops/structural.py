"""The structural similarity of two images: what the cells of one have in common with the cells of the other.

Zhao et al., ICCV 2021 (DIML). The letters of every shape: … pairs of images, any number of axes · r cells of the first
image · s of the second · c channels · q queries · k candidates of each

An image is described by 1 + r vectors of length one, its *descriptor*: the first describes the whole image, the others
its cells. All that follows needs only the inner products of two descriptors, `(…, 1 + r, 1 + s)`:

    first row, first column     the two images as a whole
    first row, other columns    the first image as a whole with each cell of the second
    other rows, first column    each cell of the first image with the second image as a whole
    other rows and columns      S, each cell of the first image with each cell of the second
"""

from typing import NamedTuple

import tensorflow as tf

from neural_similarity.ops.fused import fused
from neural_similarity.ops.shapes import dimensions
from neural_similarity.ops.transport import plan_of_pairs, transport_plan
from neural_similarity.ops.wide import at_least_float32

MARGINALS = ("correlation", "uniform")
# How many products a CPU matches at once: 256 kB in float32, which every sweep finds in the cache of a core. With all
# products at once, a sweep reads megabytes from farther away, and takes several times as long (docs/performance.md).
_TILE = 1 << 16


class Match(NamedTuple):
    """How two images match, in float32 or wider.

    Attributes:
        whole: `(…)`, how similar the images as a whole are: their cosine, in DIML.
        similarities: S, `(…, r, s)`, of the cells.
        u: `(…, r)`, the weight of each cell of the first image; the sum is one.
        v: `(…, s)`, likewise of the second image.
        plan: T, `(…, r, s)`, how much of the weight links two cells.
        residual: `(…)`, how far the sweeps are from their end; see `transport_plan`.
    """

    whole: tf.Tensor
    similarities: tf.Tensor
    u: tf.Tensor
    v: tf.Tensor
    plan: tf.Tensor
    residual: tf.Tensor

    @property
    def contributions(self):
        """T ∘ S, `(…, r, s)`: what each link adds to the structural similarity."""
        return self.plan * self.similarities

    @property
    def structural_similarity(self):
        """SS = Σ T S, `(…)`."""
        return tf.reduce_sum(self.contributions, (-2, -1))

    @property
    def score(self):
        """`whole` + SS, `(…)`: what images are ranked by."""
        return self.whole + self.structural_similarity


def match(
    products,
    *,
    entropy=0.05,
    sweeps=20,
    marginals="correlation",
    gradient="detached",
    swap_marginals=False,
    bounded=True,
):
    """Matches the cells of two images by optimal transport with the cost 1 − S.

    Args:
        products: `(…, 1 + r, 1 + s)`, the similarities of the vectors of two images: cosines, or other numbers that
            grow with similarity, such as 1 − ½ D. Index 0 is the image as a whole.
        entropy, sweeps, gradient, bounded: as for `transport_plan`. With `gradient="detached"` the weights u and v are
            constants too.
        marginals: how the cells are weighted. `"correlation"`: by their similarity with the other image as a whole,
            where it is positive; if it is positive nowhere, all cells weigh the same. `"uniform"`: all weigh the same.
        swap_marginals: gives the cells of the first image the weights of the second image's, and the other way round.
            The released code trains so, though it evaluates without; it needs r = s.

    Returns:
        A `Match`.

    Raises:
        ValueError: an argument is not one of those above.
    """
    products = at_least_float32(products)
    u = _weights(products[..., 1:, 0], marginals, axis=-1)
    v = _weights(products[..., 0, 1:], marginals, axis=-1)
    if swap_marginals:  # DEVIATION M1
        u, v = v, u
    similarities = products[..., 1:, 1:]
    how = {"entropy": entropy, "sweeps": sweeps, "gradient": gradient, "bounded": bounded}
    plan, residual = transport_plan(similarities, u, v, **how)
    return Match(products[..., 0, 0], similarities, u, v, plan, residual)


def structural_scores(products, *, entropy=0.05, sweeps=20, marginals="correlation", bounded=True):
    """cos + SS of each query and its candidates: `match(…).score`, faster, and without a gradient.

    Args:
        products: `(q, 1 + r, k, 1 + s)`, as for `match`: query q, its vector, candidate k, the candidate's vector.
        entropy, sweeps, marginals, bounded: as for `match`.

    Returns:
        (scores `(q, k)`, residuals `(q, k)`), in float32 or wider.

    Raises:
        ValueError: an argument is not one that `match` takes.
    """
    how = {"entropy": float(entropy), "sweeps": int(sweeps), "marginals": marginals, "bounded": bounded}
    return fused(_scores)(at_least_float32(products), **how)


def _scores(products, **matching):
    """(scores, residuals), `(q, k)` each, of products `(q, 1 + r, k, 1 + s)`: of a few queries after the other."""
    numbers = products.shape.num_elements()
    if numbers is None or numbers <= _TILE or tf.config.list_physical_devices("GPU"):
        return _scores_at_once(products, **matching)
    q, *of_one = products.shape
    together = max(1, _TILE * q // numbers)
    tiles = tf.reshape(tf.pad(products, [(0, -q % together), (0, 0), (0, 0), (0, 0)]), (-1, together, *of_one))
    found = tf.map_fn(
        lambda tile: _scores_at_once(tile, **matching), tiles, fn_output_signature=(products.dtype, products.dtype)
    )
    return tuple(tf.reshape(x, (-1, of_one[1]))[:q] for x in found)


def _scores_at_once(products, *, entropy, sweeps, marginals, bounded):
    q, one_and_r, k, one_and_s = dimensions(products)
    products = tf.reshape(tf.transpose(products, (1, 3, 0, 2)), (one_and_r, one_and_s, q * k))
    u = _weights(products[1:, 0], marginals, axis=0)
    v = _weights(products[0, 1:], marginals, axis=0)
    similarities = products[1:, 1:]
    plan = plan_of_pairs(similarities, u, v, entropy=entropy, sweeps=sweeps, bounded=bounded)
    scores = products[0, 0] + tf.reduce_sum(plan * similarities, (0, 1))
    residuals = tf.reduce_sum(tf.abs(tf.reduce_sum(plan, 1) - u), 0)
    return tf.reshape(scores, (q, k)), tf.reshape(residuals, (q, k))


def _weights(correlations, marginals, axis):
    """Shares of one along an axis: of cells whose similarities with the other image as a whole are `correlations`."""
    if marginals not in MARGINALS:
        raise ValueError(f"`marginals` must be one of {', '.join(map(repr, MARGINALS))}. Received: {marginals!r}")
    uniform = tf.ones_like(correlations) / correlations.shape[axis]
    if marginals == "uniform":
        return uniform
    positive = tf.nn.relu(correlations)
    total = tf.reduce_sum(positive, axis, keepdims=True)
    # Of nothing there are no shares: without this, 0/0 would make the whole batch NaN.
    there = total > 1e-6
    return tf.where(there, positive / tf.where(there, total, 1), uniform)
