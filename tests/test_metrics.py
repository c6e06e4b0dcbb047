"""Retrieval and clustering metrics, beside worked examples, loops and scikit-learn."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from neural_similarity.errors import UserError
from neural_similarity.metrics import clustering_scores, largest_r, retrieval_scores


def all_neighbours(vectors):
    """Every other image of each, nearest first; of equal ones the first comes first."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1, kind="stable")[:, :-1]


def slow_scores(neighbours, labels, r_excludes_query=True):
    """Query by query."""
    recalls, precisions, averages = [], [], []
    for query, row in enumerate(neighbours):
        others = [n for n in range(len(labels)) if n != query and labels[n] == labels[query]]
        if not others:
            continue
        r = len(others) + (not r_excludes_query)
        hits = [labels[n] == labels[query] for n in row]
        recalls.append([any(hits[:k]) for k in (1, 2, 4, 8)])
        precisions.append(sum(hits[:r]) / r)
        averages.append(sum(sum(hits[: k + 1]) / (k + 1) for k in range(min(r, len(hits))) if hits[k]) / r)
    names = [f"recall_at_{k}" for k in (1, 2, 4, 8)]
    means = dict(zip(names, np.mean(recalls, 0), strict=True))
    return {**means, "r_precision": np.mean(precisions), "map_at_r": np.mean(averages)}


@pytest.mark.parametrize("r_excludes_query", [True, False])
def test_scores_are_the_loop(r_excludes_query):
    """With a class of one image, and with equal images, whose scores tie."""
    rng = np.random.default_rng(0)
    labels = np.array([0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 0, 1, 3])
    vectors = rng.normal(size=(13, 3)) + labels[:, None]
    vectors[[1, 4, 7]] = vectors[[2, 3, 6]]
    neighbours = all_neighbours(vectors)
    found = retrieval_scores(neighbours, labels, r_excludes_query=r_excludes_query)
    assert found == pytest.approx(slow_scores(neighbours, labels, r_excludes_query))


def test_worked_example():
    """One query, of whose class the gallery has three images."""
    gallery = np.array([0, 9, 9, 0, 0, 9])
    found = retrieval_scores(np.array([[0, 1, 2, 3, 4, 5]]), gallery, np.array([0]), recall_at=(1, 2))
    assert found == pytest.approx({"recall_at_1": 1, "recall_at_2": 1, "r_precision": 1 / 3, "map_at_r": 1 / 3})
    found = retrieval_scores(np.array([[1, 0, 3, 2, 4, 5]]), gallery, np.array([0]), recall_at=(1, 2))
    assert found == pytest.approx({"recall_at_1": 0, "recall_at_2": 1, "r_precision": 2 / 3, "map_at_r": 7 / 18})


@pytest.mark.parametrize("size", [2, 5, 60])
def test_counting_the_query_caps_the_scores(size):
    """A perfect ranking reaches (R − 1)/R only, as in DIML's released evaluation."""
    labels = np.repeat(np.arange(3), size)
    orders = [np.argsort(labels != own, kind="stable") for own in labels]
    perfect = np.array([[n for n in order if n != query] for query, order in enumerate(orders)])
    capped = retrieval_scores(perfect, labels, r_excludes_query=False)
    assert capped["r_precision"] == pytest.approx((size - 1) / size)
    assert capped["map_at_r"] == pytest.approx((size - 1) / size)
    assert retrieval_scores(perfect, labels)["map_at_r"] == 1


def test_queries_apart_from_the_gallery():
    """Nothing is left out of R, and a query of a class that the gallery lacks does not count."""
    gallery = np.array([0, 0, 1])
    found = retrieval_scores(np.array([[0, 2, 1], [2, 0, 1], [0, 1, 2]]), gallery, np.array([0, 1, 7]), recall_at=(1,))
    assert found == pytest.approx({"recall_at_1": 1, "r_precision": 0.75, "map_at_r": 0.75})


def test_largest_r():
    assert largest_r(np.array([0, 1, 1, 1, 2, 2])) == 2


def test_no_class_with_two_images():
    with pytest.raises(UserError, match="no class has two images"):
        retrieval_scores(np.array([[1], [0]]), np.array([0, 1]))


def test_too_few_neighbours():
    labels = np.zeros(20, int)
    with pytest.raises(UserError, match="3 neighbours of each query; expected 19"):
        retrieval_scores(np.zeros((20, 3), int), labels)


def test_clusters_beside_a_loop_over_pairs():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 10)
    vectors = rng.normal(size=(40, 2)) + 1.5 * np.stack([labels // 2, labels % 2], 1)
    from sklearn.cluster import KMeans

    clusters = KMeans(4, n_init=1, max_iter=20, random_state=0).fit_predict(vectors)
    pairs = list(itertools.combinations(range(40), 2))
    together = [clusters[i] == clusters[j] for i, j in pairs]
    same = [labels[i] == labels[j] for i, j in pairs]
    right = sum(a and b for a, b in zip(together, same, strict=True))
    precision, recall = right / sum(together), right / sum(same)
    found = clustering_scores(vectors, labels)
    assert found["f1"] == pytest.approx(2 * precision * recall / (precision + recall))
    assert found["nmi"] == pytest.approx(normalized_mutual_info_score(labels, clusters))


def test_clusters_that_are_the_classes():
    labels = np.repeat(np.arange(3), 5)
    found = clustering_scores(np.eye(3)[labels] + 1e-3 * np.random.default_rng(0).normal(size=(15, 3)), labels)
    assert found == pytest.approx({"nmi": 1, "f1": 1})
