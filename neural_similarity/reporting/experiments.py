"""The README's table of experiments: method → command → score → cost, read off the configs' headers and the results."""

import re

from neural_similarity.config import CONFIGS
from neural_similarity.reporting.summary import Column, Spread, Table, group


def experiments(results):
    """The table of the configs in configs/cifar10, the cheapest first.

    Args:
        results: the `Result`s of `results/cifar10.jsonl`. A config's score is the headline score of its longest runs
            in its own recipe: the mean over the seeds, in percent.
    """
    headers = [_header(file) for file in sorted((CONFIGS / "cifar10").glob("*.yaml"))]
    headers.sort(key=lambda header: float(re.match(r"[\d.]+(?= h\b)", header["cost"])[0]))
    longest = {}
    for row in group(result for result in results if result.recipe == "ours"):
        known = longest.get(row[0].config)
        if known is None or (row[0].steps, len(row)) > (known[0].steps, len(known)):
            longest[row[0].config] = row
    runs = [longest.get(f"cifar10/{header['name']}") for header in headers]
    return Table(
        [
            Column("method", None, [header["method"] for header in headers]),
            Column("command", None, [f"`{header['command']}`" for header in headers]),
            Column("test accuracy, %", ".2f", [_score(run) for run in runs]),
            Column("of runs of", None, [_length(run) for run in runs]),
            Column("a whole run costs", None, [header["cost"] for header in headers]),
        ]
    )


def _header(file):
    """What the comments at the top of a config say."""
    text = file.read_text(encoding="utf-8")
    title = re.sub(r"^# (NSL \(.*?\), )?", "", text.splitlines()[0]).replace(" on CIFAR-10", "")
    method = re.split(r":| \(", title)[0].rstrip(".")
    return {
        "name": file.stem,
        "method": method[:1].upper() + method[1:],
        "command": re.search(r"^# Run:   (.+)$", text, re.M)[1],
        "cost": re.search(r"Cost: (.+)$", text, re.M)[1],
    }


def _score(run):
    return run and Spread.of(100 * result.scores[result.headline].value for result in run)


def _length(run):
    """How long the runs were and how many: "10,625 steps (scale 0.25), 2 seeds"."""
    if run is None:
        return None
    scale = f" (scale {run[0].scale:g})" if run[0].scale != 1 else ""
    return f"{run[0].steps:,} steps{scale}, {len(run)} seed{'s' * (len(run) > 1)}"
