"""How networks of metric learning are measured: every image of a split searches the others.

n images of the split · c channels
"""

import numpy as np
import tensorflow as tf

from neural_similarity.config.metric_learning import MetricLearning
from neural_similarity.distances import Distance, Structural, fine_scores, nearest, reordered
from neural_similarity.metrics import clustering_scores, largest_r, retrieval_scores

_RESIDUAL_PAIRS = 1_000  # of which the mean residual is told


def evaluation(config: MetricLearning, distance: Distance, outputs, splits):
    """`evaluate() → {split: measures}` over the validation classes, if any, and the test classes.

    The measures are those of `metrics.retrieval_scores`, and of `metrics.clustering_scores` if the config asks for
    them. If the ranking is structural, the measures of the first ranking stand beside them. Their names begin with
    `cosine_`, or with `divergence_` if a divergence compares the whole images. `marginal_residual` is the mean of
    that of `ops.transport_plan` over queries and their nearest images.

    Args:
        config: the config.
        distance: its `ranking_distance`.
        outputs: `outputs(split, part)` yields the network's output for the images of a `RetrievalPart` in their order,
            in blocks of which the last may have too many.
        splits: the `RetrievalSplits`.
    """

    def evaluate():
        results = {}
        for split, part in splits.parts().items():
            if split == "train":
                continue
            blocks = [tf.nest.map_structure(np.asarray, distance.prepare(block)) for block in outputs(split, part)]
            count = len(part)
            prepared = tf.nest.map_structure(lambda *parts, count=count: np.concatenate(parts)[:count], *blocks)
            results[split] = measures(config, distance, prepared, part.labels)
        return results

    return evaluate


def measures(config: MetricLearning, distance, prepared, labels) -> dict[str, float]:
    """The measures of one split, by name.

    Args:
        config: the config.
        distance: its `ranking_distance`.
        prepared: what `distance.prepare` returned for n images.
        labels: `(n,)` integers.

    Raises:
        UserError: an embedding is not finite, or no class has two images.
    """
    section = config.evaluation
    structural = isinstance(distance, Structural)
    candidates = config.ranking.candidates if structural else 0
    depth = max(largest_r(labels) + (not section.r_excludes_query), *section.recall_at, candidates)

    def scores(ranking):
        return retrieval_scores(
            ranking.indices, labels, recall_at=section.recall_at, r_excludes_query=section.r_excludes_query
        )

    ranking = nearest(distance, prepared, depth=depth)
    found = scores(ranking)
    if structural:
        of_coarse = {f"{distance.coarse_name}_{name}": value for name, value in found.items()}
        candidates = min(candidates, ranking.indices.shape[1])
        fine = fine_scores(distance, prepared, prepared, ranking.indices[:, :candidates])
        ranking = reordered(ranking, fine, candidates)
        found = {**scores(ranking), **of_coarse, "marginal_residual": _residual(distance, prepared, ranking)}
    if section.clustering:
        found |= clustering_scores(np.asarray(distance.whole(prepared)), labels)
    return found


def _residual(distance, prepared, ranking):
    """The mean marginal residual of some queries and their nearest images."""
    first = ranking.indices[:_RESIDUAL_PAIRS, 0]
    pairs = (tf.nest.map_structure(lambda x, rows=rows: x[rows], prepared) for rows in (slice(len(first)), first))
    return float(tf.reduce_mean(distance.match(*pairs).residual))
