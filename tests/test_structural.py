"""Grids of cells, descriptors, and the structural similarity of two images."""

import numpy as np
import pytest
import tensorflow as tf
from descriptors import all_products, descriptors, maps

from neural_similarity.ops import grid_cells, grid_operator, match, structural_descriptors, structural_scores


def slow_grid(image, cells):
    """One channel: interpolated to 4·cells points in each direction, end to end, and then means."""
    size = len(image)
    places = [point * (size - 1) / (4 * cells - 1) for point in range(4 * cells)]

    def at(y, x):
        top, left = min(int(y), size - 2), min(int(x), size - 2)
        corners = [(top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)]
        return sum(image[i, j] * (1 - abs(y - i)) * (1 - abs(x - j)) for i, j in corners)

    fine = np.array([[at(y, x) for x in places] for y in places])
    return fine.reshape(cells, 4, cells, 4).mean((1, 3))


def test_operator_of_seven_pixels():
    expected = [[0.45, 0.5, 0.05, 0, 0, 0, 0], [0, 0.1, 0.6, 0.3, 0, 0, 0]]
    expected += [row[::-1] for row in expected[::-1]]
    np.testing.assert_allclose(grid_operator(7, 4), expected, atol=1e-12)


@pytest.mark.parametrize(("size", "cells"), [(7, 4), (5, 2), (3, 2), (5, 4)])
def test_cells_are_the_means_of_interpolated_points(size, cells):
    image = maps(1, size, size, 1)
    found = grid_cells(image, cells)
    np.testing.assert_allclose(found[0, :, :, 0], slow_grid(image[0, :, :, 0], cells), rtol=1e-12)


@pytest.mark.parametrize(("size", "cells"), [(8, 4), (4, 4), (7, 1)])
def test_cells_that_divide_the_map_are_means_of_its_pixels(size, cells):
    image = maps(2, size, size, 3)
    expected = image.reshape(2, cells, size // cells, cells, size // cells, 3).mean((2, 4))
    np.testing.assert_allclose(grid_cells(image, cells), expected, rtol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 10, 14, 15, 23, 28])
def test_no_pixel_is_lost(size):
    """Every pixel counts in some cell, and every row is a mean."""
    operator = grid_operator(size, 4)
    assert operator.shape == (4, size)
    assert (operator >= 0).all()
    assert (operator.sum(0) > 0).all()
    np.testing.assert_allclose(operator.sum(1), 1, rtol=1e-12)


def test_maps_need_not_be_square():
    image = maps(1, 3, 7, 2)
    expected = np.einsum("yh,bhwc,xw->byxc", grid_operator(3, 2), image, grid_operator(7, 2))
    np.testing.assert_allclose(grid_cells(image, 2), expected, rtol=1e-12)


def test_projecting_before_the_grid_or_after_it():
    image, kernel, bias = maps(2, 7, 7, 6), maps(6, 3, seed=1), maps(3, seed=2)
    np.testing.assert_allclose(grid_cells(image @ kernel + bias, 4), grid_cells(image, 4) @ kernel + bias, rtol=1e-10)


def test_bad_grid():
    with pytest.raises(ValueError, match="cells=0"):
        grid_operator(7, 0)


def test_descriptors_of_the_whole():
    image = maps(3, 7, 7, 5)
    local = grid_cells(image, 4).numpy().reshape(3, 16, 5)
    wholes = {"map": image.mean((1, 2)), "cells": local.mean(1), "given": maps(3, 5, seed=4)}
    for name, whole in wholes.items():
        found = structural_descriptors(image, 4, whole if name == "given" else name).numpy()
        expected = np.concatenate([whole[:, None], local], 1)
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected, axis=-1, keepdims=True), rtol=1e-10)
    assert np.abs(wholes["map"] - wholes["cells"]).max() > 1e-3  # cells do not count all pixels equally


def test_bad_descriptors():
    with pytest.raises(ValueError, match="Received: 'mean'"):
        structural_descriptors(maps(1, 2, 2, 3), 2, "mean")
    with pytest.raises(ValueError, match="Received: 4 and 3"):
        structural_descriptors(maps(1, 2, 2, 3), 2, maps(1, 4))


def products(a, b):
    """Of each pair."""
    return np.einsum("prc,psc->prs", a, b)


def slow_match(a, b, entropy=0.05, sweeps=20):
    """cos + SS of one pair, step by step."""
    similarities = np.array([[cell @ other for other in b[1:]] for cell in a[1:]])
    u = np.array([max(cell @ b[0], 0) for cell in a[1:]])
    v = np.array([max(cell @ a[0], 0) for cell in b[1:]])
    u, v = u / u.sum(), v / v.sum()
    kernel = np.exp(-(1 - similarities) / entropy)
    columns = np.ones(len(v))
    for _ in range(sweeps):
        rows = u / (kernel @ columns)
        columns = v / (kernel.T @ rows)
    plan = np.diag(rows) @ kernel @ np.diag(columns)
    return a[0] @ b[0] + (plan * similarities).sum()


def test_score_is_the_loop():
    queries, candidates = descriptors(3), descriptors(12, seed=1).reshape(3, 4, 5, 5)
    found, _ = structural_scores(all_products(queries, candidates))
    for query in range(3):
        for candidate in range(4):
            expected = slow_match(queries[query], candidates[query, candidate])
            assert float(found[query, candidate]) == pytest.approx(expected, rel=1e-10)
            pair = match(products(queries[query][None], candidates[query, candidate][None]))
            assert float(pair.score[0]) == pytest.approx(expected, rel=1e-10)


def test_compiled_scores_are_the_plain_ones():
    """Large enough for XLA (see `ops.fused`); the residuals too."""
    queries = descriptors(8, 4, 16).astype(np.float32)
    candidates = descriptors(400, 4, 16, seed=1).reshape(8, 50, 17, 16).astype(np.float32)
    scores, residuals = structural_scores(all_products(queries, candidates))
    pairs = match(np.einsum("qrc,qksc->qkrs", queries, candidates))
    np.testing.assert_allclose(scores, pairs.score, atol=1e-6)
    np.testing.assert_allclose(residuals, pairs.residual, atol=1e-6)


def test_contributions_add_up_to_the_similarity():
    found = match(products(descriptors(6), descriptors(6, seed=1)))
    np.testing.assert_allclose(found.contributions.numpy().sum((1, 2)), found.structural_similarity, rtol=1e-12)
    np.testing.assert_allclose(found.score - found.whole, found.structural_similarity, rtol=1e-12)


def test_similarity_does_not_depend_on_the_order_of_the_images():
    a, b = descriptors(6, 4), descriptors(6, 4, seed=1)
    one, other = (match(products(*pair), sweeps=2000) for pair in ((a, b), (b, a)))
    np.testing.assert_allclose(one.score, other.score, atol=1e-12)
    np.testing.assert_allclose(one.plan, np.swapaxes(other.plan, 1, 2), atol=1e-12)


def test_an_image_is_like_itself():
    a = descriptors(6, 4, 64)
    np.testing.assert_allclose(match(products(a, a)).structural_similarity, 1, atol=0.02)


def test_order_of_the_cells_does_not_matter():
    a, b = descriptors(4, 4), descriptors(4, 4, seed=1)
    order = np.random.default_rng(2).permutation(16)
    found, permuted = match(products(a, b)), match(products(np.concatenate([a[:, :1], a[:, 1:][:, order]], 1), b))
    np.testing.assert_allclose(permuted.score, found.score, rtol=1e-12)
    np.testing.assert_allclose(permuted.u, found.u.numpy()[:, order], rtol=1e-12)
    np.testing.assert_allclose(permuted.plan, found.plan.numpy()[:, order], rtol=1e-9)


def opposite_pair():
    """Two images whose cells are all unlike the other one as a whole."""
    a = np.zeros((1, 5, 5))
    a[..., 0] = 1
    b = descriptors(1)
    b[..., 0] = -np.abs(b[..., 0])
    return a, b


def test_without_a_positive_correlation_all_cells_weigh_the_same():
    a, b = opposite_pair()
    found = match(products(a, b))
    np.testing.assert_allclose(found.u, np.full((1, 4), 0.25))
    for tensor in found:
        tf.debugging.assert_all_finite(tensor, "all correlations are negative")
    x = tf.constant(products(a, b))
    for gradient in ("detached", "unrolled", "implicit"):
        with tf.GradientTape() as tape:
            tape.watch(x)
            score = match(x, gradient=gradient).score
        tf.debugging.assert_all_finite(tape.gradient(score, x), gradient)


def test_weights_are_of_the_image_that_they_belong_to():
    """The first image's cells are weighted by what the second shows, the second's by what the first shows."""
    a, b = descriptors(1)[0], descriptors(1, seed=1)[0]
    found, swapped = (match(products(a[None], b[None]), swap_marginals=swap) for swap in (False, True))
    expected = np.maximum(a[1:] @ b[0], 0)
    np.testing.assert_allclose(found.u[0], expected / expected.sum(), rtol=1e-12)
    np.testing.assert_allclose(swapped.u, found.v)
    np.testing.assert_allclose(swapped.plan.numpy().sum(1), found.u, rtol=1e-6)
    assert abs(float(found.score[0] - swapped.score[0])) > 1e-3


def test_uniform_marginals():
    found = match(products(descriptors(2), descriptors(2, seed=1)), marginals="uniform")
    np.testing.assert_allclose(found.u, np.full((2, 4), 0.25))
    np.testing.assert_allclose(found.v, np.full((2, 4), 0.25))


def test_gradient_reaches_the_features_and_not_the_plan():
    x = tf.constant(products(descriptors(3), descriptors(3, seed=1)))
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = match(x)
        loss = tf.reduce_sum(found.score)
    expected = np.zeros(x.shape)
    expected[:, 0, 0] = 1
    expected[:, 1:, 1:] = found.plan
    np.testing.assert_allclose(tape.gradient(loss, x), expected, rtol=1e-12)


def test_bad_marginals():
    with pytest.raises(ValueError, match="Received: 'equal'"):
        match(products(descriptors(1), descriptors(1)), marginals="equal")
