"""Ranks a gallery for each query: by a coarse score of all pairs, then exactly for the first candidates.

q queries · n images of the gallery · d, the depth, how many neighbours of each query are kept · k candidates

Memory is bounded by a few blocks of queries. Neither all q·n scores are held at once, nor is the whole gallery sorted.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from neural_similarity.distances.distance import Distance
from neural_similarity.errors import UserError

_COARSE_NUMBERS = 1 << 24  # scores of a block, 64 MB
_FINE_NUMBERS = 1 << 23  # numbers of a block's candidates, 32 MB
_MOST_THREADS = 8  # each computes the exact scores of one block at a time


class Ranking(NamedTuple):
    """The neighbours of each query, nearest first.

    Attributes:
        indices: `(q, d)` int32, places in the gallery. No place occurs twice in a row.
        scores: `(q, d)` float32. The first scores of a row, of the candidates, are exact, and the others coarse. Do not
            compare the two: cos + SS is up to 2, the cosine up to 1.
    """

    indices: np.ndarray
    scores: np.ndarray


def nearest(distance: Distance, queries, gallery=None, *, depth: int) -> Ranking:
    """The nearest images by the coarse score. Of equal scores, the one with the lower index comes first.

    Args:
        distance: a `Distance`.
        queries: what `distance.prepare` returned for q images.
        gallery: likewise for n images. None: the queries themselves are the gallery, and no image is its own neighbour.
        depth: d, or fewer where the gallery has fewer images.

    Returns:
        A `Ranking`.

    Raises:
        UserError: there is no image to find, or a number among the prepared ones is not finite.
    """
    if depth < 1:
        raise ValueError(f"`depth` must be 1 or more. Received: {depth}")
    within = gallery is None
    queries = _checked(queries, "queries")
    gallery = queries if within else _checked(gallery, "gallery")
    n = _size(gallery)
    depth = min(depth, n - within)
    if depth < 1:
        raise UserError(
            f"a ranking of {n} images has no neighbour to show; expected at least {1 + within}. Next: more images"
        )
    indices, scores = [], []
    q = _size(queries)
    for rows in _blocks(q, max(1, _COARSE_NUMBERS // n)):
        found = _top(distance.coarse(_images(queries, rows), gallery), tf.constant(rows) if within else None, depth)
        indices.append(found[0])
        scores.append(found[1])
    return Ranking(np.concatenate(indices)[:q], np.concatenate(scores)[:q])


def fine_scores(distance: Distance, queries, gallery, indices: np.ndarray) -> np.ndarray:
    """The exact scores of queries and some images of a gallery.

    Args:
        distance: a `Distance`.
        queries, gallery: what `distance.prepare` returned for q and for n images.
        indices: `(q, k)` integers, places in the gallery.

    Returns:
        `(q, k)` float32.
    """
    k = indices.shape[1]
    if not k:
        return np.zeros(indices.shape, np.float32)
    numbers = sum(int(np.prod(x.shape[1:])) for x in tf.nest.flatten(gallery))  # of one image
    queries, gallery = (tf.nest.map_structure(tf.convert_to_tensor, x) for x in (queries, gallery))

    def of_block(rows):
        return distance.fine(_images(queries, rows), _images(gallery, indices[rows])).numpy()

    first, *others = _blocks(len(indices), max(1, _FINE_NUMBERS // (k * numbers)))
    scores = [of_block(first)]  # alone, so that what the first call compiles is compiled once
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as threads:
        scores += threads.map(of_block, others)
    return np.concatenate(scores)[: len(indices)]


def reordered(ranking: Ranking, fine: np.ndarray, candidates: int) -> Ranking:
    """The ranking with its first `candidates` in the order of their exact scores, and all others behind as they were.

    Args:
        ranking: by the coarse score.
        fine: `(q, k)`, the exact scores of the first k neighbours.
        candidates: how many of them are put in order, from 0 to k.
    """
    fine = fine[:, :candidates]
    order = np.argsort(-fine, axis=1, kind="stable")
    parts = [
        np.concatenate([np.take_along_axis(first, order, 1), behind], 1)
        for first, behind in (
            (ranking.indices[:, :candidates], ranking.indices[:, candidates:]),
            (fine, ranking.scores[:, candidates:]),
        )
    ]
    return Ranking(*parts)


def rerank(distance: Distance, queries, gallery=None, *, candidates: int = 100, depth: int | None = None) -> Ranking:
    """Ranks by the coarse score, then the first `candidates` of each query by the exact one.

    Args:
        distance: a `Distance`, such as `Structural()`.
        queries: what `distance.prepare` returned for q images.
        gallery: likewise for n images. None: the queries themselves are the gallery, and no image is its own neighbour.
        candidates: how many are ranked exactly. 0 ranks by the coarse score alone; from n on, all are ranked exactly.
        depth: how many neighbours of each query are returned; None for as many as there are candidates.

    Returns:
        A `Ranking`.

    Raises:
        UserError: as `nearest`; also if neither a candidate nor a depth is asked for.
    """
    depth = candidates if depth is None else depth
    coarse = nearest(distance, queries, gallery, depth=max(depth, candidates))
    candidates = min(candidates, coarse.indices.shape[1])
    if candidates:
        fine = fine_scores(distance, queries, queries if gallery is None else gallery, coarse.indices[:, :candidates])
        coarse = reordered(coarse, fine, candidates)
    return Ranking(coarse.indices[:, :depth], coarse.scores[:, :depth])


def _top(scores, own, depth):
    """The highest scores of each row, with their places. `own` are the places of the queries, which do not count."""
    if own is not None:
        themselves = tf.stack([tf.range(tf.shape(scores)[0]), own], 1)
        lowest = tf.fill(tf.shape(own), tf.cast(-float("inf"), scores.dtype))
        scores = tf.tensor_scatter_nd_update(scores, themselves, lowest)
    values, indices = tf.math.top_k(scores, depth)
    return indices.numpy(), values.numpy()


def _blocks(total, size):
    """The rows of each block, all of one size, so that they compile once. The last row fills up the last block."""
    size = min(size, total)
    return [np.minimum(np.arange(start, start + size, dtype=np.int32), total - 1) for start in range(0, total, size)]


def _images(prepared, places):
    """The prepared images at these places."""
    return tf.nest.map_structure(lambda x: tf.gather(x, places), prepared)


def _size(prepared):
    return int(tf.nest.flatten(prepared)[0].shape[0])


def _checked(prepared, what):
    """The prepared images as tensors. NaN is refused: no order is right with it, and a sort may put a query first."""
    prepared = tf.nest.map_structure(tf.convert_to_tensor, prepared)
    for tensor in tf.nest.flatten(prepared):
        finite = tf.reduce_all(tf.math.is_finite(tensor), axis=list(range(1, tensor.shape.rank))).numpy()
        if not finite.all():
            first = int(np.argmin(finite))
            raise UserError(
                f"{what}: {np.count_nonzero(~finite):,} of {len(finite):,} images have embeddings that are not finite, "
                f"the first at index {first}; expected numbers. Next: a model whose training did not diverge"
            )
    return prepared
