"""What ranking by structural similarity adds to features that nobody trained for it, on CUB-200-2011.

python -m benchmarks.plug_in [--candidates 10 20 50 100 200 500 1000]
"""

import time

import numpy as np
import tensorflow as tf

from benchmarks import measure
from neural_similarity.data.places import default_root, typed_path
from neural_similarity.data.retrieval_sets import load_retrieval_set
from neural_similarity.distances import Structural, fine_scores, nearest, reordered
from neural_similarity.families.fixed_features import fixed_features
from neural_similarity.metrics import largest_r, retrieval_scores
from neural_similarity.models import application_backbone

SIZE, CELLS, ALPHA = 224, 4, 0.75
CANDIDATES = 100
PCA_CHANNELS = 128


def main_component_projection(vectors, channels):
    """(mean `(i,)`, matrix `(i, channels)`) of a principal component analysis of vectors `(n, i)`."""
    mean = vectors.mean(0)
    return mean, np.linalg.svd(vectors - mean, full_matrices=False)[2][:channels].T


def rows_of(features, labels, what):
    """A row for each way of ranking.

    Args:
        features: `(n, 1 + r, c)` pooled maps.
        labels: `(n,)` integers.
        what: what the features are, in words.
    """
    rows = []
    for marginals in ("correlation", "uniform"):
        distance = Structural(cells=CELLS, marginals=marginals)
        prepared = distance.prepare(features)
        ranking = nearest(distance, prepared, depth=max(CANDIDATES, largest_r(labels)))
        fine = fine_scores(distance, prepared, prepared, ranking.indices[:, :CANDIDATES])
        forms = {
            "cosine": ranking,
            "cosine + SS": reordered(ranking, fine, CANDIDATES),
            "SS alone": reordered(ranking, fine - ranking.scores[:, :CANDIDATES], CANDIDATES),
        }
        if marginals == "uniform":
            forms = {"cosine + SS, uniform marginals": forms["cosine + SS"]}
        for name, form in forms.items():
            rows.append({"features": what, "ranking": name, **retrieval_scores(form.indices, labels)})
    return rows


def rows_by_candidates(features, labels, candidates):
    """A row for each number of candidates: what it buys, and what it takes per query."""
    distance = Structural(cells=CELLS)
    prepared = distance.prepare(features)
    most = max(candidates)
    ranking = nearest(distance, prepared, depth=max(most, largest_r(labels)))
    fine = fine_scores(distance, prepared, prepared, ranking.indices[:, :most])
    rows = []
    for count in (0, *candidates):
        scores = retrieval_scores(reordered(ranking, fine, count).indices, labels)
        seconds = []
        for _ in range(3 if count else 0):
            begun = time.perf_counter()
            fine_scores(distance, prepared, prepared, ranking.indices[:, :count])
            seconds.append(time.perf_counter() - begun)
        rows.append(
            {
                **{"features": "PCA", "ranking": f"K = {count}", **scores},
                "seconds_per_query": min(seconds) / len(labels) if seconds else 0.0,
            }
        )
    return rows


def main(arguments=None):
    """The command line."""
    parser = measure.parser(measure.first_line(__doc__), "plug_in")
    parser.add_argument("--root", type=typed_path, metavar="DIR", help="the folder of sets")
    parser.add_argument("--weights", default="imagenet", help="of MobileNet: imagenet, or the path of a file")
    parser.add_argument("--candidates", type=int, nargs="+", metavar="K", help="compare these numbers instead")
    options = parser.parse_args(arguments)
    splits = load_retrieval_set("cub200", options.root or default_root(), SIZE)
    options.root, options.of = None, splits.origin  # what was measured, and not where it lies
    backbone = application_backbone("MobileNet", SIZE, options.weights, "float32", alpha=ALPHA)
    options.weights = "ImageNet"
    train, test = (
        np.asarray(fixed_features(backbone, part, CELLS, title))
        for part, title in ((splits.train, "training"), (splits.test, "test"))
    )
    mean, matrix = main_component_projection(train[:, 0], PCA_CHANNELS)
    projected = tf.constant((test - mean) @ matrix)
    if options.candidates:
        rows = rows_by_candidates(projected, splits.test.labels, options.candidates)
    else:
        rows = rows_of(tf.constant(test), splits.test.labels, f"raw, {test.shape[-1]}")
        rows += rows_of(projected, splits.test.labels, f"PCA, {PCA_CHANNELS}")
    measure.report("plug_in", COLUMNS, rows, options)


def _percent(name):
    return lambda row: f"{100 * row[name]:.2f}"


COLUMNS = {
    "features": lambda row: row["features"],
    "ranking": lambda row: row["ranking"],
    "Recall@1, %": _percent("recall_at_1"),
    "Recall@2, %": _percent("recall_at_2"),
    "Recall@4, %": _percent("recall_at_4"),
    "R-Precision, %": _percent("r_precision"),
    "MAP@R, %": _percent("map_at_r"),
    "ms a query": lambda row: f"{1e3 * row['seconds_per_query']:.2f}" if "seconds_per_query" in row else "",
}


if __name__ == "__main__":
    main()
