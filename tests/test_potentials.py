"""Potentials as Keras layers: convex while they are trained, saved and loaded, used on sets, and what they refuse."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_checks import KERAS_WARNINGS
from potentials_of_tests import ALL, made, points
from slow_forms import normal

from neural_similarity.potentials import (
    FunctionalMaxAffine,
    GeneralizedKL,
    InputConvex,
    Mahalanobis,
    MaxAffine,
    MomentMatching,
    SquaredEuclidean,
    into_domain,
)

pytestmark = KERAS_WARNINGS


def smallest_eigenvalues(potential, x):
    """Of the Hessian of φ at each point, by the tape over ∇φ."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        gradient = potential.grad(x)
    hessians = tape.batch_jacobian(gradient, x).numpy()
    np.testing.assert_allclose(hessians, hessians.transpose(0, 2, 1), atol=1e-10)
    return np.linalg.eigvalsh(hessians)[:, 0]


@pytest.mark.parametrize("layers", [1, 3])
def test_a_network_stays_convex_while_it_is_trained(layers):
    """P15: 50 steps of Adam at a rate that moves every weight by about 1, away from a convex function."""
    potential = InputConvex(layers, 8, seed=0, dtype="float64")
    x, y = normal(0, 64, 3), normal(1, 64, 3)
    target = -np.abs(x - y).sum(-1)  # as small as it can be
    potential.paired(x, y)
    start = [w.numpy() for w in potential.weights]
    optimizer = keras.optimizers.Adam(0.05)
    for _ in range(50):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((potential.paired(x, y) - target) ** 2)
        optimizer.apply(tape.gradient(loss, potential.trainable_variables), potential.trainable_variables)
    assert all(np.abs(w - before).max() > 0.1 for w, before in zip(potential.weights, start, strict=True))
    assert smallest_eigenvalues(potential, 5 * normal(2, 100, 3)).min() >= -1e-9
    network = potential.weights_of_network()
    assert all(float(tf.reduce_min(w)) >= 0 for w in (*network.passing, network.output, network.curvature))


def test_a_network_begins_near_a_squared_distance():
    potential = InputConvex(2, 16, curvature=1.0, seed=0, dtype="float64")
    x, y = normal(3, 200, 4), normal(4, 200, 4)
    found, expected = potential.paired(x, y), ((x - y) ** 2).sum(-1) / 2
    assert np.corrcoef(found, expected)[0, 1] > 0.98


def test_every_weight_has_a_gradient():
    for potential in (InputConvex(3, 5, seed=0), MaxAffine(4, seed=0), Mahalanobis(2)):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(potential.paired(normal(5, 40, 3), normal(6, 40, 3)))
        for weight, gradient in zip(
            potential.trainable_variables, tape.gradient(loss, potential.trainable_variables), strict=True
        ):
            assert float(tf.reduce_max(tf.abs(gradient))) > 0, weight.path


def test_tangents_of_a_squared_length_begin_as_the_squared_distance():
    """With every point as a centre, D(x, y) of two of them is ‖x − y‖², as φ touches it there."""
    centres = normal(7, 12, 3)
    potential = MaxAffine(12, temperature=0, dtype="float64")
    potential.start_from(centres)
    np.testing.assert_allclose(
        potential.pairwise(centres), SquaredEuclidean(dtype="float64").pairwise(centres), atol=1e-12
    )
    assert potential.wins(centres).numpy().tolist() == [1] * 12
    assert potential.wins(centres[:3]).numpy().sum() == 3
    with pytest.raises(ValueError, match=r"`centres` must be \(12, 3\)\. Received the shape \(11, 3\)"):
        potential.start_from(centres[:11])


# Sets


def test_functions_of_sets_are_networks_one_by_one():
    """The k networks, computed at once, beside a loop; and D of sets beside its definition."""
    divergence = FunctionalMaxAffine(5, 6, temperature=0, seed=0, dtype="float64")
    p, q = normal(8, 4, 7, 3), normal(9, 3, 9, 3)
    found = divergence.pairwise(p, q)

    def values(points):
        hidden, bias, output, last = (w.numpy() for w in divergence.weights)
        return np.array(
            [np.mean([output[k] @ np.maximum(hidden[k] @ x + bias[k], 0) + last[k] for x in points]) for k in range(5)]
        )

    for i, one in enumerate(p):
        for j, other in enumerate(q):
            expected = values(one).max() - values(one)[values(other).argmax()]
            assert float(found[i, j]) == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(divergence(p), [values(one).max() for one in p], atol=1e-12)


@pytest.mark.parametrize("temperature", [0, 0.3])
def test_divergences_of_sets(temperature):
    """P19: convex in mixtures of the sample, whatever the order of the points; a point is a set of one."""
    divergence = FunctionalMaxAffine(9, 8, temperature=temperature, seed=1, dtype="float64")
    a, b, q = normal(10, 500, 6, 3), normal(11, 500, 6, 3), normal(12, 500, 4, 3)
    mixture = np.concatenate([a, b], axis=1)
    ends = (divergence.paired(a, q) + divergence.paired(b, q)) / 2
    assert float(tf.reduce_min(ends - divergence.paired(mixture, q))) > -1e-12
    np.testing.assert_allclose(divergence.paired(a[:, ::-1], q), divergence.paired(a, q), atol=1e-12)
    points = normal(13, 20, 3)
    np.testing.assert_allclose(divergence.pairwise(points), divergence.pairwise(points[:, None]), atol=1e-12)
    assert float(tf.reduce_min(divergence.pairwise(a))) > -1e-12


def test_it_is_not_convex_in_the_points():
    """The functions are networks. This is why it is no `Potential`, and has no gradient in x."""
    divergence = FunctionalMaxAffine(9, 8, seed=1, dtype="float64")
    a, b = normal(14, 2000, 3), normal(15, 2000, 3)
    gap = (divergence(a) + divergence(b)) / 2 - divergence((a + b) / 2)
    assert float(tf.reduce_min(gap)) < -0.01


def test_moment_matching_compares_means():
    p, q = normal(16, 4, 7, 3), normal(17, 4, 9, 3)
    divergence = MomentMatching(dtype="float64")
    expected = ((p.mean(1) - q.mean(1)) ** 2).sum(-1)
    np.testing.assert_allclose(divergence.paired(p, q), expected, atol=1e-12)
    np.testing.assert_allclose(tf.linalg.diag_part(divergence.pairwise(p, q)), expected, atol=1e-12)


# Layers


@pytest.mark.parametrize("name", ALL)
def test_saved_and_loaded(name, tmp_path):
    """P21."""
    potential = made(name, "float32")
    inputs = keras.Input((3,))
    keras.Model(inputs, potential(inputs)).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").layers[-1]
    x, y = points(name, 5, seed=18), points(name, 6, seed=19)
    np.testing.assert_array_equal(loaded.pairwise(x, y), potential.pairwise(x, y))
    assert type(loaded).from_config(loaded.get_config()).get_config() == potential.get_config()


@pytest.mark.parametrize("kind", [FunctionalMaxAffine, MomentMatching])
def test_divergences_of_sets_are_saved_and_loaded(kind, tmp_path):
    divergence, inputs = kind(), keras.Input((4, 3))
    keras.Model(inputs, divergence(inputs)).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").layers[-1]
    sets = normal(20, 5, 4, 3)
    np.testing.assert_array_equal(loaded.pairwise(sets), divergence.pairwise(sets))


def test_a_seed_decides_the_weights():
    for kind in (InputConvex, MaxAffine, FunctionalMaxAffine):
        x = normal(21, 5, 3)
        first, again, other = (kind(seed=seed).pairwise(x).numpy() for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert np.any(first != other)


def test_layers_do_not_start_alike():
    """Each weight matrix has draws of its own."""
    potential = InputConvex(3, 4, seed=0)
    potential.pairwise(normal(22, 2, 4))
    assert np.any(potential.inputs[0].numpy() != potential.inputs[1].numpy())


def test_mixed_precision_is_computed_in_float32():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert InputConvex(seed=0).pairwise(normal(23, 3, 2)).dtype == tf.float32
    finally:
        keras.config.set_dtype_policy(before)


def test_the_domain_of_a_potential():
    x = np.array([-100.0, -1.0, 0.0, 1.0, 100.0], np.float32)
    for domain, (least, largest) in {"positive": (0, np.inf), "unit": (0, 1), "real": (-np.inf, np.inf)}.items():
        inside = into_domain(x, domain)
        assert np.all((inside > least) & (inside < largest))
        assert np.all(np.diff(inside) > 0) or domain == "unit"
    with pytest.raises(ValueError, match='`domain` must be "real", "positive" or "unit"'):
        into_domain(x, "integers")


def test_outside_of_the_domain_there_is_no_number():
    """NaN, which the ranking and the estimators refuse, and not a number that looks right."""
    assert np.isnan(GeneralizedKL().paired(np.array([[-1.0, 1.0]]), np.array([[1.0, 1.0]]))).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaxAffine(0), "`pieces` must be an integer of at least 1"),
        (lambda: MaxAffine(temperature=-1), "`temperature` must be a number of at least 0"),
        (lambda: InputConvex(width=2.5), "`width` must be an integer"),
        (lambda: InputConvex(curvature=0), "`curvature` must be a number greater than 0"),
        (lambda: Mahalanobis(0), "`rank` must be an integer of at least 1"),
        (lambda: SquaredEuclidean().pairwise(np.zeros((2, 3, 4))), r"compares vectors \(b, d\)"),
        (lambda: MomentMatching().pairwise(np.zeros((2, 0, 3))), "sets without points have no mean"),
        (lambda: MomentMatching().pairwise(np.zeros(3)), r"compares sets of points \(b, m, d\), or points \(b, d\)"),
    ],
)
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
