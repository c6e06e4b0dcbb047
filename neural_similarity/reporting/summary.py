"""From result lines to a table as data: its columns, its cells and their order. Other modules print the table.

A row of the table is the mean over seeds. Scores do not depend on the device, so that seeds of several devices make one
row; times and memory do, so that each device has columns of its own.
"""

import dataclasses
import statistics

from neural_similarity.config import NOT_OF_A_RECIPE
from neural_similarity.training.results import spoken

GROUPED_BY = ("config", "recipe", "config_hash", "scale", "precision")
_RECIPES = ("ours", "released", "custom")  # in the order of the rows


@dataclasses.dataclass(frozen=True)
class Name:
    """The cell that says which runs a row is made of.

    Attributes:
        config: the config's name.
        changes: the `--set` texts that made another recipe of it; none for a shipped recipe.
        config_hash: where two recipes have the same name and changes, what tells them apart; else None.
    """

    config: str
    changes: tuple[str, ...] = ()
    config_hash: str | None = None


@dataclasses.dataclass(frozen=True)
class Spread:
    """A cell with the mean of some numbers and their sample standard deviation, which a single number has not."""

    mean: float
    std: float | None

    @classmethod
    def of(cls, values):
        """The spread of one number or more."""
        values = list(values)
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


@dataclasses.dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: its head.
        form: how a number of it is written, as `format` takes it; None for a column of words.
        cells: one for each row: a text, a number, a `Name`, a `Spread`, or None where there is nothing to tell.
    """

    name: str
    form: str | None
    cells: list


@dataclasses.dataclass(frozen=True)
class Table:
    """Columns of equal length."""

    columns: list[Column]

    def rows(self):
        """The cells row by row."""
        return list(zip(*(column.cells for column in self.columns), strict=True))


def group(results):
    """Puts together what differs in nothing but the seed and the machine.

    Args:
        results: `Result`s; of several with one seed the last that finished counts.

    Returns:
        Lists of `Result`s, one per seed and in the order of the seeds. Rows that can be compared, with equal recipe,
        scale and precision, follow each other.
    """
    groups = {}
    for result in sorted(results, key=lambda result: result.finished):
        groups.setdefault(tuple(getattr(result, name) for name in GROUPED_BY), {})[result.seed] = result
    rows = [[seeds[seed] for seed in sorted(seeds)] for seeds in groups.values()]

    def place(row):
        first = row[0]
        recipe = _RECIPES.index(first.recipe)
        return recipe, -first.scale, first.precision, first.config, _changes(row), first.config_hash

    return sorted(rows, key=place)


def summarize(results, paper_values=None):
    """The table of some `Result`s.

    Args:
        results: the lines, of one set as a rule.
        paper_values: {config: headline score in percent} of the published numbers that somebody has looked up, for a
            column "paper"; None for a table without that column.
    """
    rows = group(results)
    columns = [Column("config", None, _names(rows)), Column("recipe", None, [row[0].recipe for row in rows])]
    if paper_values is not None:
        columns.append(Column("paper", "g", [paper_values.get(row[0].config, "unverified") for row in rows]))
    for score in dict.fromkeys(row[0].headline for row in rows):
        columns.append(Column(f"{spoken(score)}, %", ".2f", [_spread(row, lambda r: r.scores, score) for row in rows]))
        if any(result.selected for result in results):
            selected = [_spread(row, lambda r: r.selected.scores if r.selected else {}, score) for row in rows]
            columns.append(Column(f"selected {spoken(score)}, %", ".2f", selected))
    columns += [
        Column("n", ",", [len(row) for row in rows]),
        Column("steps", ",", [row[0].steps for row in rows]),
        Column("scale", "g", [row[0].scale for row in rows]),
        Column("precision", None, [row[0].precision for row in rows]),
        Column("parameters", ",", [row[0].parameters for row in rows]),
    ]
    for device in dict.fromkeys(result.device for row in rows for result in row):
        there = [[result for result in row if result.device == device] for row in rows]
        seconds = [statistics.fmean(r.seconds_per_step for r in row) if row else None for row in there]
        gigabytes = [max(r.peak_memory_bytes for r in row) / 1e9 if row else None for row in there]
        columns += [Column(f"s/step, {device}", ".3g", seconds), Column(f"peak GB, {device}", ".2f", gigabytes)]
    return Table(columns)


def _names(rows):
    """The first column. Rows of one name tell their hashes."""
    names = [Name(row[0].config, _changes(row)) for row in rows]
    hashes = {}
    for name, row in zip(names, rows, strict=True):
        hashes.setdefault(name, set()).add(row[0].config_hash)
    return [
        dataclasses.replace(name, config_hash=row[0].config_hash) if len(hashes[name]) > 1 else name
        for name, row in zip(names, rows, strict=True)
    ]


def _changes(row):
    """The overrides of a custom recipe, as far as they belong to the recipe."""
    if row[0].recipe != "custom":
        return ()
    newest = max(row, key=lambda result: result.finished)
    last = {text.partition("=")[0].strip(): text for text in newest.overrides}  # of two for one key the later counts
    return tuple(text for key, text in last.items() if not {key, key.partition(".")[0]} & set(NOT_OF_A_RECIPE))


def _spread(row, scores_of, score):
    """The `Spread` of one score over a row's seeds, in percent; None where no seed has it."""
    values = [100 * scores_of(result)[score].value for result in row if score in scores_of(result)]
    return Spread.of(values) if values else None
