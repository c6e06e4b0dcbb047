"""Scores of many pairs, which are computed tile by tile, are those of the pairs alone."""

import numpy as np
import pytest
import tensorflow as tf
from descriptors import all_products, descriptors

from neural_similarity.ops import match, structural_scores
from neural_similarity.ops import structural as module


@pytest.fixture(params=["one tile", "a tile per query", "tiles of two queries"])
def tiles(request, monkeypatch):
    """Five queries of three candidates, whose products are 5·3·25 numbers."""
    monkeypatch.setattr(
        module, "_TILE", {"one tile": 1000, "a tile per query": 10, "tiles of two queries": 150}[request.param]
    )


def expected(queries, candidates, **settings):
    return match(np.einsum("qrc,qksc->qkrs", queries, candidates), **settings)


@pytest.mark.parametrize("marginals", ["correlation", "uniform"])
def test_tiles_do_not_change_the_scores(tiles, marginals):
    queries, candidates = descriptors(5), descriptors(15, seed=1).reshape(5, 3, 5, 5)
    scores, residuals = structural_scores(all_products(queries, candidates), sweeps=3, marginals=marginals)
    found = expected(queries, candidates, sweeps=3, marginals=marginals)
    np.testing.assert_allclose(scores, found.score, rtol=1e-12)
    np.testing.assert_allclose(residuals, found.residual, atol=1e-12)


def test_tiles_compiled_with_the_size_that_is_used():
    queries, candidates = (descriptors(n, 4, 8, seed=n).astype(np.float32) for n in (7, 7 * 50))
    candidates = candidates.reshape(7, 50, 17, 8)
    assert module._TILE < 7 * 50 * 17 * 17
    scores, _ = structural_scores(all_products(queries, candidates))
    np.testing.assert_allclose(scores, expected(queries, candidates).score, atol=1e-5)


def test_an_unknown_number_of_queries(tiles):
    queries, candidates = (tf.constant(x) for x in (descriptors(5), descriptors(15, seed=1).reshape(5, 3, 5, 5)))
    signature = [tf.TensorSpec((None, 5, 3, 5), queries.dtype)]
    scores, _ = tf.function(structural_scores, input_signature=signature)(all_products(queries, candidates))
    np.testing.assert_allclose(scores, expected(queries, candidates).score, rtol=1e-12)
