"""The curves of trainings: loss and scores over the steps, of one run or of several seeds together."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neural_similarity.errors import UserError
from neural_similarity.families import family_of
from neural_similarity.training.logs import read_rows
from neural_similarity.training.runs import Run, open_run


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """One number over the steps: its mean over the seeds, and the lowest and the highest of them.

    All are `(n,)` float64 arrays. Of a single seed, `mean`, `low` and `high` are the same.
    """

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def over(cls, points: Sequence[dict]) -> "Curve":
        """The `Curve` of several {step: number}, one per seed, at the steps that all of them have."""
        steps = sorted(set.intersection(*map(set, points))) if points else []
        values = np.array([[one[step] for step in steps] for one in points], float).reshape(len(points), len(steps))
        return cls(np.array(steps, float), values.mean(0), values.min(0), values.max(0))

    def smooth(self) -> "Curve":
        """The same with `smoothed` numbers."""
        return Curve(self.steps, smoothed(self.mean), smoothed(self.low), smoothed(self.high))


@dataclasses.dataclass(frozen=True, eq=False)
class RecipeCurves:
    """The curves of all runs of one recipe, which differ in their seeds.

    Attributes:
        label: the config, what tells it from others of that config, and the number of seeds if there are several.
        seeds: how many.
        split, measure: of the headline score, as "test" and "accuracy".
        loss: the training loss without penalties.
        training_score, validation, score: the measure on training batches, on the validation split, and as the headline
            has it. The first two may be empty.
    """

    label: str
    seeds: int
    split: str
    measure: str
    loss: Curve
    training_score: Curve
    validation: Curve
    score: Curve


def curves_of(folders: Sequence[str | Path]) -> list[RecipeCurves]:
    """The curves of some runs, a `RecipeCurves` for each recipe, in the order of the folders.

    Raises:
        UserError: a folder is no run's folder, or has no row of the training loss yet.
    """
    groups = {}
    for run in map(open_run, folders):
        config = run.config
        recipe = (run.details.config, config.config_hash(), config.schedule.scale, config.runtime.precision)
        copy = 0  # two folders of the same recipe and seed are no two seeds: each has a curve of its own
        while any(other.config.seed == config.seed for other in groups.get((*recipe, copy), ())):
            copy += 1
        groups.setdefault((*recipe, copy), []).append(run)
    return [_recipe_curves(_label(key, groups), runs) for key, runs in groups.items()]


def smoothed(values: np.ndarray) -> np.ndarray:
    """A running mean over about a hundredth of the values.

    Value i becomes the mean of the values i − r to i + r, with r = n // 200 for n values: with 1,000 values, each mean
    is over 11 of them. Near an end r is smaller, so that both sides stay equally long. The first and the last value
    never change, and with fewer than 200 values none does.

    Args:
        values: `(n,)` numbers.

    Returns:
        `(n,)` float64 array.
    """
    count = len(values)
    reach = np.minimum(count // 200, np.minimum(np.arange(count), np.arange(count)[::-1]))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(count)
    return (sums[at + reach + 1] - sums[at - reach]) / (2 * reach + 1)


def rows_of(run: Run) -> list[dict]:
    """The rows of a run's metrics.

    Raises:
        UserError: there is no row of the training loss yet, or a row is damaged.
    """
    rows = read_rows(run.folder / "metrics.jsonl")
    if not points(rows, "train", family_of(run.config).TRAINING_LOSS):
        advice = "Restore the file" if run.result else "Let the run go on"
        raise UserError(f"{run.shown()}: no row of the training loss in metrics.jsonl. {advice}.")
    return rows


def points(rows: Sequence[dict], split: str, name: str) -> dict[int, float]:
    """{step: number} of one measure on one split."""
    return {row["step"]: row[name] for row in rows if row["split"] == split and name in row}


def _label(key, groups):
    """What a legend calls the runs of a key: the config, and what tells them from others of the same config."""
    name, _, scale, *_ = key
    others = [other for other in groups if other[0] == name and other != key]
    runs = groups[key]
    words = [name]
    if others and scale not in [other[2] for other in others]:
        words.append(f"scale {scale:g}")
    elif others:
        words.append(runs[0].folder.resolve().name)
    if len(runs) > 1:
        words.append(f"{len(runs)} seeds")
    return ", ".join(words)


def _recipe_curves(label, runs):
    family = family_of(runs[0].config)
    split, measure = family.headline(runs[0].config).split("/")
    all_rows = [rows_of(run) for run in runs]
    curves = [
        Curve.over([points(rows, *what) for rows in all_rows])
        for what in (("train", family.TRAINING_LOSS), ("train", measure), ("validation", measure), (split, measure))
    ]
    return RecipeCurves(label, len(runs), split, measure, *curves)
