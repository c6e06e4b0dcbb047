"""What a run costs: seconds per step, from recorded benchmarks, from result lines and from the configs' headers."""

import dataclasses
import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from neural_similarity import config as configs
from neural_similarity.config import CONFIGS, Experiment
from neural_similarity.reporting.summary import Column, Name, Table
from neural_similarity.training.results import Result

_HOURS = {"h": 1.0, "min": 1 / 60}


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds per step of a network on one device.

    Attributes:
        seconds_per_step: a median.
        device: as a result line names it; None for the header of a config, which says "2 CPU cores".
        precision: a Keras dtype policy; None where nobody says.
        source: "benchmark", "result lines" or "header of the config".
    """

    seconds_per_step: float
    device: str | None
    precision: str | None
    source: str


def costs(name: str, config: Experiment, results: Iterable[Result], measurements: Sequence[dict]) -> list[Cost]:
    """All that is known of a config's cost, the best source first: benchmarks, then result lines, then the header.

    Args:
        name: of the config.
        config: the config; for `data.global_batch_size` and the like, as no cost is scaled.
        results: all `Result`s that there are.
        measurements: what `read_measurements` returns.
    """
    timed = {}
    for line in measurements:
        for row in line["rows"]:
            measured = _network(f"cifar10/{row.get('network')}"), line.get("batch_size"), row.get("kind")
            if line["benchmark"] == "train_step" and measured == (_network(name), config.global_batch_size(), "ours"):
                timed.setdefault((line["environment"]["device"], row["precision"]), []).append(row["median_s"])
    found = [Cost(statistics.median(times), *where, "benchmark") for where, times in timed.items()]
    trained = {}
    for result in results:
        if (result.config, result.config_hash) == (name, config.config_hash()):
            trained.setdefault((result.device, result.precision), []).append(result.seconds_per_step)
    found += [Cost(statistics.median(times), *where, "result lines") for where, times in trained.items()]
    return found + _of_header(name, config)


def cost_of(name: str, config: Experiment, device: str | None, results, measurements) -> Cost | None:
    """The `Cost` that fits a device and the config's precision best; None if nothing is known.

    Args:
        name, config, results, measurements: as in `costs`.
        device: as a result line names it.
    """
    known = costs(name, config, results, measurements)
    precision = config.runtime.precision

    def misfit(cost):
        return cost.source == "header of the config", cost.device != device, cost.precision != precision

    return min(known, key=misfit, default=None)


def cost_table(rows: Mapping[str, Experiment], results: Sequence[Result], measurements: Sequence[dict]) -> Table:
    """The hours that a whole run takes, a column for each device and precision.

    Args:
        rows: the config of each row by name; the config says how many steps a run has. A row whose cost nobody has
            measured is left out, and so is one that costs what a row before it does, as it has the same network.
        results, measurements: as in `costs`.
    """
    hours = {}  # name → {(device, precision): cell}
    for name, config in rows.items():
        cells = {}
        for cost in costs(name, config, results, measurements):
            total = cost.seconds_per_step * config.schedule.scaled_train_steps / 3600
            text = f"{total:.1f}" if cost.source == "benchmark" else f"{total:.1f} (in a run)"
            if cost.device:
                cells.setdefault(f"hours, {cost.device}, {cost.precision}", text)
        if cells and not any(cells.items() <= other.items() for other in hours.values()):
            hours[name] = cells
    places = sorted({place for cells in hours.values() for place in cells})
    return Table(
        [
            Column("config", None, [Name(name, file=f"configs/{name}.yaml") for name in hours]),
            Column("steps", ",", [rows[name].schedule.scaled_train_steps for name in hours]),
            *(Column(place, "", [cells.get(place) for cells in hours.values()]) for place in places),
        ]
    )


@dataclasses.dataclass(frozen=True)
class Estimate:
    """How long some runs take.

    Attributes:
        seconds: together, for those whose cost is known.
        unknown: the number of the others.
    """

    seconds: float
    unknown: int

    def __str__(self):
        """In words: "about 3 h 10 min, and 2 runs of which nobody knows"."""
        words = [f"about {in_words(self.seconds)}"] if self.seconds or not self.unknown else []
        if self.unknown:
            words.append(f"{self.unknown} run{'s' * (self.unknown > 1)} whose cost nobody has measured")
        return ", and ".join(words)


def estimate(runs, device: str | None, results, measurements) -> Estimate:
    """The `Estimate` of whole runs, one after the other.

    Args:
        runs: `plans.PlannedRun`s.
        device, results, measurements: as in `cost_of`.
    """
    seconds, unknown = 0.0, 0
    for run in runs:
        cost = cost_of(run.row.config, run.config, device, results, measurements)
        if cost is None:
            unknown += 1
        else:
            seconds += cost.seconds_per_step * run.config.schedule.scaled_train_steps
    return Estimate(seconds, unknown)


def in_words(seconds: float) -> str:
    """A duration: "40 s", "12 min", "3 h 10 min", "2 days 5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(minutes / 60)
    return f"{hours // 24} days {hours % 24} h"


def read_measurements(results: str | Path) -> list[dict]:
    """The lines in `results/benchmarks`, as the benchmarks' `--json` wrote them."""
    return [
        json.loads(line)
        for file in sorted((Path(results) / "benchmarks").glob("*.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]


def _network(name):
    """The name of the config in configs/cifar10 that has the same network and as many images in a step."""
    folder, _, network = name.replace("/released/", "/").partition("/")
    return network if folder in ("cifar10", "cifar100") else None


def _of_header(name, config):
    """The cost that the comment at the top of a config tells: "15 h on 2 CPU cores" for the whole schedule."""
    file = CONFIGS / f"{name}.yaml"
    told = re.search(r"\bCost: (?:about )?([\d.]+) (h|min)\b", file.read_text(encoding="utf-8"))
    if not told:
        return []
    whole = configs.load(file, environment={}).schedule.scaled_train_steps
    return [Cost(float(told[1]) * _HOURS[told[2]] * 3600 / whole, None, None, "header of the config")]
