"""How well clusters of embeddings agree with the classes: NMI and F1.  n images · c channels"""

import numpy as np


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
    from sklearn.metrics import normalized_mutual_info_score
    from sklearn.metrics.cluster import pair_confusion_matrix

    classes = np.unique(labels)
    clusters = KMeans(len(classes), n_init=1, max_iter=20, random_state=seed).fit_predict(vectors)
    (_, false), (missed, true) = pair_confusion_matrix(labels, clusters)
    f1 = 2 * true / (2 * true + false + missed) if true else 0.0
    nmi = min(float(normalized_mutual_info_score(labels, clusters)), 1.0)  # rounding can make it a little more
    return {"nmi": nmi, "f1": float(f1)}
