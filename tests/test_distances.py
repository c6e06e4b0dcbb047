"""The seam between what compares images and what uses the comparison; rankings, blocked and re-ranked."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from descriptors import descriptors, maps

from neural_similarity.distances import Cosine, Euclidean, Structural, fine_scores, nearest, ranking, reordered, rerank
from neural_similarity.distances.distance import Distance
from neural_similarity.errors import UserError
from neural_similarity.ops import match, pooled_map

DISTANCES = [Cosine(), Euclidean(), Structural(cells=2, sweeps=5), Structural(cells=2, whole="cells", sweeps=5)]
each_distance = pytest.mark.parametrize("distance", DISTANCES, ids=["cosine", "euclidean", "structural", "cells"])


def prepared(distance, count, seed=0):
    return distance.prepare(maps(count, 3, 3, 5, seed=seed))


def pairs_of(distance, a, b):
    """The exact scores of all pairs, pair by pair."""
    return np.array([[float(distance.fine(x[None], y[None, None])[0, 0]) for y in b] for x in a])


@each_distance
def test_fine_scores_are_those_of_each_pair_alone(distance):
    queries, gallery = prepared(distance, 3), prepared(distance, 7, seed=1)
    indices = np.array([[0, 6], [3, 3], [5, 1]])
    expected = np.take_along_axis(pairs_of(distance, queries, gallery), indices, 1)
    np.testing.assert_allclose(fine_scores(distance, queries, gallery, indices), expected, rtol=1e-9)


@pytest.mark.parametrize("distance", [Cosine(), Euclidean()])
def test_coarse_scores_of_vectors_are_the_exact_ones(distance):
    queries, gallery = prepared(distance, 3), prepared(distance, 7, seed=1)
    np.testing.assert_allclose(distance.coarse(queries, gallery), pairs_of(distance, queries, gallery), rtol=1e-9)


def test_scores_of_vectors_by_hand():
    a, b = np.array([[3.0, 4.0]]), np.array([[4.0, 3.0]])
    cosine, euclidean = Cosine(), Euclidean()
    assert float(cosine.coarse(cosine.prepare(a), cosine.prepare(b))[0, 0]) == pytest.approx(24 / 25)
    assert float(cosine.distances(cosine.prepare(a), cosine.prepare(b))[0]) == pytest.approx(0.08**0.5, abs=1e-5)
    assert float(euclidean.coarse(a, b)[0, 0]) == pytest.approx(-(2**0.5))
    assert float(euclidean.distances(a, b)[0]) == pytest.approx(2**0.5)


def test_structural_score_is_that_of_the_match():
    distance = Structural(cells=2)
    a, b = prepared(distance, 4), prepared(distance, 4, seed=1)
    found = distance.match(a, b)
    np.testing.assert_allclose(distance.fine(a, b[:, None])[:, 0], found.score, rtol=1e-9)
    np.testing.assert_allclose(distance.coarse(a, b).numpy().diagonal(), found.whole, rtol=1e-9)


def test_structural_distance_is_the_transported_one():
    """Half of Σ T_rs ‖a_r − b_s‖, plus half of the distance of the whole images."""
    distance = Structural(cells=2)
    a, b = descriptors(3), descriptors(3, seed=1)
    plan = match(np.einsum("prc,psc->prs", a, b)).plan.numpy()
    expected = [
        sum(plan[p, r, s] * np.sqrt(((a[p, 1 + r] - b[p, 1 + s]) ** 2).sum() + 1e-6) for r, s in np.ndindex(4, 4)) / 2
        + np.sqrt(((a[p, 0] - b[p, 0]) ** 2).sum() + 1e-6) / 2
        for p in range(3)
    ]
    np.testing.assert_allclose(distance.distances(a, b), expected, rtol=1e-9)


@pytest.mark.parametrize("distance", [Cosine(), Structural(cells=2, sweeps=100)])
def test_similarities_are_those_of_each_pair(distance):
    x = prepared(distance, 5)
    found = distance.similarities(x).numpy()
    scale = 1 if isinstance(distance, Cosine) else 2
    for i, j in itertools.permutations(range(5), 2):
        pair = float(distance.fine(x[i : i + 1], x[j : j + 1, None])[0, 0]) / scale
        assert found[i, j] == pytest.approx(pair, abs=1e-5)
    np.testing.assert_array_equal(found, found.T)


def test_similarities_of_a_batch_of_unknown_size():
    distance, x = Structural(cells=2), tf.constant(descriptors(5))
    found = tf.function(distance.similarities, input_signature=[tf.TensorSpec((None, *x.shape[1:]), x.dtype)])(x)
    np.testing.assert_allclose(found, distance.similarities(x), rtol=1e-12)


def test_euclidean_has_no_similarities():
    with pytest.raises(TypeError, match="Euclidean has no similarities from −1 to 1"):
        Euclidean().similarities(tf.zeros((2, 3)))


@each_distance
def test_distances_have_finite_gradients_where_images_are_equal(distance):
    x = tf.constant(maps(2, 3, 3, 5))
    for embeddings in (x, tf.zeros_like(x)):
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            ready = distance.prepare(embeddings)
            loss = tf.reduce_sum(distance.distances(ready, ready))
        tf.debugging.assert_all_finite(tape.gradient(loss, embeddings), "equal images")


@each_distance
def test_sixteen_bits_are_compared_in_thirty_two(distance):
    ready = distance.prepare(tf.cast(maps(2, 3, 3, 5), tf.bfloat16))
    assert ready.dtype == tf.float32


@each_distance
def test_whole_images_are_unit_vectors(distance):
    whole = distance.whole(prepared(distance, 4))
    np.testing.assert_allclose(np.linalg.norm(whole, axis=-1), 1, rtol=1e-6)


@each_distance
def test_pooled_maps_are_as_good_as_the_maps(distance):
    """Also before a projection."""
    image, kernel, bias = maps(3, 7, 7, 6), maps(6, 4, seed=1), maps(4, seed=2)
    expected = distance.prepare(image @ kernel + bias)
    np.testing.assert_allclose(distance.prepare(pooled_map(image, 2) @ kernel + bias), expected, rtol=1e-9)


def test_shapes_that_are_no_embeddings():
    with pytest.raises(ValueError, match=r"Received the shape \(2,\)"):
        Cosine().prepare(tf.zeros(2))
    with pytest.raises(ValueError, match="a vector has no cells"):
        Structural().prepare(tf.zeros((2, 3)))


# Rankings


def slow_ranking(distance, queries, gallery, candidates, within):
    """All pairs, sorted; then the first candidates by their exact scores."""
    coarse = distance.coarse(queries, gallery).numpy()
    fine = pairs_of(distance, queries, gallery)
    rows = []
    for q in range(len(coarse)):
        others = [n for n in range(coarse.shape[1]) if not (within and n == q)]
        others.sort(key=lambda n, q=q: (-coarse[q, n], n))
        rows.append(sorted(others[:candidates], key=lambda n, q=q: -fine[q, n]) + others[candidates:])
    return np.array(rows)


@each_distance
@pytest.mark.parametrize("candidates", [0, 3, 100])
@pytest.mark.parametrize("within", [False, True])
def test_reranking_is_the_loop(distance, candidates, within, monkeypatch):
    monkeypatch.setattr(ranking, "_COARSE_NUMBERS", 30)  # blocks of 3 queries, the last one not full
    monkeypatch.setattr(ranking, "_FINE_NUMBERS", 300)
    gallery = prepared(distance, 10, seed=1)
    queries = gallery if within else prepared(distance, 4)
    found = rerank(distance, queries, None if within else gallery, candidates=candidates, depth=10)
    expected = slow_ranking(distance, queries, gallery, candidates, within)
    np.testing.assert_array_equal(found.indices, expected)
    assert found.indices.dtype == np.int32
    assert found.scores.shape == found.indices.shape


def test_every_number_of_candidates_gives_a_permutation():
    distance = Structural(cells=2)
    gallery = prepared(distance, 12)
    coarse = nearest(distance, gallery, depth=11)
    fine = fine_scores(distance, gallery, gallery, coarse.indices)
    for candidates in range(12):
        found = reordered(coarse, fine, candidates)
        for query, row in enumerate(found.indices):
            assert sorted(row) == [n for n in range(12) if n != query]
        np.testing.assert_array_equal(found.indices[:, candidates:], coarse.indices[:, candidates:])
        np.testing.assert_array_equal(found.indices, rerank(distance, gallery, candidates=candidates, depth=11).indices)


def test_depth_is_cut_to_what_there_is():
    gallery = prepared(Cosine(), 4)
    assert nearest(Cosine(), gallery, depth=50).indices.shape == (4, 3)
    assert nearest(Cosine(), gallery[:1], gallery, depth=50).indices.shape == (1, 4)
    assert rerank(Cosine(), gallery, candidates=2, depth=1).indices.shape == (4, 1)
    assert rerank(Cosine(), gallery, candidates=2).indices.shape == (4, 2)


def test_of_equal_images_the_first_comes_first():
    gallery = tf.repeat(prepared(Cosine(), 2), 3, axis=0)
    np.testing.assert_array_equal(nearest(Cosine(), gallery, depth=2).indices[:3], [[1, 2], [0, 2], [0, 1]])


def test_an_image_is_never_its_own_neighbour():
    """Nor where all scores are as low as they can be."""
    x = tf.constant([[1.0, 0.0], [-1.0, 0.0]])
    np.testing.assert_array_equal(nearest(Cosine(), x, depth=1).indices, [[1], [0]])


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(number):
    """With NaN among the scores, a stable sort would give a Recall@1 of 100 %."""
    gallery = prepared(Cosine(), 4).numpy()
    gallery[2, 1] = number
    for queries, other in ((gallery, None), (gallery[:2], gallery)):
        with pytest.raises(UserError, match="1 of 4 images have embeddings that are not finite, the first at index 2"):
            nearest(Cosine(), queries, other, depth=1)


def test_nothing_to_rank():
    with pytest.raises(UserError, match="a ranking of 1 images has no neighbour"):
        nearest(Cosine(), tf.ones((1, 2)), depth=1)


def test_nested_preparations_are_ranked_too():
    """What a distance prepares may be several tensors."""

    class Halves(Distance):
        def prepare(self, embeddings):
            return {"left": embeddings[:, :2], "right": embeddings[:, 2:]}

        def whole(self, prepared):
            return prepared["left"]

        def coarse(self, queries, gallery):
            return sum(tf.matmul(queries[side], gallery[side], transpose_b=True) for side in queries)

        def fine(self, queries, candidates):
            return -sum(tf.einsum("qc,qkc->qk", queries[side], candidates[side]) for side in queries)

        def distances(self, first, second):
            raise NotImplementedError

    x = tf.constant(maps(5, 4))
    found = rerank(Halves(), Halves().prepare(x), candidates=4)
    coarse = nearest(Cosine(), x, depth=4)
    np.testing.assert_array_equal(found.indices, coarse.indices[:, ::-1])
