"""The README's table of experiments: each with its command, its score and its cost.

Method, command and cost are read from the comments at the top of each config, the scores from the result lines.
"""

import math
import re

from neural_similarity.config import CONFIGS
from neural_similarity.errors import UserError
from neural_similarity.files import shown
from neural_similarity.reporting.summary import Column, Markdown, Spread, Table, group
from neural_similarity.training.results import Result


def experiments(results: list[Result]) -> Table:
    """The `Table` of the configs in configs/cifar10, the cheapest first.

    A config's score is its headline score in percent, the mean over the seeds. Only its longest runs count, and of
    those only the runs with the config's own recipe.

    Args:
        results: the `Result`s of `results/cifar10.jsonl`.
    """
    headers = [_header(file) for file in sorted((CONFIGS / "cifar10").glob("*.yaml"))]
    headers.sort(key=lambda header: _hours(header["cost"]))
    longest = {}  # config → its runs, one `Result` per seed
    for runs in group(result for result in results if result.recipe == "ours"):
        known = longest.get(runs[0].config)
        if known is None or (runs[0].steps, len(runs)) > (known[0].steps, len(known)):
            longest[runs[0].config] = runs
    rows = [longest.get(f"cifar10/{header['name']}") for header in headers]
    return Table(
        [
            Column("method", None, [Markdown(header["method"]) for header in headers]),
            Column("command", None, [Markdown(f"`{header['command']}`") for header in headers]),
            Column("test accuracy, %", ".2f", [_score(runs) for runs in rows]),
            Column("length of these runs", None, [_length(runs) for runs in rows]),
            Column("a whole run costs", None, [Markdown(header["cost"]) for header in headers]),
        ]
    )


def _hours(cost):
    """The hours of "15 h on 2 CPU cores"; infinitely many where a header says something else."""
    hours = re.match(r"[\d.]+(?= h\b)", cost)
    return float(hours[0]) if hours else math.inf


def _header(file):
    """What the comments at the top of a config say: its `method`, `command` and `cost`; and the file's `name`."""
    text = file.read_text(encoding="utf-8")
    command, cost = (re.search(rf"^#.*\b{word}: +(.+)$", text, re.M) for word in ("Run", "Cost"))
    if not (command and cost):
        raise UserError(
            f"{shown(file)}: its header needs a line `# Run: <command>` and, in its last line, `Cost: <cost>`."
        )
    title = re.sub(r"^# (NSL \(.*?\), )?", "", text.splitlines()[0]).replace(" on CIFAR-10", "")
    method = re.split(r":| \(", title)[0].rstrip(".")
    return {
        "name": file.stem,
        "method": method[:1].upper() + method[1:],
        "command": command[1],
        "cost": cost[1],
    }


def _score(runs):
    return runs and Spread.of(100 * result.scores[result.headline].value for result in runs)


def _length(runs):
    """How long the runs were and how many: "10,625 steps (scale 0.25), 2 seeds"."""
    if runs is None:
        return None
    scale = f" (scale {runs[0].scale:g})" if runs[0].scale != 1 else ""
    return f"{runs[0].steps:,} steps{scale}, {len(runs)} seed{'s' * (len(runs) > 1)}"
