"""Makes a table of result lines: its columns, its cells and the order of its rows. Other modules print the table.

A row stands for runs that differ in the seed alone, and shows the mean of their scores. Scores do not depend on the
device, so runs on several devices make one row. Times and memory do depend on it, so each device has its own columns.
"""

import dataclasses
import statistics
from collections.abc import Iterable, Sequence

from neural_similarity.config import NOT_OF_A_RECIPE, SCHEMAS
from neural_similarity.training.results import Result, spoken

GROUPED_BY = ("config", "recipe", "config_hash", "scale", "precision")
_RECIPES = ("ours", "released", "custom")  # the order in which rows stand


class Markdown(str):
    """A cell or a column's head that is Markdown already. Every other text is shown as it is, whatever it holds."""


@dataclasses.dataclass(frozen=True)
class Name:
    """The cell that says which runs a row stands for.

    Attributes:
        config: the config's name.
        changes: the texts of `--set` that changed the config's recipe; none for a shipped recipe.
        config_hash: of the recipe, if another row has the same `config` and `changes`; else None.
        file: the config's path from the repository's root, for a link; None for a config that is not shipped.
    """

    config: str
    changes: tuple[str, ...] = ()
    config_hash: str | None = None
    file: str | None = None


@dataclasses.dataclass(frozen=True)
class Spread:
    """A cell with the mean of some numbers and their sample standard deviation, which is None for a single number."""

    mean: float
    std: float | None

    @classmethod
    def of(cls, values):
        """The `Spread` of one number or more: of 90, 92 and 94 it is mean 92 and standard deviation 2."""
        values = list(values)
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


@dataclasses.dataclass(frozen=True)
class Difference:
    """A cell with how much larger a score is than that of another row, in points.

    Attributes:
        mean: over the seeds that both rows have.
        interval: half the width of the 95 % interval of that mean; None for a single seed, which has no spread.
        n: the number of those seeds.
    """

    mean: float
    interval: float | None
    n: int


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: its head, a text or `Markdown`.
        form: how its numbers are written, as the built-in `format` takes it: ".2f" for 91.50. None for words.
        cells: one for each row: a text, `Markdown`, a number, a `Name`, a `Spread`, a `Difference`, or None where
            nothing is known.
    """

    name: str
    form: str | None
    cells: list


@dataclasses.dataclass(frozen=True)
class Table:
    """Columns of equal length; `title` stands above them and `notes`, each a text, below."""

    columns: list[Column]
    title: str = ""
    notes: tuple[str, ...] = ()

    def rows(self):
        """The rows, each a tuple of one cell per column."""
        return list(zip(*(column.cells for column in self.columns), strict=True))

    def without(self, left_out: Sequence[bool]) -> "Table":
        """The same table without the rows for which `left_out` is true."""
        columns = [
            dataclasses.replace(c, cells=[cell for cell, out in zip(c.cells, left_out, strict=True) if not out])
            for c in self.columns
        ]
        return dataclasses.replace(self, columns=columns)


def number_text(cell, form: str) -> str:
    """A cell that is a number, a `Spread` or a `Difference`, as text: "91.50", "91.50 ± 0.71", "−0.28 ± 0.38 (n 3)"."""
    return _number_text(cell, form).replace("-", "−")


def _number_text(cell, form):
    if isinstance(cell, Spread):
        return format(cell.mean, form) + ("" if cell.std is None else f" ± {cell.std:{form}}")
    if isinstance(cell, Difference):
        interval = "" if cell.interval is None else f" ± {cell.interval:{form}}"
        return f"{cell.mean:+{form}}{interval} (n {cell.n})"
    return format(cell, form)


def group(results: Iterable[Result]) -> list[list[Result]]:
    """Puts those results together that differ only in the seed and the machine: each group becomes a row of the table.

    Args:
        results: `Result`s. If several have one seed, the one that finished last counts.

    Returns:
        A list of groups. A group is a list of `Result`s, one per seed, in the order of the seeds. Groups that can be
        compared, because recipe, scale and precision are equal, follow each other.
    """
    groups = {}
    for result in sorted(results, key=lambda result: result.finished):
        groups.setdefault(tuple(getattr(result, name) for name in GROUPED_BY), {})[result.seed] = result
    rows = [[by_seed[seed] for seed in sorted(by_seed)] for by_seed in groups.values()]

    def place(row):
        first = row[0]
        recipe = _RECIPES.index(first.recipe)
        return recipe, -first.scale, first.precision, first.config, _changes(row), first.config_hash

    return sorted(rows, key=place)


def summarize(results: Sequence[Result]) -> Table:
    """The `Table` of some `Result`s, as a rule of one data set. docs/results.md explains its columns."""
    rows = group(results)
    columns = [Column("config", None, _names(rows)), Column("recipe", None, [row[0].recipe for row in rows])]
    columns += score_columns(rows)
    columns += [
        Column("n", ",", [len(row) for row in rows]),
        Column("steps", ",", [row[0].steps for row in rows]),
        Column("scale", "g", [row[0].scale for row in rows]),
        Column("precision", None, [row[0].precision for row in rows]),
        Column("parameters", ",", [row[0].parameters for row in rows]),
    ]
    for device in dict.fromkeys(result.device for row in rows for result in row):
        on_device = [[result for result in row if result.device == device] for row in rows]
        seconds = [statistics.fmean(r.seconds_per_step for r in row) if row else None for row in on_device]
        gigabytes = [max(r.peak_memory_bytes for r in row) / 1e9 if row else None for row in on_device]
        columns += [Column(f"s/step, {device}", ".3g", seconds), Column(f"peak GB, {device}", ".2f", gigabytes)]
    return Table(columns)


def score_columns(rows: Sequence[Sequence[Result]]) -> list[Column]:
    """The columns of what was measured: scores, intervals over episodes, selected scores, and how it was measured.

    Args:
        rows: the `Result`s of each row, one per seed; none for a row that nothing is known of.
    """
    columns = []
    for score in dict.fromkeys(row[0].headline for row in rows if row):
        columns.append(Column(f"{spoken(score)}, %", ".2f", [_spread(row, lambda r: r.scores, score) for row in rows]))
        intervals = [_interval95(row, score) for row in rows]
        if any(interval is not None for interval in intervals):
            columns.append(Column("95 % interval, ±", ".2f", intervals))
        if any(result.selected for row in rows for result in row):
            selected = [_spread(row, lambda r: r.selected.scores if r.selected else {}, score) for row in rows]
            columns.append(Column(f"selected {spoken(score)}, %", ".2f", selected))
    for score in dict.fromkeys(name for row in rows if row for name in SCHEMAS[row[0].family].further_scores):
        cells = [_spread(row, lambda r: r.scores, score) for row in rows]
        if any(cells):
            columns.append(Column(f"{spoken(score)}, %", ".2f", cells))
    if any(row[0].protocol for row in rows if row):
        columns.append(Column("measured", None, [row[0].protocol if row else None for row in rows]))
    return columns


def _names(rows):
    """The cells of the first column. Where two recipes have the same name, the cells show their hashes."""
    names = [Name(row[0].config, _changes(row)) for row in rows]
    hashes = {}
    for name, row in zip(names, rows, strict=True):
        hashes.setdefault(name, set()).add(row[0].config_hash)
    return [
        dataclasses.replace(name, config_hash=row[0].config_hash) if len(hashes[name]) > 1 else name
        for name, row in zip(names, rows, strict=True)
    ]


def _changes(row):
    """The overrides of a custom recipe that belong to the recipe: not the seed, for example."""
    if row[0].recipe != "custom":
        return ()
    newest = max(row, key=lambda result: result.finished)
    last = {text.partition("=")[0].strip(): text for text in newest.overrides}  # the later text for a key counts
    return tuple(text for key, text in last.items() if not {key, key.partition(".")[0]} & set(NOT_OF_A_RECIPE))


def _interval95(row, score):
    """Half the width of a score's 95 % interval over episodes, in percent, the mean over the runs; None without one."""
    found = [result.scores[score].interval95 for result in row if score in result.scores]
    found = [100 * value for value in found if value is not None]
    return statistics.fmean(found) if found else None


def _spread(row, scores_of, score):
    """The `Spread` of one score over the runs of a row, in percent; None if no run has that score."""
    values = [100 * scores_of(result)[score].value for result in row if score in scores_of(result)]
    return Spread.of(values) if values else None
