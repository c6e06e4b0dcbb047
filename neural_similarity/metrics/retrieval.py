"""How good a ranking is: Recall@K, R-Precision and MAP@R.  q queries · d neighbours of each, nearest first

Musgrave et al. (ECCV 2020) define R-Precision and MAP@R. R is the number of images in the gallery of the query's class.
"""

from collections.abc import Sequence

import numpy as np

from neural_similarity.errors import UserError


def largest_r(labels: np.ndarray) -> int:
    """The largest R of images `labels` `(n,)` that are each other's gallery: how deep a ranking has to be."""
    return int(np.unique(labels, return_counts=True)[1].max()) - 1


def retrieval_scores(
    neighbours: np.ndarray,
    labels: np.ndarray,
    query_labels: np.ndarray | None = None,
    *,
    recall_at: Sequence[int] = (1, 2, 4, 8),
    r_excludes_query: bool = True,
) -> dict[str, float]:
    """Measures a ranking.

    A query whose class has no other image in the gallery cannot find any, and is left out of all means.

    Args:
        neighbours: `(q, d)` integers, places in the gallery, none of them the query's own. d is at least the largest
            R and the largest number in `recall_at`, or as large as the gallery allows.
        labels: `(n,)` integers, the classes of the gallery's images.
        query_labels: `(q,)` integers; None if the gallery's images are the queries.
        recall_at: the numbers K of Recall@K.
        r_excludes_query: R counts the images that can be found. False counts the query itself as one of them, as
            DIML's released evaluation does, though a query never finds itself. R-Precision and MAP@R can then reach
            only (R − 1)/R: 0.98 with 60 images in a class, 0.5 with two. It needs `query_labels=None`.

    Returns:
        `{"recall_at_1": …, "r_precision": …, "map_at_r": …}`, fractions. Recall@K is the share of queries that have an
        image of their class among the first K; R-Precision the share of such images among the first R; MAP@R the mean
        over the first R places of the precision up to there, where a place counts if it has such an image.

    Raises:
        UserError: no query can find an image, or the neighbours are too few.
    """
    neighbours, labels = np.asarray(neighbours), np.asarray(labels)
    within = query_labels is None
    query_labels = labels if within else np.asarray(query_labels)
    if not (within or r_excludes_query):
        raise ValueError("`r_excludes_query=False` needs queries that are the gallery")
    classes, counts = np.unique(labels, return_counts=True)
    places = np.minimum(np.searchsorted(classes, query_labels), len(classes) - 1)
    found = np.where(classes[places] == query_labels, counts[places], 0) - within  # how many each query can find
    asked = found > 0
    if not asked.any():
        raise UserError(
            "no class has two images, so that no query can find one; expected two images or more of a class. Next: "
            "other images"
        )
    neighbours, query_labels = neighbours[asked], query_labels[asked]
    r = found[asked] + (not r_excludes_query)  # DEVIATION M3
    depth = neighbours.shape[1]
    needed = min(max(int(r.max()), *recall_at), len(labels) - within)
    if depth < needed:
        raise UserError(f"the ranking has {depth} neighbours of each query; expected {needed}. Next: a larger depth")
    hits = labels[neighbours] == query_labels[:, None]
    scores = {f"recall_at_{k}": float(hits[:, :k].any(1).mean()) for k in recall_at}
    places = np.arange(min(int(r.max()), depth))
    hits = hits[:, : len(places)] & (places < r[:, None])  # within the first R
    precision = np.cumsum(hits, 1, dtype=np.int32) / (places + 1)
    scores["r_precision"] = float((hits.sum(1) / r).mean())
    scores["map_at_r"] = float(((precision * hits).sum(1) / r).mean())
    return scores
