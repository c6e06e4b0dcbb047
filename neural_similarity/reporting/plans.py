"""Reads the files in configs/tables: which runs a table is made of.

A table has one row for each method. A row names a config; the table's scale, precision and seeds say how the config is
run. docs/tables.md explains the keys.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from neural_similarity import config as configs
from neural_similarity.config import CONFIGS, TABLES, Experiment
from neural_similarity.config.fields import Index, Positive, Section, Text, list_of
from neural_similarity.config.messages import validation_problems
from neural_similarity.config.yaml12 import parse
from neural_similarity.errors import UserError, nearest
from neural_similarity.files import read_at_most, shown

NOTHING = "nothing"  # what a table `reproduces` that no paper has
_MOST_BYTES = 100_000
_OF_THE_TABLE = ("seed", "schedule.scale", "runtime.precision")  # what a row cannot set for itself

_Words = Annotated[Text, Field(min_length=1)]


class PlannedRow(Section):
    """One row: a `method`, the name of a `config` under configs/, and texts of `--set` that change the config."""

    method: _Words
    config: _Words
    set: list_of(tuple[Text, ...], "a list of texts, each as `--set` takes it") = ()


class Plan(Section):
    """What a table is made of.

    Attributes:
        name: of the file, without suffix.
        title, reproduces: what the table shows, and which table of a paper it repeats; `NOTHING` if it repeats none.
        scale: `schedule.scale` of every run.
        precision: `runtime.precision` of every run.
        seeds: each row is run once for each of them.
        baselines: methods of rows that the other rows are compared with.
        rows: the rows, in the table's order.
    """

    name: _Words
    title: _Words
    reproduces: _Words
    scale: Positive
    precision: Literal["float32", "mixed_bfloat16"]
    seeds: Annotated[list_of(tuple[Index, ...], "a list of seeds"), Field(min_length=1)]
    baselines: list_of(tuple[_Words, ...], "a list of methods")
    rows: Annotated[list_of(tuple[PlannedRow, ...], "a list of rows"), Field(min_length=1)]

    @pydantic.model_validator(mode="after")
    def _names_are_clear(self):
        methods = [row.method for row in self.rows]
        for what, names in (("method", methods), ("seed", self.seeds), ("baseline", self.baselines)):
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise ValueError(f"the {what} {twice[0]} is there twice")
        for name in self.baselines:
            if name not in methods:
                raise ValueError(f"the baseline {name} is the method of no row.{nearest(name, methods)}")
        return self

    def runs(self) -> list["PlannedRun"]:
        """All runs of the table: the first seed of every row, then the second of every row, and so on.

        In this order the rows of a half-finished table have the same seeds, and can be compared.

        Raises:
            UserError: a row names no config, or sets what its config does not have; two rows mean the same run; or the
                rows are not tested on the same images.
        """
        found = [PlannedRun(row, seed, self._config(row, seed)) for seed in self.seeds for row in self.rows]
        by_key = {}
        for run in found:
            other = by_key.setdefault(run.key, run)
            if other is not run:
                raise UserError(
                    f"{self.name}: the rows {other.row.method} and {run.row.method} are the same run. Leave out one."
                )
        first = found[0]
        for run in found:
            if run.config.tested_on() != first.config.tested_on():
                raise UserError(
                    f"{self.name}: the rows {first.row.method} and {run.row.method} cannot stand in one table: they "
                    f"are tested on {first.config.tested_on()} and {run.config.tested_on()}."
                )
        return found

    def _config(self, row, seed):
        for text in row.set:
            if text.partition("=")[0].strip() in _OF_THE_TABLE:
                raise UserError(
                    f"{self.name}: the row {row.method} sets `{text}`, which is the same for all rows of a table. Set "
                    "it for the whole table."
                )
            if text.partition("=")[0].strip() == "data.root":
                raise UserError(
                    f"{self.name}: the row {row.method} sets `{text}`, which is of one machine. Leave it out, and name "
                    "the folder of the data sets in the environment variable NEURAL_SIMILARITY_DATA."
                )
        file = CONFIGS / f"{row.config}.yaml"
        config = configs.load(file, self.overrides(row, seed))
        if configs.name_of(file) != row.config:
            raise UserError(
                f"{self.name}: the row {row.method} names the config {row.config}; expected the path of a file in "
                f"{shown(CONFIGS)} from there, without `.yaml`, as cifar10/static_dns."
            )
        return config

    def overrides(self, row: PlannedRow, seed: int) -> list[str]:
        """The texts of `--set` of one run."""
        shared = [f"seed={seed}", f"schedule.scale={self.scale}", f"runtime.precision={self.precision}"]
        return [*shared, *row.set]


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One run of a table: a row with one seed, and the config that the two make."""

    row: PlannedRow
    seed: int
    config: Experiment

    @property
    def key(self) -> tuple:
        """(config, hash of the recipe, scale, precision, seed). The run's result line has the same."""
        config = self.config
        return self.row.config, config.config_hash(), config.schedule.scale, config.runtime.precision, config.seed


def key_of(result) -> tuple:
    """The `PlannedRun.key` that a `Result` fits."""
    return result.config, result.config_hash, result.scale, result.precision, result.seed


def names() -> list[str]:
    """The names of the shipped tables, sorted."""
    return sorted(file.stem for file in TABLES.glob("*.yaml"))


def load_plan(
    name: str, scale: float | None = None, seeds: Sequence[int] | None = None, precision: str | None = None
) -> Plan:
    """Reads a table's file.

    Args:
        name: a name from `names`, or the path of a file of one's own.
        scale, seeds, precision: replace those of the file.

    Raises:
        UserError: there is no such table, or its file has something wrong.
    """
    file = TABLES / f"{name}.yaml" if name in names() else Path(name)
    if not file.is_file():
        raise UserError(
            f"{name}: no such table.{nearest(name, names())} Known: {', '.join(names())}; or name a file of your own."
        )
    place = shown(file)
    try:
        document = parse(read_at_most(file, _MOST_BYTES).decode("utf-8"), place)
    except (OSError, ValueError) as error:
        raise UserError(f"{place}: cannot be read ({getattr(error, 'strerror', None) or error}).") from None
    if not isinstance(document, dict):
        raise UserError(f"{place}: a table's file is a mapping. Start from a file in {shown(TABLES)}.")
    known = [key for key in Plan.model_fields if key != "name"]
    for key in document:
        if key not in known:
            raise UserError(f"{place}: unknown key `{key}`.{nearest(key, known)} Known keys: {', '.join(known)}.")
    given = {"scale": scale, "seeds": None if seeds is None else list(seeds), "precision": precision}
    document |= {key: value for key, value in given.items() if value is not None}
    try:
        return Plan.model_validate({**document, "name": file.stem})
    except pydantic.ValidationError as error:
        problems = validation_problems(error).replace("Value error, ", "")
        raise UserError(f"{place}: {problems}. Start from a file in {shown(TABLES)}.") from None
