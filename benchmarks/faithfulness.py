"""Whether the matches between cells are faithful: four tests on pairs of test images of one class.

- deletion: how much the score falls when cells are masked: the strongest ones, those in the middle of the image, and
  random ones. Once the descriptors of cells of both images are taken away, and once cells of the first image get its
  mean colour and the network looks at it again.
- self-match: how much of the weight stays in its cell when an image is matched with itself.
- flip: how much of the weight lies in cells that find their own mirror image in the mirrored image.
- bird parts: how much of the weight of cells with a part goes to the same part; for copies of CUB-200-2011 that say
  where the parts are.

python -m benchmarks.faithfulness RUN [--pairs 200]
"""

import numpy as np

from benchmarks import measure
from neural_similarity.data.bird_parts import parts_of_images, read_bird_parts
from neural_similarity.data.places import typed_path
from neural_similarity.data.streamed import ImageFiles
from neural_similarity.families import metric_learning
from neural_similarity.interpret.faithfulness import (
    deletion_test,
    flip_consistency,
    image_deletion_test,
    keypoint_hit_rate,
    self_match,
)
from neural_similarity.interpret.trained_metrics import load_metric

MASKED = (2, 4, 8)  # cells of each image
MASKINGS = ("strongest", "central", "random")


def chosen_pairs(labels, count, seed):
    """`(count, 2)` places of two different images of one class, drawn at random; classes are drawn equally often.

    Args:
        labels: `(n,)` integers.
        count: how many pairs.
        seed: of the draws.
    """
    random = np.random.default_rng(seed)
    rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    rows = [of_class for of_class in rows if len(of_class) > 1]
    order = np.concatenate([random.permutation(len(rows)) for _ in range(-(-count // len(rows)))])[:count]
    return np.stack([random.choice(rows[i], 2, replace=False) for i in order])


def rows_of(metric, part, pairs, batch_size, seed, parts):
    """What the tests found: a list of rows, as `main` records them.

    Args:
        metric: an `interpret.trained_metrics.TrainedMetric`.
        part: a `RetrievalPart`.
        pairs: `(p, 2)` places in it.
        batch_size: pairs that are computed at once.
        seed: of the random cells.
        parts: what `read_bird_parts` returned, or None.
    """
    found = {}
    for number, start in enumerate(range(0, len(pairs), batch_size)):
        block = pairs[start : start + batch_size]
        for name, values in _of_block(metric, part, block, [seed, number], parts).items():
            found.setdefault(name, []).append(values)
    found = {name: np.concatenate(values) for name, values in found.items()}
    return [_row(name, values) for name, values in found.items()]


def _of_block(metric, part, block, seed, parts):
    """{(test, what it is measured on, cells masked): numbers of each pair}."""
    distance, first, second = metric.distance, *(part.read(rows).astype(np.float32) for rows in block.T)
    a, b = metric.descriptors(first), metric.descriptors(second)
    found = {}
    for m in (m for m in MASKED if m < distance.cells**2):
        for on, deletion in (
            ("descriptors", deletion_test(distance, a, b, m, seed)),
            ("images", image_deletion_test(metric.descriptors, distance, first, second, m, seed)),
        ):
            found["deletion", on, m] = np.stack([deletion.before, *(getattr(deletion, name) for name in MASKINGS)], 1)
    found["self-match", "images", 0] = np.stack([self_match(distance, a), _kept_by_chance(distance, a)], 1)
    mirrored = metric.descriptors(first[:, :, ::-1])
    flips = flip_consistency(distance, a, mirrored)
    found["flip", "images", 0] = np.stack([flips, np.full_like(flips, 1 / distance.cells**2)], 1)
    if parts is not None:
        match = distance.match(distance.described(a), distance.described(b))
        holds = [_parts(part, rows, metric, parts) for rows in block.T]
        by_chance = np.einsum("pr,ps->prs", match.u, match.v)
        rates = [keypoint_hit_rate(plan, *holds) for plan in (match.plan.numpy(), by_chance)]
        found["bird parts", "images", 0] = np.stack(rates, 1)
    return found


def _kept_by_chance(distance, a):
    """What `self_match` would be if every cell sent its weight in proportion to the weights of all cells."""
    found = distance.match(*[distance.described(a)] * 2)
    return np.sum(found.u.numpy() * found.v.numpy(), 1)


def _parts(part, rows, metric, parts):
    names = [part.names[row].removeprefix("images/") for row in rows]
    paths = [part.images.paths[row] for row in rows]
    return parts_of_images(paths, [parts[name] for name in names], metric.image_size, metric.distance.cells)


def _row(name, values):
    """A row: the means over the pairs, and 95 % intervals of the means."""
    test, on, m = name
    values = values[np.isfinite(values).all(1)]
    row = {"test": test, "on": on, "masked": m, "pairs": len(values)}
    if test != "deletion":
        value, by_chance = (float(each) for each in values.mean(0))
        return {**row, "value": value, "interval95": _interval(values[:, 0]), "by_chance": by_chance}
    drops = values[:, :1] - values[:, 1:]
    for i, masking in enumerate(MASKINGS):
        row[f"drop_{masking}"] = float(drops[:, i].mean())
        row[f"drop_{masking}_interval95"] = _interval(drops[:, i])
    for i, masking in enumerate(MASKINGS[1:], start=1):
        row[f"strongest_drops_more_than_{masking}"] = float(np.mean(drops[:, 0] > drops[:, i]))
    return {**row, "score": float(values[:, 0].mean())}


def _interval(values):
    """Half the width of the 95 % interval of the mean."""
    return float(1.96 * np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else None


def main(arguments=None):
    """The command line."""
    parser = measure.parser(measure.first_line(__doc__), "faithfulness")
    parser.set_defaults(batch_size=16)
    parser.add_argument("run", metavar="RUN", type=typed_path, help="run folder of metric learning")
    parser.add_argument("--pairs", type=int, default=200, help="pairs of test images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the pairs and the random cells (default: %(default)s)")
    options = parser.parse_args(arguments)
    metric = load_metric(options.run, with_cells=True)
    config = metric.run.config
    part = metric_learning.load_data(config).test
    of_files = config.data.name == "cub200" and isinstance(part.images, ImageFiles)
    parts = read_bird_parts(part.images.root) if of_files else None
    pairs = chosen_pairs(part.labels, options.pairs, options.seed)
    options.run = f"{metric.run.details.config}, seed {config.seed}"  # what was measured, and not where it lies
    rows = rows_of(metric, part, pairs, options.batch_size, options.seed, parts)
    measure.report("faithfulness", COLUMNS, rows, options)


def _what(row):
    if row["test"] != "deletion":
        return row["test"]
    how = {"descriptors": "descriptors taken away", "images": "image masked"}[row["on"]]
    return f"deletion of {row['masked']} cells, {how}"


def _with_interval(key):
    def text(row):
        if row.get(key) is None:
            return ""
        interval = row.get("interval95" if key == "value" else f"{key}_interval95")
        return f"{row[key]:.3f}" + (f" ± {interval:.3f}" if interval is not None else "")

    return text


def _percent(key):
    return lambda row: f"{100 * row[key]:.0f} %" if key in row else ""


COLUMNS = {
    "test": _what,
    "pairs": lambda row: f"{row['pairs']:,}",
    "score": measure.ratio("score"),
    "drop, strongest": _with_interval("drop_strongest"),
    "central": _with_interval("drop_central"),
    "random": _with_interval("drop_random"),
    "strongest > central": _percent("strongest_drops_more_than_central"),
    "strongest > random": _percent("strongest_drops_more_than_random"),
    "share": _with_interval("value"),
    "by chance": lambda row: f"{row['by_chance']:.3f}" if "by_chance" in row else "",
}


if __name__ == "__main__":
    main()
