"""Bregman divergences beside their definition, written as a loop; and the theorems that hold for all of them."""

import numpy as np
import pytest
import tensorflow as tf
from potentials_of_tests import ALL, NEEDS_REFERENCE, made, points
from slow_forms import normal

from neural_similarity import ops
from neural_similarity.potentials import (
    GeneralizedKL,
    InputConvex,
    ItakuraSaito,
    Logistic,
    LogSumExp,
    Mahalanobis,
    MaxAffine,
    Potential,
    SquaredEuclidean,
)


def slow_all_pairs(potential, x, y):
    """The definition, a pair at a time; φ and ∇φ are the potential's own."""
    found = np.zeros((len(x), len(y)))
    for i, sample in enumerate(x):
        for j, reference in enumerate(y):
            gradient = potential.grad(reference[None])[0].numpy()
            phi_x, phi_y = (float(potential.phi(point[None])[0]) for point in (sample, reference))
            found[i, j] = phi_x - phi_y - sum(g * (a - b) for g, a, b in zip(gradient, sample, reference, strict=True))
    return found


@pytest.mark.parametrize("name", ALL)
def test_all_forms_are_the_definition(name):
    """P13, P1, P2: a matrix, pairs and the loop agree; nothing is negative; D(x, x) is 0."""
    potential = made(name)
    x, y = points(name, 5, seed=1), points(name, 7, seed=2)
    expected = slow_all_pairs(potential, x, y)
    assert expected.min() > -1e-12
    assert expected.max() > 0.01
    np.testing.assert_allclose(potential.pairwise(x, y), expected, atol=1e-10)
    rows, columns = np.indices(expected.shape).reshape(2, -1)
    np.testing.assert_allclose(potential.paired(x[rows], y[columns]), expected.ravel(), atol=1e-10)
    np.testing.assert_array_equal(np.diag(potential.pairwise(x)), 0)
    np.testing.assert_allclose(potential.paired(x, x), 0, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_the_gradient_is_that_of_phi(name):
    """P16, P12: ∇φ beside the tape; ∂D/∂x = ∇φ(x) − ∇φ(y), and ∂D/∂y beside finite differences."""
    potential = made(name)
    x, y = (tf.constant(points(name, 4, seed)) for seed in (3, 4))
    with tf.GradientTape() as tape:
        tape.watch(x)
        phi = potential.phi(x)
    np.testing.assert_allclose(potential.grad(x), tape.gradient(phi, x), atol=1e-10)
    with tf.GradientTape() as tape:
        tape.watch([x, y])
        divergences = potential.paired(x, y)
    of_x, of_y = tape.gradient(divergences, [x, y], unconnected_gradients="zero")
    np.testing.assert_allclose(of_x, potential.grad(x) - potential.grad(y), atol=1e-10)
    for seed in range(3):
        step = 1e-6 * normal(seed, *y.shape)
        numeric = (potential.paired(x, y + step) - potential.paired(x, y - step)) / 2
        np.testing.assert_allclose(tf.reduce_sum(of_y * step, -1), numeric, rtol=1e-4, atol=1e-13)


@pytest.mark.parametrize("name", ALL)
def test_gradients_of_all_pairs_are_those_of_pairs(name):
    """Of samples, references and weights; so the origins that are taken away have no part in them."""
    potential = made(name)
    x, y = (tf.constant(points(name, count, seed)) for count, seed in ((4, 5), (6, 6)))
    weight = tf.constant(normal(7, 4, 6))
    rows, columns = np.indices((4, 6)).reshape(2, -1)
    found = []
    for symmetric in (False, True):
        for form in ("matrix", "pairs"):
            with tf.GradientTape() as tape:
                tape.watch([x, y])
                a, b = potential.described(x), potential.described(y)
                if form == "matrix":
                    compare = potential.symmetric_all_pairs if symmetric else potential.all_pairs
                    value = tf.reduce_sum(weight * compare(a, b))
                else:
                    compare = potential.symmetric_pairs if symmetric else potential.pairs
                    first, second = (
                        tf.nest.map_structure(lambda t, places=places: tf.gather(t, places), each)
                        for each, places in ((a, rows), (b, columns))
                    )
                    value = tf.reduce_sum(tf.reshape(weight, (-1,)) * compare(first, second))
            sources = [x, y, *potential.trainable_variables]
            found.append((value, tape.gradient(value, sources, unconnected_gradients="zero")))
        (value, gradients), (other_value, others) = found[-2:]
        assert float(value) == pytest.approx(float(other_value), abs=1e-8)
        for one, other in zip(gradients, others, strict=True):
            np.testing.assert_allclose(tf.convert_to_tensor(one), tf.convert_to_tensor(other), atol=1e-8)


@pytest.mark.parametrize("name", ALL)
def test_jeffreys_is_the_sum_of_both_directions(name):
    potential = made(name)
    x, y = points(name, 5, seed=40), points(name, 6, seed=41)
    expected = potential.pairwise(x, y).numpy() + potential.pairwise(y, x).numpy().T
    a, b = potential.described(x), potential.described(y)
    np.testing.assert_allclose(potential.symmetric_all_pairs(a, b), expected, atol=1e-10)
    five = tf.nest.map_structure(lambda t: t[:5], b)
    np.testing.assert_allclose(potential.symmetric_pairs(a, five), np.diag(expected[:, :5]), atol=1e-10)


@pytest.mark.parametrize("name", ALL)
def test_convex_in_the_sample(name):
    """P3: never above the mean of its values at the ends, in the middle between 2,000 pairs of points."""
    potential = made(name)
    a, b, y = (points(name, 2000, seed) for seed in (5, 6, 7))
    middle = potential.paired((a + b) / 2, y)
    ends = (potential.paired(a, y) + potential.paired(b, y)) / 2
    assert float(tf.reduce_min(ends - middle)) > -1e-12


@pytest.mark.parametrize("name", ALL)
def test_three_points(name):
    """P6: D(x, y) = D(x, z) + D(z, y) − ⟨∇φ(y) − ∇φ(z), x − z⟩."""
    potential = made(name)
    x, y, z = (points(name, 50, seed) for seed in (8, 9, 10))
    crossing = tf.reduce_sum((potential.grad(y) - potential.grad(z)) * (x - z), -1)
    expected = potential.paired(x, z) + potential.paired(z, y) - crossing
    np.testing.assert_allclose(potential.paired(x, y), expected, atol=1e-10)


@pytest.mark.parametrize("name", ALL)
def test_the_mean_is_the_best_reference(name):
    """P8, P9: Σ D(x_i, s) is smallest at the mean, and there n times the gap of Jensen's inequality."""
    potential = made(name)
    x = points(name, 30, seed=11)
    mean = x.mean(0)
    at_mean = float(tf.reduce_mean(potential.pairwise(x, mean[None])))
    assert at_mean == pytest.approx(float(tf.reduce_mean(potential.phi(x)) - potential.phi(mean[None])[0]), abs=1e-10)
    others = mean + 0.05 * normal(12, 200, *mean.shape) * x.std()
    others = np.abs(others) if potential.domain == "positive" else others
    assert float(tf.reduce_min(tf.reduce_mean(potential.pairwise(x, others), 0))) >= at_mean - 1e-12


def test_the_mean_is_not_the_best_sample():
    """P8: with the arguments exchanged the best point is another one: for KL the geometric mean."""
    potential, y = GeneralizedKL(dtype="float64"), points("kl", 30, seed=11)
    sums = [float(tf.reduce_mean(potential.pairwise(p[None], y))) for p in (y.mean(0), np.exp(np.log(y).mean(0)))]
    assert sums[1] < sums[0] - 1e-3


# Known divergences


@pytest.mark.parametrize(
    ("potential", "name", "formula"),
    [
        (SquaredEuclidean, "squared_euclidean", lambda x, y: ((x - y) ** 2).sum(-1)),
        (GeneralizedKL, "kl", lambda x, y: (x * np.log(x / y) - x + y).sum(-1)),
        (ItakuraSaito, "itakura_saito", lambda x, y: (x / y - np.log(x / y) - 1).sum(-1)),
        (
            Logistic,
            "logistic",
            lambda x, y: (x * np.log(x / y) + (1 - x) * np.log((1 - x) / (1 - y))).sum(-1),
        ),
    ],
)
def test_divergences_with_a_name(potential, name, formula):
    """P10."""
    x, y = points(name, 40, seed=13), points(name, 40, seed=14)
    np.testing.assert_allclose(potential(dtype="float64").paired(x, y), formula(x, y), atol=1e-12)


def test_on_the_simplex_it_is_kl():
    """P10: and ln Σ exp gives it of the softmax, with the arguments exchanged."""
    a, b = normal(15, 20, 4), normal(16, 20, 4)
    p, q = (np.exp(v) / np.exp(v).sum(-1, keepdims=True) for v in (a, b))
    kl = (p * np.log(p / q)).sum(-1)
    np.testing.assert_allclose(GeneralizedKL(dtype="float64").paired(p, q), kl, atol=1e-12)
    np.testing.assert_allclose(LogSumExp(dtype="float64").paired(b, a), kl, atol=1e-12)


def test_mahalanobis_is_half_the_squared_distance_along_its_factor():
    """P10."""
    potential, x, y = made("mahalanobis"), normal(17, 30, 3), normal(18, 30, 3)
    difference = x - y
    factor = potential.factor.numpy()
    expected = ((difference @ factor) ** 2).sum(-1) / 2 + 0.3 * (difference**2).sum(-1) / 2
    np.testing.assert_allclose(potential.paired(x, y), expected, atol=1e-12)
    start = Mahalanobis(dtype="float64")
    np.testing.assert_allclose(start.paired(x, y), (difference**2).sum(-1), atol=1e-12)


def test_no_triangle_inequality_and_not_symmetric():
    """P22: from 0 to 2 by way of 1, the squared distances are 1 + 1, and 4 at once."""
    steps = SquaredEuclidean(dtype="float64").pairwise(np.array([[0.0], [1.0], [2.0]])).numpy()
    assert steps[0, 2] > steps[0, 1] + steps[1, 2]
    found = GeneralizedKL(dtype="float64").pairwise(points("kl", 10, seed=19)).numpy()
    assert np.abs(found - found.T).max() > 0.01


# Theorems


def test_linear_in_the_potential():
    """P4, P5: D of 2φ + 3ψ is 2 D_φ + 3 D_ψ, and an affine function of x changes nothing."""
    x, y = points("kl", 20, seed=20), points("kl", 20, seed=21)
    one, other = GeneralizedKL(dtype="float64"), InputConvex(width=8, seed=0, dtype="float64")
    slope = normal(22, x.shape[-1])
    parts = []
    for point in (x, y):
        phi = 2 * one.phi(point) + 3 * other.phi(point) + point @ slope + 5
        parts += [point, phi]
    grad = 2 * one.grad(y) + 3 * other.grad(y) + slope
    expected = 2 * one.paired(x, y) + 3 * other.paired(x, y)
    np.testing.assert_allclose(ops.bregman_pairs(*parts, grad), expected, atol=1e-10)
    found = ops.bregman_all_pairs(*parts, grad)
    np.testing.assert_allclose(tf.linalg.diag_part(found), expected, atol=1e-10)


@pytest.mark.parametrize("name", ["kl", "itakura_saito", "input_convex"])
def test_generalised_pythagoras(name):
    """P7: with z the point of a half-space nearest to y, D(x, y) ≥ D(x, z) + D(z, y); on its border, =."""
    potential = made(name)
    y = points(name, 1, seed=23)[0]
    normal_vector = np.abs(normal(24, len(y))) + 0.1
    level = normal_vector @ y + 0.5  # y lies outside of {z: ⟨normal, z⟩ ≥ level}
    nearest = _nearest_on_plane(potential, y, normal_vector, level)
    checked = 0
    for seed in range(20):
        x = np.abs(points(name, 1, seed=seed)[0])
        on_border = x + normal_vector * (level - normal_vector @ x) / (normal_vector @ normal_vector)
        if potential.domain == "positive" and on_border.min() <= 0:
            continue
        checked += 1
        for point, is_equal in ((on_border, True), (on_border + 0.2 * normal_vector, False)):
            whole = _divergence(potential, point, y)
            legs = _divergence(potential, point, nearest) + _divergence(potential, nearest, y)
            assert whole >= legs - 1e-5
            assert not is_equal or whole == pytest.approx(legs, abs=1e-5)
    assert checked >= 5


def _divergence(potential, x, y):
    return float(potential.paired(x[None], y[None])[0])


def _nearest_on_plane(potential, y, normal_vector, level):
    """The point z of the plane with the smallest D(z, y), by SciPy."""
    from scipy.optimize import minimize

    start = y + normal_vector * (level - normal_vector @ y) / (normal_vector @ normal_vector)
    found = minimize(
        lambda z: _divergence(potential, z, y),
        start,
        jac=lambda z: (potential.grad(z[None]) - potential.grad(y[None]))[0].numpy(),
        constraints={"type": "eq", "fun": lambda z: normal_vector @ z - level, "jac": lambda z: normal_vector},
        bounds=[(1e-6 if potential.domain == "positive" else None, None)] * len(y),
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return found.x


def test_duality():
    """P11: D_φ(x, y) = D_φ*(∇φ(y), ∇φ(x)), for ½xᵀMx and for KL, whose conjugates are ½xᵀM⁻¹x and Σ exp."""
    quadratic, x, y = made("mahalanobis"), normal(25, 20, 3), normal(26, 20, 3)
    factor = quadratic.factor.numpy()
    inverse = np.linalg.inv(factor @ factor.T + 0.3 * np.eye(3))
    difference = (quadratic.grad(y) - quadratic.grad(x)).numpy()
    conjugate = np.einsum("pd,de,pe->p", difference, inverse, difference) / 2
    np.testing.assert_allclose(quadratic.paired(x, y), conjugate, atol=1e-10)

    kl, x, y = GeneralizedKL(dtype="float64"), points("kl", 20, seed=27), points("kl", 20, seed=28)
    a, b = kl.grad(y).numpy(), kl.grad(x).numpy()
    conjugate = (np.exp(a) - np.exp(b) - np.exp(b) * (a - b)).sum(-1)
    np.testing.assert_allclose(kl.paired(x, y), conjugate, atol=1e-12)


def test_bisectors_of_two_references_are_planes():
    """P18: D(x, y₁) − D(x, y₂) is affine in x."""
    potential = made("input_convex")
    y = points("input_convex", 2, seed=29)
    a, b = (points("input_convex", 10, seed) for seed in (30, 31))
    differences = [potential.pairwise(p, y).numpy() for p in (a, b, 0.3 * a + 0.7 * b)]
    one, other, between = (d[:, 0] - d[:, 1] for d in differences)
    np.testing.assert_allclose(between, 0.3 * one + 0.7 * other, atol=1e-10)


@pytest.mark.parametrize("name", ALL)
def test_a_search_by_inner_product_finds_the_same(name):
    """P23: φ(x) less the inner product is D; so the order of the references is that of D."""
    potential = made(name)
    x, y = points(name, 6, seed=32), points(name, 50, seed=33)
    samples = ops.inner_product_samples(x)
    references = ops.inner_product_references(y, potential.phi(y), potential.grad(y))
    products = samples @ tf.transpose(references)
    divergences = potential.pairwise(x, y)
    np.testing.assert_allclose(potential.phi(x)[:, None] - products, divergences, atol=1e-10)
    if name in NEEDS_REFERENCE:
        np.testing.assert_array_equal(tf.argsort(-products, axis=1), tf.argsort(divergences, axis=1))


# The largest of affine functions


@pytest.mark.parametrize("temperature", [0.3, 0.05, 0.001])
def test_the_smoothed_maximum_goes_to_the_maximum(temperature):
    """P17: 0 ≤ φ_τ − φ ≤ τ ln k; and the divergences, too, come near."""
    hard, smooth = (MaxAffine(16, temperature=t, seed=1, dtype="float64") for t in (0, temperature))
    x, y = normal(34, 200, 3), normal(35, 200, 3)
    gap = (smooth.phi(x) - hard.phi(x)).numpy()
    assert gap.min() > -1e-12
    assert gap.max() <= temperature * np.log(16)
    if temperature < 0.01:  # but where two functions are nearly equal at y
        difference = np.abs(smooth.paired(x, y) - hard.paired(x, y))
        assert np.quantile(difference, 0.9) < 1e-3


def test_equal_pieces_are_decided_in_one_way():
    """P20: where two functions are equal, the first of them counts, compiled or not."""
    pieces_x = tf.constant([[1.0, 2.0, 0.0]])
    pieces_y = tf.constant([[3.0, 3.0, 1.0]])
    for form in (ops.pieces_all_pairs, tf.function(ops.pieces_all_pairs, jit_compile=True)):
        assert form(pieces_x, pieces_y).numpy().tolist() == [[1.0]]
    np.testing.assert_array_equal(ops.piece_shares(pieces_y), [[1, 0, 0]])


def test_the_same_pieces_give_exactly_zero_in_float32():
    """Far from the origin too, where φ(x) − φ(y) would be rounded away."""
    x = (30 + 0.01 * normal(36, 200, 5)).astype(np.float32)
    narrow, wide = (MaxAffine(9, temperature=0, dtype=dtype) for dtype in ("float32", "float64"))
    narrow.start_from(x[:9])  # whose borders cross the cloud of points
    wide.start_from(x[:9])
    wide.set_weights([weight.astype(np.float64) for weight in narrow.get_weights()])
    found, exact = narrow.pairwise(x).numpy(), wide.pairwise(x.astype(np.float64)).numpy()
    assert found.min() == 0
    assert exact.max() > 1e-3
    np.testing.assert_allclose(found, exact, atol=2e-6)


def test_a_reference_that_is_no_number_has_no_divergence():
    potential = MaxAffine(4, temperature=0, seed=0)
    x = np.array([[1.0, 2.0], [np.nan, 0.0]], np.float32)
    for pairwise in (potential.pairwise, tf.function(potential.pairwise)):
        np.testing.assert_array_equal(np.isnan(pairwise(tf.constant(x[:1]), tf.constant(x))), [[False, True]])
    assert np.isnan(potential.paired(x[:1], x[1:])[0])


def test_an_infinite_piece_counts_where_it_is_picked_alone():
    samples, references = tf.constant([[1.0, -np.inf, 3.0]]), tf.constant([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0]])
    np.testing.assert_array_equal(ops.pieces_all_pairs(samples, references)[0, 0], 2)
    assert ops.pieces_all_pairs(samples, references)[0, 1] > 1e38


@pytest.mark.parametrize(
    ("make", "tolerance"),
    [
        (GeneralizedKL, 3e-8),
        (ItakuraSaito, 1e-9),
        (lambda **kw: InputConvex(2, 8, curvature=1.0, seed=0, **kw), 3e-5),
        (LogSumExp, 1e-6),
    ],
)
def test_pairs_survive_uncentred_vectors(make, tolerance):
    x, y = ((30 + 0.01 * normal(seed, 100, 8)).astype(np.float32) for seed in (42, 43))
    narrow, wide = make(), make(dtype="float64")
    for potential in (narrow, wide):
        potential.build((None, 8))
    for one, other in zip(narrow.weights, wide.weights, strict=True):
        other.assign(one.numpy())
    exact = wide.paired(x, y).numpy()
    np.testing.assert_allclose(narrow.paired(x, y), exact, atol=tolerance)
    assert exact.max() > 10 * tolerance


class Quartic(Potential):
    """A potential that says its value alone."""

    def value(self, x):
        return tf.reduce_sum(x**4, -1) / 12


def test_a_potential_of_ones_own_needs_its_value_alone():
    """The gradient comes from one reverse pass."""
    potential, x, y = Quartic(dtype="float64"), normal(44, 6, 3), normal(45, 6, 3)
    expected = (x**4 / 12 - y**4 / 12 - y**3 / 3 * (x - y)).sum(-1)
    np.testing.assert_allclose(potential.paired(x, y), expected, atol=1e-12)
    np.testing.assert_allclose(tf.linalg.diag_part(potential.pairwise(x, y)), expected, atol=1e-12)
    with pytest.raises(NotImplementedError, match="Potential must define `value` or `value_and_grad`"):
        Potential().paired(x, y)


@pytest.mark.parametrize(("potential", "tolerance"), [(SquaredEuclidean, 1e-8), (Mahalanobis, 1e-8)])
def test_squared_distances_survive_uncentred_vectors(potential, tolerance):
    """In float32 with inputs of 30 ± 0.01; multiplied out without care, the error is half of the largest value."""
    x = (30 + 0.01 * normal(37, 100, 8)).astype(np.float32)
    exact = ((x[:, None].astype(np.float64) - x) ** 2).sum(-1)
    found = potential().pairwise(x)
    np.testing.assert_allclose(found, exact, atol=tolerance)
    careless = (x**2).sum(-1)[:, None] + (x**2).sum(-1) - 2 * x @ x.T
    assert np.abs(careless - exact).max() > 1e4 * tolerance


def test_curvature_is_a_squared_distance_that_keeps_its_digits():
    """In float32 with inputs of 30 ± 0.01, of a potential that is 0 without it; and its own gradient."""
    x = (30 + 0.01 * normal(37, 100, 8)).astype(np.float32)
    exact = ((x[:, None].astype(np.float64) - x) ** 2).sum(-1)
    zero, slopes, curvature = tf.zeros(100), tf.zeros((100, 8)), tf.constant(2.0)
    with tf.GradientTape() as tape:
        tape.watch(curvature)
        found = ops.bregman_all_pairs(x, zero, x, zero, slopes, curvature)
    np.testing.assert_allclose(found, exact, atol=1e-8)
    np.testing.assert_allclose(tape.gradient(found, curvature), exact.sum() / 2, rtol=1e-3)
    np.testing.assert_allclose(ops.jeffreys_all_pairs(x, slopes, x, slopes, curvature), 2 * exact, atol=2e-8)


def test_terms_of_no_curvature_do_not_overflow():
    """Itakura–Saito does not depend on the unit. So it must hold for vectors whose squares are too large, too."""
    x, y = (np.exp(normal(seed, count, 4)).astype(np.float32) for seed, count in ((50, 5), (51, 6)))
    potential = ItakuraSaito()
    np.testing.assert_allclose(potential.pairwise(1e20 * x, 1e20 * y), potential.pairwise(x, y), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_dtypes_and_compilation(name):
    """P21: float32 is near float64; compiled is as plain; sixteen bits are computed in thirty-two."""
    potential, narrow = made(name), made(name, "float32")
    x, y = points(name, 20, seed=38), points(name, 30, seed=39)
    exact = potential.pairwise(x, y).numpy()
    found = narrow.pairwise(x.astype(np.float32), y.astype(np.float32))
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, exact, atol=1e-4 * max(1, exact.max()))
    compiled = tf.function(potential.pairwise, jit_compile=True)
    np.testing.assert_allclose(compiled(tf.constant(x), tf.constant(y)), exact, atol=1e-10)
    assert narrow.pairwise(tf.cast(x, tf.bfloat16), tf.cast(y, tf.bfloat16)).dtype == tf.float32
