"""How learned divergences are measured: by neighbours and clusters of test samples, or beside a known divergence.

n test samples · m training samples
"""

import numpy as np
import tensorflow as tf

from neural_similarity.distances import Bregman, nearest
from neural_similarity.estimators.k_means import bregman_k_means
from neural_similarity.metrics import clustering_agreement, largest_r, retrieval_scores

_FOR_ASYMMETRY = 2_000  # samples of which D of all pairs is looked at
_PAIRS = 20_000  # of test vectors, on which a regression is measured


def class_scores(distance: Bregman, train, train_labels, test, test_labels, neighbours: int) -> dict[str, float]:
    """The scores of a divergence between samples with classes, in fractions.

    `knn_accuracy`: each test sample gets the class of most of its nearest training samples; of equally many, the class
    of the nearest one. `recall_at_1` and `map_at_r`: each test sample searches the others. `rand_index`,
    `adjusted_rand_index` and `nmi`: test samples are clustered, with as many clusters as classes, each sample to the
    centre c with the smallest D(sample, c). `asymmetry`: the mean of |D(x, y) − D(y, x)|, divided by that of their sum.

    Args:
        distance: with the divergence.
        train, test: the network's outputs for m and n samples.
        train_labels, test_labels: `(m,)` and `(n,)` integers.
        neighbours: how many of them vote.
    """
    prepared, gallery = distance.prepare(test), distance.prepare(train)
    votes = train_labels[nearest(distance, prepared, gallery, depth=neighbours).indices]
    among = nearest(distance, prepared, depth=max(largest_r(test_labels), 1))
    retrieval = retrieval_scores(among.indices, test_labels, recall_at=(1,))
    divergence = distance.divergence
    # A set is clustered by its description, a mean over its points; the mean of descriptions is the best centre.
    points, compare = (prepared[1], divergence.all_pairs) if divergence.of_sets else (test, divergence.pairwise)
    clusters = bregman_k_means(
        lambda x, y: np.maximum(compare(x, y), 0),
        np.asarray(points),
        len(np.unique(test_labels)),
        np.random.RandomState(0),
        starts=10,
    )
    first = tf.nest.map_structure(lambda x: x[:_FOR_ASYMMETRY], prepared[1])
    pairs = np.maximum(divergence.all_pairs(first, first), 0)  # without what rounding leaves below
    return {
        "knn_accuracy": float(np.mean(majority(votes) == test_labels)),
        "recall_at_1": retrieval["recall_at_1"],
        "map_at_r": retrieval["map_at_r"],
        **clustering_agreement(test_labels, clusters.labels),
        "asymmetry": float(np.abs(pairs - pairs.T).sum() / max((pairs + pairs.T).sum(), 1e-30)),
    }


def majority(votes: np.ndarray) -> np.ndarray:
    """The most frequent label of each row `(n, k)`, whose labels are of the nearest neighbour first: `(n,)`.

    Of equally frequent ones it is the one that comes first.
    """
    frequency = (votes[:, :, None] == votes[:, None]).sum(2)  # of each vote's label in its row
    return votes[np.arange(len(votes)), frequency.argmax(1)]


def regression_scores(distance: Bregman, embeddings, values, between, seed: int) -> dict[str, float]:
    """How near a learned divergence comes to a known one, on random pairs of test vectors.

    Args:
        distance: with the learned divergence.
        embeddings: the network's outputs for n vectors.
        values: `(n, e)`, what the vectors stand for; see `KnownDivergence`.
        between: `between(x, y)` returns the known divergence of pairs of values, `(p,)`.
        seed: of the pairs.

    Returns:
        `r2`, the share of the variance that it explains, and `relative_error`, Σ |difference| / Σ known divergence, as
        fractions. Both are cut to the range from 0 to 1: an r2 below 0 is given as 0, a relative error above 1 as 1.
        And `mean_absolute_error`.
    """
    random = np.random.default_rng(seed)
    first, second = (random.integers(len(values), size=_PAIRS) for _ in range(2))
    x, y = (distance.prepare(embeddings[rows]) for rows in (first, second))
    found = distance.distances(x, y).numpy().astype(np.float64)
    known = between(values[first], values[second]).astype(np.float64)
    error = np.abs(found - known)
    return {
        "r2": float(np.clip(1 - (error**2).mean() / known.var(), 0, 1)),
        "relative_error": float(np.clip(error.sum() / known.sum(), 0, 1)),
        "mean_absolute_error": float(error.mean()),
    }
