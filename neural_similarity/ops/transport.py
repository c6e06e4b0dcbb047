"""Optimal transport between the cells of two images, regularised by entropy (Cuturi, NeurIPS 2013).

The letters of every shape: … pairs of images, any number of axes · r cells of the first image · s of the second ·
p all pairs in one axis
"""

import tensorflow as tf

from neural_similarity.ops.fused import fused
from neural_similarity.ops.wide import at_least_float32

GRADIENTS = ("detached", "unrolled", "implicit")
# exp(−2/ε) is the smallest number of the kernel. Down to exp(−80) = 1.8e-35 float32 has all its digits.
_LARGEST_EXPONENT = 80.0
_LARGEST_EXPONENT_UNROLLED = 40.0  # the gradient of a quotient has the square of the kernel in it


def transport_plan(similarities, u, v, *, entropy=0.05, sweeps=20, gradient="detached", bounded=True):
    """The plan T that moves the mass u to v where cells are similar: argmin ⟨T, 1 − S⟩ − ε·entropy(T), T1 = u, Tᵀ1 = v.

    Sinkhorn's algorithm: T = diag(a) K diag(b) with K = exp((S − 1)/ε). A sweep sets a to u/(Kb), so that the rows have
    their mass, and then b to v/(Kᵀa), so that the columns have theirs. All pairs take the same number of sweeps, so
    that what a pair gets does not depend on the pairs beside it. Where 2/ε is above 80, or above 40 with
    `gradient="unrolled"`, the same is computed with logarithms, which takes longer: K, or K² in the gradient, would
    leave the numbers that float32 has.

    Args:
        similarities: S, `(…, r, s)`, from −1 to 1, unless `bounded` says otherwise.
        u: `(…, r)`, the mass of each cell of the first image, at least 0. The sum over r is one.
        v: `(…, s)`, likewise of the second image.
        entropy: ε, greater than 0. The smaller it is, the fewer links between the cells.
        sweeps: how many. Ten are enough for cells of which some are alike. Cells that are all alike, or all
            uncorrelated, need more: see the residual.
        gradient: what the gradient is. `"detached"`: the plan counts as a constant, as in the released code of DIML.
            `"unrolled"`: through every sweep, whose intermediate results stay in memory. `"implicit"`: that of the
            plan to which the sweeps converge, from the conditions that it fulfils. It is exact if they did converge.
            A cell without mass gets no gradient.
        bounded: True if S is never below −1. Then ε alone decides whether logarithms are needed, as said above. False:
            S may be smaller. Then the values of S decide, for all pairs together: logarithms are used if the exponents
            (S − 1)/ε of one row are more than 80 apart, and with `gradient="unrolled"` always. They change only the
            rounding.

    Returns:
        (T `(…, r, s)`, the residual `(…)`), in float32 or wider. The columns of T have the mass v. The residual is the
        mass that the rows have too much or too little: Σ_r |Σ_s T_rs − u_r|.

    Raises:
        ValueError: an argument is not one of those above.
    """
    if gradient not in GRADIENTS:
        raise ValueError(f"`gradient` must be one of {', '.join(map(repr, GRADIENTS))}. Received: {gradient!r}")
    if not (entropy > 0 and sweeps >= 1):
        raise ValueError(
            f"`entropy` must be greater than 0, and `sweeps` 1 or more. Received: entropy={entropy}, sweeps={sweeps}"
        )
    similarities, u, v = (at_least_float32(x) for x in (similarities, u, v))
    largest = _LARGEST_EXPONENT_UNROLLED if gradient == "unrolled" else _LARGEST_EXPONENT
    settings = {"entropy": float(entropy), "sweeps": int(sweeps), "bounded": bounded, "largest": largest}
    if gradient == "detached":
        plan = fused(_plan)(*map(tf.stop_gradient, (similarities, u, v)), **settings)
    elif gradient == "unrolled":
        plan = _plan(similarities, u, v, **settings)
    else:
        plan = _with_implicit_gradient(similarities, u, v, settings)
    return plan, tf.stop_gradient(tf.reduce_sum(tf.abs(tf.reduce_sum(plan, -1) - u), -1))


def _plan(similarities, u, v, **settings):
    """T, `(…, r, s)`. Pairs are the last axis while the sweeps run: a processor computes neighbours at once."""
    r, s = similarities.shape[-2:]
    shape = tf.shape(similarities)
    last = tf.transpose(tf.reshape(similarities, (-1, r, s)), (1, 2, 0))
    u, v = (tf.transpose(tf.reshape(x, (-1, x.shape[-1]))) for x in (u, v))
    plan = plan_of_pairs(last, u, v, **settings)
    return tf.reshape(tf.transpose(plan, (2, 0, 1)), shape)


def plan_of_pairs(similarities, u, v, *, entropy, sweeps, bounded=True, largest=_LARGEST_EXPONENT):
    """T, `(r, s, p)`, for similarities `(r, s, p)`, masses u `(r, p)` and v `(s, p)`; otherwise as `transport_plan`.

    `largest` is how far below 0 an exponent may be before logarithms are used.
    """
    exponents = (similarities - 1) / entropy
    if bounded:
        return (_with_logarithms if 2 / entropy > largest else _plainly)(exponents, u, v, sweeps)
    # Dividing a row of K by a number does not change the plan. So only the differences within a row count.
    exponents -= tf.stop_gradient(tf.reduce_max(exponents, 1, keepdims=True))
    if largest < _LARGEST_EXPONENT:  # unrolled: XLA compiles no gradient of sweeps in a branch
        return _with_logarithms(exponents, u, v, sweeps)
    return tf.cond(
        tf.reduce_min(exponents) >= -largest,
        lambda: _plainly(exponents, u, v, sweeps),
        lambda: _with_logarithms(exponents, u, v, sweeps),
    )


def _plainly(exponents, u, v, sweeps):
    kernel = tf.exp(exponents)

    def sweep(_, b):
        a = u / tf.reduce_sum(kernel * b, 1)
        return a, v / tf.reduce_sum(kernel * a[:, None], 0)

    a, b = _repeat(sweep, tf.zeros_like(u), tf.ones_like(v), sweeps)
    return a[:, None] * kernel * b


def _with_logarithms(exponents, u, v, sweeps):
    log_u, log_v = _log(u), _log(v)

    def log_sweep(_, log_b):
        log_a = log_u - tf.reduce_logsumexp(exponents + log_b, 1)
        return log_a, log_v - tf.reduce_logsumexp(exponents + log_a[:, None], 0)

    log_a, log_b = _repeat(log_sweep, tf.zeros_like(u), tf.zeros_like(v), sweeps)
    return tf.exp(log_a[:, None] + exponents + log_b)


def _repeat(sweep, a, b, sweeps):
    """The pair (a, b) after so many sweeps. One sweep is in the graph, not all."""
    body = lambda number, a, b: (number + 1, *sweep(a, b))  # noqa: E731  a definition would need a docstring of its own
    return tf.while_loop(lambda number, *_: number < sweeps, body, (0, a, b), maximum_iterations=sweeps)[1:]


def _log(mass):
    """log(mass), −∞ where there is none. There the gradient is 0, and not the NaN of 0 · ∞."""
    there = mass > 0
    return tf.where(there, tf.math.log(tf.where(there, mass, 1)), -float("inf"))


def _with_implicit_gradient(similarities, u, v, settings):
    @tf.custom_gradient
    def plan_of(similarities, u, v):
        plan = fused(_plan)(similarities, u, v, **settings)

        def grad(upstream):
            return _implicit_gradient(plan, upstream, settings["entropy"])

        return plan, grad

    return plan_of(similarities, u, v)


def _implicit_gradient(plan, upstream, entropy):
    """The gradients with respect to S, u and v of a loss whose gradient with respect to T is `upstream`.

    With T = exp((S − 1)/ε + α_r + β_s), the conditions T1 = u and Tᵀ1 = v determine how α and β follow S, u and v. So
    the gradients need x and y that solve

        u_r x_r + Σ_s T_rs y_s = Σ_s (T ∘ upstream)_rs
        Σ_r T_rs x_r + v_s y_s = Σ_r (T ∘ upstream)_rs

    and are T ∘ (upstream − x_r − y_s)/ε, x and y. Eliminating x leaves a symmetric system for y. The solution is
    determined up to a constant that moves from x to y; a term that forbids it makes the system invertible.
    """
    u, v = tf.reduce_sum(plan, -1), tf.reduce_sum(plan, -2)
    weighted = plan * upstream
    from_rows, from_columns = (_root_inverse(mass) for mass in (u, v))
    scaled = from_rows[..., None] * plan * from_columns[..., None, :]  # its largest singular value is one …
    constant = tf.sqrt(v)  # … with this vector
    size = plan.shape[-1]
    ridge = 1e-12 if plan.dtype == tf.float64 else 1e-5
    system = (1 + ridge) * tf.eye(size, dtype=plan.dtype) - tf.matmul(scaled, scaled, transpose_a=True)
    system += constant[..., None] * constant[..., None, :]
    rows = from_rows * tf.reduce_sum(weighted, -1)
    columns = from_columns * tf.reduce_sum(weighted, -2) - tf.linalg.matvec(scaled, rows, transpose_a=True)
    solution = tf.linalg.cholesky_solve(tf.linalg.cholesky(system), columns[..., None])[..., 0]
    y = from_columns * solution
    x = from_rows * (rows - tf.linalg.matvec(scaled, solution))
    return (weighted - plan * (x[..., None] + y[..., None, :])) / entropy, x, y


def _root_inverse(mass):
    """1/√mass, 0 where there is none."""
    there = mass > 0
    return tf.where(there, tf.math.rsqrt(tf.where(there, mass, 1)), 0)
