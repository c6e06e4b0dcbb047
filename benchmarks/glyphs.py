"""A retrieval task for which pooling loses what matching keeps. It is drawn by a rule, and needs no download.

A *glyph* is three straight strokes on 8×8 pixels, drawn between random points. An alphabet has 20 of them. A class is a
set of three glyphs, of which other classes have one or two as well. An image has 4×4 cells. Its class' glyphs stand in
three random ones. Four others hold *clutter*: strokes drawn in the same way, which no other image has. The remaining
nine are empty. Every pixel has noise. The feature map is the image itself: the 64 pixels of a cell are its vector.

Nothing tells a glyph from clutter except that it occurs again. Of the 256 pairs of cells of two images of a class,
three are of equal glyphs. The cosine of the images' means adds up all 256, and what the other 253 add is chance: it
differs between right candidates as much as between right and wrong ones. Optimal transport links each cell to those
that are like it, so that the three pairs count most.

python -m benchmarks.glyphs
"""

import argparse
import itertools
import statistics

import numpy as np

from benchmarks import measure
from neural_similarity.data.places import typed_path
from neural_similarity.distances import Structural, fine_scores, nearest, reordered
from neural_similarity.metrics import largest_r, retrieval_scores

CELLS, PIXELS = 4, 8  # in height and in width: cells of an image, pixels of a cell
ALPHABET, GLYPHS_PER_CLASS, CLUTTER = 20, 3, 4
STROKES = 3
NOISE = 0.2  # its standard deviation; ink is 1 and paper is 0
CANDIDATES = 100
SCORES = ("recall_at_1", "map_at_r")


def drawn(random, count):
    """Bitmaps of straight strokes between random points, `(count, 64)` of 0 and 1."""
    ends = random.uniform(0, PIXELS - 1, (count, STROKES, 2, 1, 2))
    along = np.linspace(0, 1, 2 * PIXELS)[:, None]
    points = np.rint(ends[:, :, 0] * (1 - along) + ends[:, :, 1] * along).astype(int)
    bitmaps = np.zeros((count, PIXELS, PIXELS), np.float32)
    bitmaps[np.arange(count)[:, None, None], points[..., 0], points[..., 1]] = 1
    return bitmaps.reshape(count, -1)


def task(seed, classes=60, images_per_class=10):
    """The images of a task, as feature maps `(n, 4, 4, 64)`, and their classes `(n,)`.

    Args:
        seed: of everything random: the alphabet, the classes, the places, the clutter and the noise.
        classes, images_per_class: how many.
    """
    random = np.random.default_rng(seed)
    alphabet = drawn(random, ALPHABET)
    sets = random.permutation(list(itertools.combinations(range(ALPHABET), GLYPHS_PER_CLASS)))[:classes]
    labels = np.repeat(np.arange(classes), images_per_class)
    n, r = len(labels), CELLS * CELLS
    cells = np.zeros((n, r, PIXELS * PIXELS), np.float32)
    cells[:, :GLYPHS_PER_CLASS] = alphabet[sets[labels]]
    cells[:, GLYPHS_PER_CLASS : GLYPHS_PER_CLASS + CLUTTER] = drawn(random, n * CLUTTER).reshape(n, CLUTTER, -1)
    places = random.permuted(np.tile(np.arange(r), (n, 1)), axis=1)
    cells = np.take_along_axis(cells, places[:, :, None], 1) + NOISE * random.normal(size=cells.shape)
    return cells.astype(np.float32).reshape(n, CELLS, CELLS, -1), labels


def scores_of(maps, labels):
    """Recall@1 and MAP@R of each way to rank: `{name: {"recall_at_1": …, "map_at_r": …}}`, fractions.

    Args:
        maps: `(n, h, w, c)`; each image is searched for among all others.
        labels: `(n,)` integers.
    """
    rankings = {}
    for marginals in ("correlation", "uniform"):
        distance = Structural(cells=CELLS, marginals=marginals)
        prepared = distance.prepare(maps)
        ranking = nearest(distance, prepared, depth=max(CANDIDATES, largest_r(labels)))
        cosines = ranking.scores[:, :CANDIDATES]
        fine = fine_scores(distance, prepared, prepared, ranking.indices[:, :CANDIDATES])
        rankings["cosine"] = ranking
        rankings[f"cosine + SS, {marginals} marginals"] = reordered(ranking, fine, CANDIDATES)
        rankings[f"SS alone, {marginals} marginals"] = reordered(ranking, fine - cosines, CANDIDATES)
    return {name: retrieval_scores(ranking.indices, labels) for name, ranking in rankings.items()}


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.glyphs", description=measure.first_line(__doc__), allow_abbrev=False
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="of the tasks (default: 0 to 4)")
    parser.add_argument("--json", type=typed_path, metavar="FILE.jsonl", help="append the measurement to this file")
    options = parser.parse_args(arguments)
    found = [scores_of(*task(seed)) for seed in options.seeds]
    rows = [{"ranking": name} | {key: [one[name][key] for one in found] for key in SCORES} for name in found[0]]
    measure.report("glyphs", COLUMNS, rows, options)


def _percent(key):
    def text(row):
        values = [100 * value for value in row[key]]
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.1f}{spread}"

    return text


COLUMNS = {
    "ranking": lambda row: row["ranking"],
    "Recall@1, %": _percent("recall_at_1"),
    "MAP@R, %": _percent("map_at_r"),
    "tasks": lambda row: str(len(row["recall_at_1"])),
}


if __name__ == "__main__":
    main()
