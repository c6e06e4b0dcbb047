"""Bregman divergences, D(x, y) = φ(x) − φ(y) − ⟨∇φ(y), x − y⟩, of a convex function φ, the potential.

The first argument is a sample, the second a reference: an image of a gallery, a centre, a prototype. So the mean of
samples is the reference from which their summed divergence is smallest, whatever φ is (Banerjee et al., JMLR 2005).

q samples · n references · p pairs · d dimensions · … any number of axes. Everything is computed in float32 or wider.
"""

import tensorflow as tf

from neural_similarity.ops.inner_products import inner_products_plus
from neural_similarity.ops.shapes import dimensions
from neural_similarity.ops.wide import at_least_float32


def bregman_all_pairs(x, phi_x, y, phi_y, grad_y, curvature=None):
    """D of all pairs by one matrix product.

    The two terms with ∇φ are products of differences from the references' mean, as D would lose its digits where all
    vectors are far from the origin. What φ itself loses there cannot be mended here: where its values are large, give
    it centred vectors.

    Args:
        x: `(…, q, d)` samples.
        phi_x: `(…, q)`, φ(x).
        y: `(…, n, d)` references.
        phi_y: `(…, n)`, φ(y).
        grad_y: `(…, n, d)`, ∇φ(y), or a subgradient.
        curvature: μ, a number or a scalar tensor. D is then that of φ(x) + ½ μ ‖x‖². What the second term adds to D is
            computed from the vectors less the references' mean.

    Returns:
        `(…, q, n)`. Rounding may leave small negative numbers.
    """
    x, phi_x, y, phi_y, grad_y = _alike(x, phi_x, y, phi_y, grad_y)
    origin = tf.stop_gradient(tf.reduce_mean(y, -2, keepdims=True))
    x, y = x - origin, y - origin
    of_references = tf.reduce_sum(grad_y * y, -1) - phi_y
    if curvature is not None:
        curvature = tf.cast(curvature, x.dtype)
        grad_y += curvature * y
        phi_x += curvature / 2 * tf.reduce_sum(x**2, -1)
        of_references += curvature / 2 * tf.reduce_sum(y**2, -1)
    return inner_products_plus(-x, phi_x, grad_y, of_references)


def bregman_pairs(x, phi_x, y, phi_y, grad_y):
    """D of p pairs, `(p,)`; see `bregman_all_pairs`. All arguments have p in the place of q and n."""
    x, phi_x, y, phi_y, grad_y = _alike(x, phi_x, y, phi_y, grad_y)
    return phi_x - phi_y - tf.einsum("pd,pd->p", grad_y, x - y)


def jeffreys_all_pairs(x, grad_x, y, grad_y, curvature=None):
    """D(x, y) + D(y, x) = ⟨∇φ(x) − ∇φ(y), x − y⟩ of all pairs, by one matrix product and without φ.

    Args:
        x, grad_x: `(…, q, d)`, and ∇φ(x).
        y, grad_y: `(…, n, d)`, and ∇φ(y).
        curvature: as for `bregman_all_pairs`.

    Returns:
        `(…, q, n)`, symmetric but for rounding.
    """
    x, grad_x, y, grad_y = _alike(x, grad_x, y, grad_y)
    origin, slope = (tf.stop_gradient(tf.reduce_mean(values, -2, keepdims=True)) for values in (y, grad_y))
    x, y = x - origin, y - origin
    grad_x, grad_y = grad_x - slope, grad_y - slope
    if curvature is not None:
        curvature = tf.cast(curvature, x.dtype)
        grad_x, grad_y = grad_x + curvature * x, grad_y + curvature * y
    of_x, of_y = tf.reduce_sum(x * grad_x, -1), tf.reduce_sum(y * grad_y, -1)
    return inner_products_plus(-tf.concat([x, grad_x], -1), of_x, tf.concat([grad_y, y], -1), of_y)


def jeffreys_pairs(x, grad_x, y, grad_y):
    """D(x, y) + D(y, x) of p pairs, `(p,)`; see `jeffreys_all_pairs`. All arguments are `(p, d)`."""
    x, grad_x, y, grad_y = _alike(x, grad_x, y, grad_y)
    return tf.einsum("pd,pd->p", grad_x - grad_y, x - y)


def jensen_all_pairs(phi, x, y):
    """½ φ(x) + ½ φ(y) − φ(½ (x + y)) of all pairs, the Jensen–Bregman divergence, which is symmetric.

    φ is computed at all q·n midpoints, so use small batches.

    Args:
        phi: a function from vectors `(b, d)` to `(b,)`.
        x: `(…, q, d)`.
        y: `(…, n, d)`.

    Returns:
        `(…, q, n)`.
    """
    x, y = at_least_float32(x), at_least_float32(y)

    def of_all(points):
        return tf.reshape(phi(tf.reshape(points, (-1, points.shape[-1]))), dimensions(points)[:-1])

    middle = (x[..., :, None, :] + y[..., None, :, :]) / 2
    return (of_all(x)[..., None] + of_all(y)[..., None, :]) / 2 - of_all(middle)


def jensen_pairs(phi, x, y):
    """The Jensen–Bregman divergence of p pairs, `(p,)`; see `jensen_all_pairs`. `x` and `y` are `(p, d)`."""
    x, y = at_least_float32(x), at_least_float32(y)
    return (phi(x) + phi(y)) / 2 - phi((x + y) / 2)


def inner_product_samples(x):
    """`(q, d + 1)`: samples for a search by inner product, (x, 1); see `inner_product_references`."""
    x = at_least_float32(x)
    return tf.concat([x, tf.ones_like(x[:, :1])], -1)


def inner_product_references(y, phi_y, grad_y):
    """References for a search by inner product: vectors (∇φ(y), φ(y) − ⟨∇φ(y), y⟩).

    Their inner product with (x, 1) is φ(x) − D(x, y). So the nearest reference of a sample has the largest one, and any
    index for maximum inner products finds it without another look at φ.

    Args:
        y, phi_y, grad_y: as for `bregman_all_pairs`.

    Returns:
        `(n, d + 1)`.
    """
    y, phi_y, grad_y = _alike(y, phi_y, grad_y)
    return tf.concat([grad_y, (phi_y - tf.einsum("nd,nd->n", grad_y, y))[:, None]], -1)


def _alike(*arguments):
    """Tensors in the dtype of the last one, which a potential computed, or in float32 if that is narrower."""
    dtype = at_least_float32(arguments[-1]).dtype
    return [tf.cast(argument, dtype) for argument in arguments]
