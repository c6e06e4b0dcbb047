"""Time and memory of ranking by structural similarity: a loop over the queries as in the released code, and ours.

Every query is compared with a whole gallery by the cosine, and then with its 100 nearest images by cos + SS. Images
have 4×4 or 7×7 cells of 128 channels. `--batch-size` is the number of queries.

python -m benchmarks.reranking
"""

import functools

import numpy as np
import tensorflow as tf

from benchmarks import measure
from neural_similarity.distances import Ranking, Structural, fine_scores, rerank

# Features, images of the gallery, cells in height and in width.
CASES = (("alike", 1000, 4), ("alike", 10_000, 4), ("objects", 1000, 4), ("objects", 1000, 7))
FORMS = ("released", "loop", "loop of graphs", "ours")
CELLS, CHANNELS = 4, 128  # where nothing else is said
CLASSES = 50
CANDIDATES = 100
ENTROPY = 0.05
SWEEPS = 20
SWEEPS_OF_THE_RELEASED_CODE, ENOUGH_CHANGE = 100, 0.1  # it stops after so many, or where the mean change is smaller
SWEEPS_TO_THE_END = 200  # errors are counted from there


def maps(kind, count, seed=0, cells=CELLS):
    """Feature maps `(count, cells, cells, 128)` of 50 classes, float32; image number i is of class i modulo 50.

    Args:
        kind: `"alike"`: a cell is a sum of vectors: one for all images, one for the class, one for the place in the
            map, one for the image, and noise. The cells of a query and its candidates have a cosine of 0.27 ± 0.10, and
            the sweeps end soon. `"objects"`: in each image, a rectangle of cells shows the class and parts of it,
            while all others show one of 30 scenes. The cosine is 0.11 ± 0.19. Features of MobileNet behind a linear
            layer that separates the training classes of CUB-200-2011 have 0.08 ± 0.17, and need about as many sweeps.
        count: of images.
        seed: of the vectors.
        cells: in height and in width.
    """
    random = np.random.default_rng(seed)

    def vectors(*shape):
        return random.normal(size=(*shape, CHANNELS))

    grid = (cells, cells)
    of_class = vectors(CLASSES)[np.arange(count) % CLASSES][:, None, None]
    noise = vectors(count, *grid)
    if kind == "alike":
        shared = 0.7 * vectors() + 0.5 * vectors(*grid) + 0.5 * vectors(count, 1, 1)
        return (shared + 0.7 * of_class + noise).astype(np.float32)
    parts = vectors(4)[random.integers(0, 4, (count, *grid))]
    scenes = vectors(30)[random.integers(0, 30, count)][:, None, None]
    inside = []
    for _ in grid:  # rows, then columns
        first, size = random.integers(0, cells - 1, (count, 1)), random.integers(cells // 2, cells, (count, 1))
        inside.append((np.arange(cells) >= first) & (np.arange(cells) < first + size))
    object_is_there = (inside[0][:, :, None] & inside[1][:, None])[..., None]
    return (np.where(object_is_there, of_class + 0.5 * parts, scenes) + noise).astype(np.float32)


def loop(queries, whole, cells, sweeps, enough_change=None, in_graph=False):
    """Ranks for one query after the other, as the released code of DIML (Zhao et al., ICCV 2021) does.

    Args:
        queries: descriptors `(q, 1 + r, c)`.
        whole, cells: the descriptors of the gallery, `(n, c)` and `(n, r, c)`.
        sweeps: of Sinkhorn's algorithm, at most.
        enough_change: the sweeps end where the mean change of their factors for the rows is smaller; None for never.
        in_graph: whether what is done for a query is one `tf.function`.

    Returns:
        (a `Ranking` of the candidates, the mean number of sweeps).
    """
    rank = _rank_one_in_a_graph if in_graph else _rank_one
    indices, scores, counts = [], [], []
    for query in tf.unstack(queries):
        order, fine, count = rank(query, whole, cells, sweeps, enough_change)
        indices.append(order.numpy()[:CANDIDATES])
        scores.append(fine.numpy())
        counts.append(int(count))
    return Ranking(np.stack(indices), np.stack(scores)), float(np.mean(counts))


def _rank_one(query, whole, cells, sweeps, enough_change):
    """(places in the gallery `(n,)`, scores of the first of them `(k,)`, how many sweeps it took)."""
    cosines = tf.linalg.matvec(whole, query[0])
    order = tf.argsort(cosines, direction="DESCENDING", stable=True)  # of the whole gallery
    first = order[:CANDIDATES]
    candidates = tf.gather(cells, first)
    similarities = tf.einsum("rc,ksc->krs", query[1:], candidates)
    u = _shares(tf.matmul(tf.gather(whole, first), query[1:], transpose_b=True))
    v = _shares(tf.linalg.matvec(candidates, query[0]))
    plan, count = _plan(similarities, u, v, sweeps, enough_change)
    fine = tf.gather(cosines, first) + tf.reduce_sum(plan * similarities, (1, 2))
    finer = tf.argsort(fine, direction="DESCENDING", stable=True)
    return tf.concat([tf.gather(first, finer), order[CANDIDATES:]], 0), tf.gather(fine, finer), count


_rank_one_in_a_graph = tf.function(_rank_one, autograph=False)


def _shares(correlations):
    positive = tf.nn.relu(correlations)
    return positive / (tf.reduce_sum(positive, -1, keepdims=True) + 1e-5)


def _plan(similarities, u, v, sweeps, enough_change):
    """(T `(k, r, s)`, how many sweeps it took). Whether to go on is asked of the device after each sweep."""
    kernel = tf.exp((similarities - 1) / ENTROPY)
    u, v = u[..., None], v[..., None]
    a, b, count = tf.ones_like(u), tf.ones_like(v), 0
    for _ in range(sweeps):
        before = a
        a = u / tf.matmul(kernel, b)
        b = v / tf.matmul(kernel, a, transpose_a=True)
        count += 1
        if enough_change is not None and float(tf.reduce_mean(tf.abs(a - before))) < enough_change:
            break
    return a * kernel * tf.linalg.matrix_transpose(b), count


def work_of(form, features, gallery, cells, queries):
    """A function without arguments that ranks once; returns the ranking of the candidates, and the number of sweeps.

    Args:
        form: `"released"`: the loop with the stopping rule of the released code. `"loop"`: the same loop with as many
            sweeps as ours. `"loop of graphs"`: that loop, with a graph for each query. `"ours"`: `distances.rerank`.
        features: their kind; see `maps`.
        gallery, queries: numbers of images.
        cells: of the images, in height and in width.
    """
    distance = Structural(cells=cells, entropy=ENTROPY, sweeps=SWEEPS)
    prepared = distance.prepare(maps(features, queries + gallery, cells=cells))
    queries, gallery = prepared[:queries], prepared[queries:]
    if form == "ours":
        return lambda: (rerank(distance, queries, gallery, candidates=CANDIDATES), SWEEPS)
    stopping = (SWEEPS_OF_THE_RELEASED_CODE, ENOUGH_CHANGE) if form == "released" else (SWEEPS, None)
    return functools.partial(loop, queries, gallery[:, 0], gallery[:, 1:], *stopping, form == "loop of graphs")


def errors(ranking, features, gallery, cells, queries):
    """|ΔSS| of each query and candidate, `(q, k)`: how far the scores are from those after 200 sweeps."""
    distance = Structural(cells=cells, entropy=ENTROPY, sweeps=SWEEPS_TO_THE_END)
    prepared = distance.prepare(maps(features, queries + gallery, cells=cells))
    return np.abs(ranking.scores - fine_scores(distance, prepared[:queries], prepared[queries:], ranking.indices))


def prepared(form, features, gallery, cells, queries):
    """`work_of`, for `added_memory_bytes`: what TensorFlow and XLA take when they start is taken before it returns."""
    work_of(form, "alike", CANDIDATES, cells, 2)()
    work = work_of(form, features, gallery, cells, queries)
    # Making the images has needed more memory than the work may need, and only a new peak can be measured. These bytes
    # take its place, so that whatever the work adds is a new peak.
    ballast = np.ones(1 << 29, np.uint8)
    return lambda: (work(), ballast)


def main(arguments=None):
    """The command line."""
    parser = measure.parser(measure.first_line(__doc__), "reranking", rounds=3, memory=True)
    parser.set_defaults(batch_size=1000)
    options = parser.parse_args(arguments)
    rows = []
    for case in CASES:
        case = (*case, options.batch_size)
        forms = {form: work_of(form, *case) for form in FORMS}
        found = {form: work() for form, work in forms.items()}
        times = {form: measure.summary(each) for form, each in measure.alternate(forms, options.rounds, 0).items()}
        for form, (ranking, sweeps) in found.items():
            error, memory = errors(ranking, *case), (prepared, form, *case)
            rows.append(
                {
                    **{"features": case[0], "gallery": case[1], "cells": case[2], "form": form, **times[form]},
                    "seconds_per_query": times[form]["median_s"] / options.batch_size,
                    "times_faster_than_loop": times["loop"]["median_s"] / times[form]["median_s"],
                    **{"sweeps": sweeps, "largest_error": float(error.max()), "median_error": float(np.median(error))},
                    "added_memory_bytes": None if options.no_memory else measure.added_memory_bytes(*memory),
                }
            )
    measure.report("reranking", COLUMNS, rows, options)


def _case(row):
    cells = row.get("cells", CELLS)  # lines that were recorded before 7×7 cells do not say
    return f"{row['features']}, {row['gallery']:,}" + (f", {cells}×{cells} cells" if cells != CELLS else "")


COLUMNS = {
    "features, gallery": _case,
    "form": lambda row: row["form"],
    "ms a query": lambda row: f"{1e3 * row['seconds_per_query']:.2f}",
    "times faster than the loop": measure.ratio("times_faster_than_loop"),
    "sweeps": lambda row: f"{row['sweeps']:.3g}",
    "ΔSS, largest": lambda row: f"{row['largest_error']:.0e}",
    "ΔSS, median": lambda row: f"{row['median_error']:.0e}",
    "MB": lambda row: "" if row["added_memory_bytes"] is None else f"{row['added_memory_bytes'] / 1e6:,.0f}",
}


if __name__ == "__main__":
    main()
