"""How much better one row of a table is than another: the paired difference over their common seeds."""

import math
import statistics
from collections.abc import Sequence

from scipy import stats

from neural_similarity.reporting.summary import Difference
from neural_similarity.training.results import Result


def seed_difference(row: Sequence[Result], baseline: Sequence[Result]) -> Difference | None:
    """The `Difference` of the headline scores of two rows, row − baseline, in points.

    Runs with the same seed see the same images in the same order. So they are compared in pairs, and the spread that
    both share cancels out. Over n seeds the differences have a mean d and a sample standard deviation s. The 95 %
    interval of the mean is d ± t · s / √n, where t is the 97.5 % quantile of Student's t with n − 1 degrees of freedom:
    12.71 for two seeds, 4.30 for three.

    Args:
        row, baseline: the `Result`s of the two rows, one per seed.

    Returns:
        None if they have no seed in common.
    """
    scores = [{result.seed: 100 * result.scores[result.headline].value for result in one} for one in (row, baseline)]
    differences = [scores[0][seed] - scores[1][seed] for seed in sorted(scores[0].keys() & scores[1].keys())]
    n = len(differences)
    if not n:
        return None
    interval = None
    if n > 1:
        interval = float(stats.t.ppf(0.975, n - 1)) * statistics.stdev(differences) / math.sqrt(n)
    return Difference(statistics.fmean(differences), interval, n)
