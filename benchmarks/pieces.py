"""Where the time of re-ranking and of divergences of all pairs goes: pieces of the work, each called alone.

Re-ranking: `--batch-size` queries and a gallery of 1,000 images, 100 candidates, 7×7 cells of 128 channels, 20 sweeps.
Divergences: 4,096 samples and references of 64 dimensions.

python -m benchmarks.pieces
"""

import functools

import numpy as np
import tensorflow as tf

from benchmarks import bregman, measure, reranking
from neural_similarity.distances import Structural, fine_scores, nearest, rerank
from neural_similarity.ops import structural_scores

CELLS, GALLERY = 7, 1000
QUERIES_AT_ONCE = 10
VECTORS = 4096
WHOLE = "all of it"


def pieces_of_reranking(queries):
    """{piece: a function without arguments}; a piece of a few queries is called so often that all are done."""
    distance = Structural(cells=CELLS, entropy=reranking.ENTROPY, sweeps=reranking.SWEEPS)
    prepared = distance.prepare(reranking.maps("objects", queries + GALLERY, cells=CELLS))
    first, gallery = prepared[:queries], prepared[queries:]
    found = nearest(distance, first, gallery, depth=reranking.CANDIDATES).indices
    few, q = first[:QUERIES_AT_ONCE], QUERIES_AT_ONCE
    candidates = tf.gather(gallery, found[:q])
    vectors = CELLS**2 + 1

    def products():
        flat = tf.reshape(candidates, (q, -1, candidates.shape[-1]))
        return tf.reshape(distance.compare(few, flat), (q, vectors, reranking.CANDIDATES, vectors))

    kept = products()

    def scores(sweeps):
        return structural_scores(kept, entropy=reranking.ENTROPY, sweeps=sweeps)[0]

    def often(work):
        def repeated():
            for _ in range(queries // q):
                tf.reduce_sum(work()[:1]).numpy()

        return repeated

    return {
        WHOLE: lambda: rerank(distance, first, gallery, candidates=reranking.CANDIDATES),
        "the nearest by the cosine": lambda: nearest(distance, first, gallery, depth=reranking.CANDIDATES),
        "their exact scores": lambda: fine_scores(distance, first, gallery, found),
        "of these: reading the candidates": often(lambda: tf.gather(gallery, found[:q])),
        "of these: products of the cells": often(products),
        "of these: one sweep, and what comes before and after": often(functools.partial(scores, 1)),
        "of these: the same with 20 sweeps": often(functools.partial(scores, 20)),
    }


def pieces_of_divergences(vectors=VECTORS):
    """{piece: a function without arguments}: writing so many numbers, a product of all vectors, and the forms."""
    random = np.random.default_rng(0)
    x, y = (tf.constant(random.normal(size=(vectors, bregman.DIMENSIONS)), tf.float32) for _ in range(2))
    fill = tf.function(lambda value: tf.fill((vectors, vectors), value))
    product = tf.function(lambda x, y: tf.matmul(x, y, transpose_b=True))
    return {
        "writing the results": lambda: fill(x[0, 0]).numpy(),
        "the matrix product": lambda: product(x, y).numpy(),
        **{name: bregman.all_pairs(make, x, y) for name, make in bregman.FORMS.items()},
    }


def main(arguments=None):
    """The command line."""
    parser = measure.parser(measure.first_line(__doc__), "pieces", rounds=5)
    parser.set_defaults(batch_size=100)
    options = parser.parse_args(arguments)
    if options.batch_size % QUERIES_AT_ONCE:
        parser.error(f"--batch-size must be a multiple of {QUERIES_AT_ONCE}")
    rows = []
    for work, pieces, base in (
        ("re-ranking", pieces_of_reranking(options.batch_size), WHOLE),
        ("divergences", pieces_of_divergences(), "the matrix product"),
    ):
        times = {piece: measure.summary(each) for piece, each in measure.alternate(pieces, options.rounds).items()}
        for piece, found in times.items():
            share = found["median_s"] / times[base]["median_s"]
            rows.append({"work": work, "piece": piece, **found, "share": share})
    measure.report("pieces", COLUMNS, rows, options)


COLUMNS = {
    "work": lambda row: row["work"],
    "piece": lambda row: row["piece"],
    "ms": measure.milliseconds,
    "share of all of it, or of the product": lambda row: f"{100 * row['share']:.0f} %",
}


if __name__ == "__main__":
    main()
