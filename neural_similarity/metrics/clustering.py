"""How well clusters of embeddings agree with the classes: NMI and F1.  n images · c channels"""

import numpy as np


def clustering_agreement(labels: np.ndarray, clusters: np.ndarray) -> dict[str, float]:
    """How well clusters agree with classes, in fractions.

    Args:
        labels: `(n,)` integers, the classes.
        clusters: `(n,)` integers.

    Returns:
        `rand_index`, the share of pairs of samples that are together in both or in none; `adjusted_rand_index`, where
        clusters by chance have 0 (below it, 0 is told); and `nmi`, as in `clustering_scores`.
    """
    from sklearn import metrics  # here: importing it takes a second

    return {
        "rand_index": float(metrics.rand_score(labels, clusters)),
        "adjusted_rand_index": max(0.0, float(metrics.adjusted_rand_score(labels, clusters))),
        "nmi": _nmi(labels, clusters),
    }


def _nmi(labels, clusters):
    from sklearn.metrics import normalized_mutual_info_score

    return min(float(normalized_mutual_info_score(labels, clusters)), 1.0)  # rounding can make it a little more


def clustering_scores(vectors: np.ndarray, labels: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Clusters the images by k-means, with as many clusters as classes, and compares the clusters with the classes.

    Args:
        vectors: `(n, c)`.
        labels: `(n,)` integers.
        seed: of k-means.

    Returns:
        `{"nmi": …, "f1": …}`, fractions. NMI is the mutual information of clusters and classes, divided by the mean of
        their entropies. F1 is the harmonic mean of precision and recall over all pairs of images: a pair is predicted
        if it is in one cluster, and right if it is of one class.
    """
    from sklearn.cluster import KMeans  # here: importing it takes a second
    from sklearn.metrics.cluster import pair_confusion_matrix

    classes = np.unique(labels)
    clusters = KMeans(len(classes), n_init=1, max_iter=20, random_state=seed).fit_predict(vectors)
    (_, false), (missed, true) = pair_confusion_matrix(labels, clusters)
    f1 = 2 * true / (2 * true + false + missed) if true else 0.0
    return {"nmi": _nmi(labels, clusters), "f1": float(f1)}
