"""Optimal transport between cells: its conditions, its limits, and its gradients."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import linear_sum_assignment, linprog

from neural_similarity.ops import transport_plan

SWEEPS = 1500  # for what holds at the end of the sweeps


def problem(r, s, pairs=(3,), seed=0, dtype=np.float64):
    """Similarities and the masses of rows and columns; the first row of each pair has none."""
    rng = np.random.default_rng(seed)
    similarities = rng.uniform(-1, 1, (*pairs, r, s))
    u, v = rng.uniform(0.1, 1, (*pairs, r)), rng.uniform(0.1, 1, (*pairs, s))
    u[..., 0] = 0
    return tuple(x.astype(dtype) for x in (similarities, u / u.sum(-1, keepdims=True), v / v.sum(-1, keepdims=True)))


def slow_plan(similarities, u, v, entropy, sweeps):
    """One pair, cell by cell."""
    r, s = similarities.shape
    kernel = np.exp((similarities - 1) / entropy)
    a, b = np.zeros(r), np.ones(s)
    for _ in range(sweeps):
        a = np.array([u[i] / sum(kernel[i, j] * b[j] for j in range(s)) for i in range(r)])
        b = np.array([v[j] / sum(kernel[i, j] * a[i] for i in range(r)) for j in range(s)])
    return np.array([[a[i] * kernel[i, j] * b[j] for j in range(s)] for i in range(r)])


@pytest.mark.parametrize("sweeps", [1, 3])
@pytest.mark.parametrize("size", [(4, 4), (2, 5)])
def test_sweeps_are_the_loop(size, sweeps):
    similarities, u, v = problem(*size, pairs=(2, 3))
    plan, _ = transport_plan(similarities, u, v, entropy=0.1, sweeps=sweeps)
    for pair in itertools.product(range(2), range(3)):
        np.testing.assert_allclose(plan[pair], slow_plan(similarities[pair], u[pair], v[pair], 0.1, sweeps), rtol=1e-12)


@pytest.mark.parametrize("entropy", [0.05, 0.01])  # the second is computed with logarithms
def test_plan_has_the_masses(entropy):
    similarities, u, v = problem(16, 16, dtype=np.float32)
    plan, residual = transport_plan(similarities, u, v, entropy=entropy, sweeps=SWEEPS)
    assert plan.dtype == tf.float32
    assert (plan.numpy() >= 0).all()
    np.testing.assert_allclose(tf.reduce_sum(plan, -1), u, atol=1e-5)
    np.testing.assert_allclose(tf.reduce_sum(plan, -2), v, atol=1e-5)
    np.testing.assert_allclose(residual, np.abs(plan.numpy().sum(-1) - u).sum(-1), atol=1e-6)


@pytest.mark.parametrize("lowest", [-1.0, -3.0, -40.0])  # the second and third are more than exp can take
@pytest.mark.parametrize("gradient", ["detached", "unrolled", "implicit"])
def test_similarities_without_a_lower_limit(lowest, gradient):
    """As the loop with logarithms, also where a whole row is far from everything."""
    similarities, u, v = problem(4, 5)
    similarities = similarities * np.where(np.arange(4) < 2, 1, -lowest)[:, None]
    u, v = u + 0.01, v + 0.01  # no cell without mass, whose logarithm the loop would not like
    plan, _ = transport_plan(similarities, u, v, sweeps=7, gradient=gradient, bounded=False)
    log_kernel, log_v = (similarities - 1) / 0.05, np.log(v)
    rows, columns = np.zeros(u.shape), np.zeros(v.shape)
    for _ in range(7):
        rows = np.log(u) - np.logaddexp.reduce(log_kernel + columns[:, None], -1)
        columns = log_v - np.logaddexp.reduce(log_kernel + rows[..., None], -2)
    np.testing.assert_allclose(plan, np.exp(rows[..., None] + log_kernel + columns[:, None]), atol=1e-12)
    np.testing.assert_allclose(plan.numpy().sum(-2), v, rtol=1e-9)


@pytest.mark.parametrize("gradient", ["unrolled", "implicit"])
def test_gradients_without_a_lower_limit_are_finite(gradient):
    similarities, u, v = (tf.constant(x, tf.float32) for x in problem(4, 4, dtype=np.float32))
    for factor in (1.0, 5.0, 60.0):
        with tf.GradientTape() as tape:
            tape.watch([similarities, u, v])
            plan = transport_plan(factor * similarities, u, v, gradient=gradient, bounded=False)[0]
            loss = tf.reduce_sum(plan * similarities)
        for found in tape.gradient(loss, [similarities, u, v]):
            tf.debugging.assert_all_finite(found, f"factor {factor}")


def test_residual_falls_with_the_sweeps():
    residuals = [float(tf.reduce_max(transport_plan(*problem(16, 16), sweeps=n)[1])) for n in (1, 5, 20, 100)]
    assert residuals == sorted(residuals, reverse=True)
    assert residuals[-1] < 0.1 * residuals[0]


def test_scaling_and_logarithms_agree():
    """2/ε is 80 here, and just above 80 there."""
    similarities, u, v = problem(16, 16, dtype=np.float32)
    scaling, _ = transport_plan(similarities, u, v, entropy=0.025, sweeps=50)
    logarithms, _ = transport_plan(similarities, u, v, entropy=0.0249999, sweeps=50)
    np.testing.assert_allclose(scaling, logarithms, atol=1e-5)


def test_much_entropy_spreads_the_mass():
    similarities, u, v = problem(5, 7)
    plan, _ = transport_plan(similarities, u, v, entropy=1e5, sweeps=5)
    np.testing.assert_allclose(plan, u[..., :, None] * v[..., None, :], atol=1e-5)


def test_little_entropy_assigns_cells_to_each_other():
    similarities = problem(6, 6, pairs=())[0]
    uniform = np.full(6, 1 / 6)
    plan, _ = transport_plan(similarities, uniform, uniform, entropy=0.002, sweeps=SWEEPS)
    rows, columns = linear_sum_assignment(-similarities)
    assert np.sum(plan * similarities) == pytest.approx(similarities[rows, columns].mean(), abs=1e-3)


def test_little_entropy_is_the_linear_programme():
    similarities, u, v = problem(4, 5, pairs=())
    rows = np.kron(np.eye(4), np.ones(5))
    columns = np.kron(np.ones(4), np.eye(5))
    exact = linprog(-similarities.ravel(), A_eq=np.concatenate([rows, columns]), b_eq=np.concatenate([u, v]))
    plan, _ = transport_plan(similarities, u, v, entropy=0.01, sweeps=SWEEPS)
    assert np.sum(plan * similarities) == pytest.approx(-exact.fun, abs=0.01)
    assert np.sum(plan * similarities) <= -exact.fun + 1e-9


def test_a_pair_does_not_depend_on_the_others():
    similarities, u, v = problem(16, 16, pairs=(64,), dtype=np.float32)
    together, _ = transport_plan(similarities, u, v)
    alone, _ = transport_plan(similarities[7:8], u[7:8], v[7:8])
    np.testing.assert_allclose(together[7:8], alone, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("bounded", [True, False])
def test_compiles_with_xla(bounded):
    for gradient in ("detached", "unrolled", "implicit"):

        def total(similarities, u, v, gradient=gradient):
            with tf.GradientTape() as tape:
                tape.watch(similarities)
                loss = tf.reduce_sum(
                    transport_plan(similarities, u, v, gradient=gradient, bounded=bounded)[0] * similarities
                )
            return loss, tape.gradient(loss, similarities)

        arguments = [tf.constant(x) for x in problem(4, 4)]
        plain, compiled = (tf.function(total, jit_compile=jit)(*arguments) for jit in (False, True))
        for a, b in zip(plain, compiled, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def of_logits(gradient, entropy=0.5, sweeps=60):
    """A function of similarities and of numbers whose softmax are the masses. One row of each pair has no mass."""
    weights = tf.constant(np.random.default_rng(1).normal(size=(2, 4, 3)))

    @tf.function
    def value(similarities, rows, columns):
        u = tf.concat([tf.zeros((2, 1), tf.float64), tf.nn.softmax(rows)], -1)
        plan, _ = transport_plan(
            similarities, u, tf.nn.softmax(columns), entropy=entropy, sweeps=sweeps, gradient=gradient
        )
        return tf.reduce_sum(weights * plan**2)

    return value


@pytest.mark.parametrize("gradient", ["unrolled", "implicit"])
def test_gradients_are_the_finite_differences(gradient):
    rng = np.random.default_rng(0)
    arguments = [tf.constant(rng.uniform(-1, 1, shape)) for shape in [(2, 4, 3), (2, 3), (2, 3)]]
    for exact, numeric in zip(*tf.test.compute_gradient(of_logits(gradient), arguments, delta=1e-5), strict=True):
        np.testing.assert_allclose(exact, numeric, atol=1e-8)
        assert np.abs(numeric).max() > 1e-3


@pytest.mark.parametrize("gradient", ["unrolled", "implicit"])
@pytest.mark.parametrize("entropy", [0.05, 0.03, 0.01])
def test_gradients_in_float32_are_finite(gradient, entropy):
    """With a row without mass, with cells that are opposite, and with cells that match one to one."""
    similarities, u, v = problem(4, 4, dtype=np.float32)
    similarities[0], similarities[1] = -1, 2 * np.eye(4) - 1
    similarities, u, v = (tf.constant(x) for x in (similarities, u, v))
    with tf.GradientTape() as tape:
        tape.watch([similarities, u, v])
        loss = tf.reduce_sum(transport_plan(similarities, u, v, entropy=entropy, gradient=gradient)[0] * similarities)
    for found in tape.gradient(loss, [similarities, u, v]):
        tf.debugging.assert_all_finite(found, gradient)


def test_a_detached_plan_has_no_gradient():
    similarities, u, v = (tf.constant(x) for x in problem(4, 4))
    with tf.GradientTape() as tape:
        tape.watch([similarities, u, v])
        plan, _ = transport_plan(similarities, u, v)
    assert tape.gradient(plan, [similarities, u, v]) == [None, None, None]


def test_sixteen_bits_are_computed_in_thirty_two():
    similarities, u, v = (tf.cast(x, tf.bfloat16) for x in problem(4, 4))
    assert transport_plan(similarities, u, v)[0].dtype == tf.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gradient": "none"}, "'detached', 'unrolled', 'implicit'. Received: 'none'"),
        ({"entropy": 0}, "entropy=0"),
        ({"sweeps": 0}, "sweeps=0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        transport_plan(*problem(2, 2), **arguments)
