"""What a run costs: seconds per step, from recorded benchmarks, from result lines and from the configs' headers."""

import dataclasses
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pydantic

from neural_similarity import config as configs
from neural_similarity.config import CONFIGS, Experiment
from neural_similarity.config.messages import validation_problems
from neural_similarity.errors import UserError
from neural_similarity.files import shown
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
        config: the config. If it is not the shipped one of that name, only result lines of just this recipe count.
        results: all `Result`s that there are.
        measurements: what `read_measurements` returns.
    """
    config_hash = config.config_hash()  # once, as there are many results
    shipped = configs.load(CONFIGS / f"{name}.yaml", environment={}).config_hash() == config_hash
    timed = {}
    for line in measurements if shipped else ():
        for row in line["rows"]:
            measured = _network(f"cifar10/{row.get('network')}"), line.get("batch_size"), row.get("kind")
            if line["benchmark"] == "train_step" and measured == (_network(name), config.global_batch_size(), "ours"):
                timed.setdefault((line["environment"]["device"], row["precision"]), []).append(row["median_s"])
    found = [Cost(statistics.median(times), *where, "benchmark") for where, times in timed.items()]
    trained = {}
    for result in results:
        if (result.config, result.config_hash) == (name, config_hash):
            trained.setdefault((result.device, result.precision), []).append(result.seconds_per_step)
    found += [Cost(statistics.median(times), *where, "result lines") for where, times in trained.items()]
    return found + (_of_header(name) if shipped else [])


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
    """How long a whole run takes, a column for each device and precision.

    Args:
        rows: the config of each row by name; the config says how many steps a run has. A row is left out if nobody has
            measured it, or if a row before it has the same network and as many steps.
        results, measurements: as in `costs`.
    """
    times, networks = {}, set()  # name → {head of a column: cell}
    for name, config in rows.items():
        cells = {}
        for cost in costs(name, config, results, measurements):
            words = in_words(cost.seconds_per_step * config.schedule.scaled_train_steps)
            if cost.device:
                in_a_run = " (in a run)" * (cost.source != "benchmark")
                cells.setdefault(f"{cost.device}, {cost.precision}", words + in_a_run)
        network = _network(name) or name
        if cells and network not in networks:
            times[name] = cells
            networks.add(network)
    heads = sorted({head for cells in times.values() for head in cells})
    return Table(
        [
            Column("config", None, [Name(name, file=f"configs/{name}.yaml") for name in times]),
            Column("steps", ",", [rows[name].schedule.scaled_train_steps for name in times]),
            *(Column(head, "", [cells.get(head) for cells in times.values()]) for head in heads),
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

    @classmethod
    def of(cls, seconds: Iterable[float | None]) -> "Estimate":
        """The `Estimate` of runs of which each takes so many seconds, or nobody knows how many (None)."""
        seconds = list(seconds)
        return cls(sum(filter(None, seconds)), seconds.count(None))

    def __str__(self):
        """ "about 3 h 10 min", "about 3 h 10 min, and 2 runs of unknown cost", "their cost is not known"."""
        known = f"about {in_words(self.seconds)}"
        if not self.unknown:
            return known
        if not self.seconds:
            return "their cost is not known"
        return f"{known}, and {self.unknown} run{'s' * (self.unknown > 1)} of unknown cost"


def seconds_of(run, cost: Cost | None) -> float | None:
    """How long a whole `plans.PlannedRun` takes; None if its cost is not known."""
    return cost and cost.seconds_per_step * run.config.schedule.scaled_train_steps


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
    """The lines in `results/benchmarks`, as the benchmarks' `--json` wrote them.

    Raises:
        UserError: a line is damaged.
    """
    found = []
    for file in sorted((Path(results) / "benchmarks").glob("*.jsonl")):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                found += [_Measurement.model_validate_json(line).model_dump()] if line.strip() else []
            except pydantic.ValidationError as error:
                raise UserError(
                    f"{shown(file)}, line {number}: no measurement ({validation_problems(error)}). Restore it from git."
                ) from None
    return found


class _Measurement(pydantic.BaseModel):
    """What costs are read from in the line of a benchmark; a line has more."""

    benchmark: str
    batch_size: int | None = None
    environment: dict
    rows: list[dict]


def _network(name):
    """The name of the config in configs/cifar10 that has the same network and as many images in a step."""
    folder, _, network = name.replace("/released/", "/").partition("/")
    return network if folder in ("cifar10", "cifar100") else None


def _of_header(name):
    """What the comment at the top of a config tells of the whole schedule: "4 h on 2 CPU cores, 3 h in bfloat16"."""
    file = CONFIGS / f"{name}.yaml"
    header = re.search(r"\bCost: (?:about )?(.*)", file.read_text(encoding="utf-8"))
    steps = configs.load(file, environment={}).schedule.scaled_train_steps
    found = []
    for number, unit, in_bfloat16 in re.findall(r"\b([\d.]+) (h|min)\b( in bfloat16)?", header[1] if header else ""):
        precision = "mixed_bfloat16" if in_bfloat16 else None
        found.append(Cost(float(number) * _HOURS[unit] * 3600 / steps, None, precision, "header of the config"))
    return found
