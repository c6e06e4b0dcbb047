"""Writes the tables of the documents anew: `python -m neural_similarity tables`.

README.md has the table of experiments and some tables of results. docs/tables.md has all tables of configs/tables, and
what their runs cost. docs/partial_runs.md has the result lines that stand in none of them. docs/data.md has the data
sets.
"""

import dataclasses
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from neural_similarity import pretrained
from neural_similarity.config import REPOSITORY
from neural_similarity.data.streams import say, tell
from neural_similarity.errors import UserError
from neural_similarity.files import shown, write_atomically
from neural_similarity.reporting import plans
from neural_similarity.reporting.costs import Estimate, cost_of, cost_table, read_measurements, seconds_of
from neural_similarity.reporting.data_sets import data_sets
from neural_similarity.reporting.experiments import experiments
from neural_similarity.reporting.markdown import as_markdown, put_between_markers
from neural_similarity.reporting.paper_values import read_paper_values
from neural_similarity.reporting.record import RESULTS, alone_in, read_all_results, read_results
from neural_similarity.reporting.result_table import ABOUT_DIFFERENCES, how_it_was_run, measured_at, result_table
from neural_similarity.reporting.summary import Column, Name, Table, summarize

README, ALL_TABLES, PARTIAL_RUNS, DATA = "README.md", "docs/tables.md", "docs/partial_runs.md", "docs/data.md"
IN_README = ("cifar10", "cub200_frozen", "quickstart")  # these tables, each at the longest scale that has lines
_NOTHING = "No finished run is recorded yet."


def readme_tables(results: str | Path = RESULTS) -> str:
    """The Markdown of the README's result tables, without the rows that have no line yet."""
    lines, paper_values = read_all_results(results), _paper_values(results)
    parts = []
    for name in IN_README:
        for plan in measured_at(plans.load_plan(name), lines)[:1]:
            table = _for_a_document(result_table(plan, lines, paper_values))
            missing = _column(table, "n").count(0)
            more = f" (of {missing} more rows no run is finished yet)" if missing else ""
            table = table.without([n == 0 for n in _column(table, "n")])
            parts.append(f"**{plan.title}**, {how_it_was_run(plan)}{more}\n\n{as_markdown(table)}")
    return "\n\n".join(parts or [_NOTHING])


def all_tables(results: str | Path = RESULTS) -> str:
    """The Markdown of all tables of configs/tables: each at every scale and precision that has lines."""
    return "\n\n".join(_sections(read_all_results(results), read_measurements(results), _paper_values(results)))


def _sections(lines, measurements, paper_values) -> Iterator[str]:
    for name in plans.names():
        plan = plans.load_plan(name)
        runs = plan.runs()
        reproduces = "" if plan.reproduces == plans.NOTHING else f" Reproduces: {plan.reproduces}."
        known = [cost_of(run.row.config, run.config, None, lines, measurements) for run in runs]
        cost = f"{len(runs)} runs: {Estimate.of(map(seconds_of, runs, known))}"
        devices = sorted({cost.device or "2 CPU cores" for cost in known if cost})
        cost += f" (measured on {'; '.join(devices)})." if devices else "."
        yield (
            f"### {plan.title}\n\n`python reproduce_tables.py --table {name}` (its rows: "
            f"[configs/tables/{name}.yaml](../configs/tables/{name}.yaml)).{reproduces} {cost}"
        )
        measured = measured_at(plan, lines)
        for one in measured:
            table = _for_a_document(result_table(one, lines, paper_values))
            yield f"**{how_it_was_run(one)}**\n\n{as_markdown(table, '../')}"
        if not measured:
            yield _NOTHING


def partial_runs(results: str | Path = RESULTS) -> str:
    """The Markdown of the result lines that stand in no table of configs/tables, a table for each file of lines."""
    planned = {run.key[:2] for name in plans.names() for run in plans.load_plan(name).runs()}
    parts = []
    for path in sorted(Path(results).glob("*.jsonl")):
        lines = [line for line in read_results(path) if (line.config, line.config_hash) not in planned]
        if lines:
            links = f"[its lines](../results/{path.name}) ([what the columns mean](results.md#a-table))"
            parts.append(f"**{path.stem}**, from {links}\n\n{as_markdown(summarize(lines))}")
    return "\n\n".join(parts or [_NOTHING])


def costs_of_configs(results: str | Path = RESULTS) -> str:
    """The Markdown of the table of costs: a row for each config of a table whose cost was measured."""
    rows = {}
    for name in plans.names():
        for run in plans.load_plan(name, scale=1).runs():
            if not run.row.set:
                rows[run.row.config] = run.config
    rows = dict(sorted(rows.items(), key=lambda row: ("/released/" in row[0], row[0])))  # of one network the first
    return as_markdown(cost_table(rows, read_all_results(results), read_measurements(results)), "../")


def shipped_weights(folder: str | Path = pretrained.WEIGHTS) -> str:
    """The Markdown of the table of trained networks that come with the repository."""
    names = pretrained.names(Path(folder))
    cards = [pretrained.read_card(name, Path(folder)) for name in names]
    results = [card.result for card in cards]
    bytes_of = [(Path(folder) / f"{name}.npz").stat().st_size for name in names]
    columns = [
        Column("name", None, [Name(name, file=f"weights/{name}.npz") for name in names]),
        Column("MB", ".2f", [size / 1e6 for size in bytes_of]),
        Column("steps", ",", [result.steps for result in results]),
        Column("scale", "g", [result.scale for result in results]),
        Column("seed", "d", [result.seed for result in results]),
        Column("test accuracy of the run, %", ".2f", [100 * r.scores[r.headline].value for r in results]),
        Column(
            "of this file, %",
            ".2f",
            [100 * card.scores[card.result.headline].value for card in cards],
        ),
    ]
    return as_markdown(Table(columns), "../")


def marked_texts(document: str, results: str | Path = RESULTS) -> dict[str, str]:
    """What stands between the markers of a document: {name of the markers: Markdown}.

    Args:
        document: `README`, `ALL_TABLES`, `PARTIAL_RUNS` or `DATA`.
        results: folder of the `.jsonl` files.
    """
    if document == DATA:
        return {"data-sets": as_markdown(data_sets())}
    if document == ALL_TABLES:
        return {"tables": all_tables(results), "costs": costs_of_configs(results), "weights": shipped_weights()}
    if document == PARTIAL_RUNS:
        return {"results": partial_runs(results)}
    recorded = Path(results) / "cifar10.jsonl"
    lines = read_results(recorded) if recorded.exists() else []
    return {"results": readme_tables(results), "experiments": as_markdown(experiments(lines))}


def write(results: str | Path = RESULTS, check: bool = False, repository: str | Path = REPOSITORY) -> int:
    """Writes the tables of all documents between their markers.

    Args:
        results: folder of the `.jsonl` files.
        check: writes nothing, and only says which documents are not up to date.
        repository: the folder that holds the documents.

    Returns:
        The exit code: 1 if `check` found a document that is not up to date, else 0.

    Raises:
        UserError: a result line is damaged, a document cannot be read, or a document lacks the markers.
    """
    if check:
        return _write(results, check, repository)
    with alone_in(Path(results)):  # two runners may end at once
        return _write(results, check, repository)


def _write(results, check, repository):
    code = 0
    for document in (README, ALL_TABLES, PARTIAL_RUNS, DATA):
        path = Path(repository) / document
        try:
            before = path.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"{shown(path)}: cannot be read ({error.strerror}).") from None
        after = before
        for name, text in marked_texts(document, results).items():
            after = put_between_markers(after, name, text, shown(path))
        if after == before:
            continue
        if check:
            command = "make tables"
            if Path(results).resolve() != RESULTS:
                command = f"python -m neural_similarity tables --results {shlex.quote(str(results))}"
            tell(f"{shown(path)}: its tables are not up to date. Run: {command}", sys.stderr)
            code = 1
        else:
            write_atomically(path, after)
            say(f"{shown(path)}: written")
    return code


def _for_a_document(table):
    """The table without the note that docs/tables.md replaces."""
    return dataclasses.replace(table, notes=tuple(note for note in table.notes if note != ABOUT_DIFFERENCES))


def _column(table, name):
    return next(column.cells for column in table.columns if column.name == name)


def _paper_values(results):
    return read_paper_values(Path(results) / "paper_values.yaml")
