"""Writes the tables of the documents anew: `python -m neural_similarity tables`.

README.md has the table of experiments, and the rows of the shipped recipes. docs/partial_runs.md has all other rows.
docs/data.md has the data sets.
"""

import shlex
import sys
from pathlib import Path

from neural_similarity.config import REPOSITORY
from neural_similarity.data.streams import say, tell
from neural_similarity.errors import UserError
from neural_similarity.files import shown, write_atomically
from neural_similarity.reporting.data_sets import data_sets
from neural_similarity.reporting.experiments import experiments
from neural_similarity.reporting.markdown import as_markdown, put_between_markers
from neural_similarity.reporting.paper_values import read_paper_values
from neural_similarity.reporting.record import RESULTS, read_results
from neural_similarity.reporting.summary import summarize

README, PARTIAL_RUNS, DATA = "README.md", "docs/partial_runs.md", "docs/data.md"


def tables(document: str, results: str | Path = RESULTS) -> str:
    """The Markdown of the result tables of one document, a table for each file of results.

    Args:
        document: `README` or `PARTIAL_RUNS`, a path from the repository's root. The links are relative to it.
        results: folder of the `.jsonl` files and of `paper_values.yaml`.
    """
    root = "../" * document.count("/")
    paper_values = read_paper_values(Path(results) / "paper_values.yaml")
    parts = []
    for path in sorted(Path(results).glob("*.jsonl")):
        lines = [line for line in read_results(path) if (line.recipe == "custom") == (document == PARTIAL_RUNS)]
        if lines:
            links = f"[its lines]({root}results/{path.name}) ([what the columns mean]({root}docs/results.md#a-table))"
            in_paper = document == README and path.stem != "quickstart"
            table = summarize(lines, paper_values if in_paper else None)
            parts.append(f"**{path.stem}**, from {links}\n\n{as_markdown(table)}")
    return "\n\n".join(parts or ["No finished run is recorded yet."])


def marked_texts(document: str, results: str | Path = RESULTS) -> dict[str, str]:
    """What stands between the markers of a document: {name of the markers: Markdown}.

    Args:
        document: `README`, `PARTIAL_RUNS` or `DATA`.
        results: folder of the `.jsonl` files.
    """
    if document == DATA:
        return {"data-sets": as_markdown(data_sets())}
    texts = {"results": tables(document, results)}
    if document == README:
        recorded = Path(results) / "cifar10.jsonl"
        lines = read_results(recorded) if recorded.exists() else []
        texts["experiments"] = as_markdown(experiments(lines))
    return texts


def write(results: str | Path = RESULTS, check: bool = False, repository: str | Path = REPOSITORY) -> int:
    """Writes the tables of all documents between their markers, and prints the README's result tables.

    Args:
        results: folder of the `.jsonl` files.
        check: writes nothing, and only says which documents are not up to date.
        repository: the folder that holds the documents.

    Returns:
        The exit code: 1 if `check` found a document that is not up to date, else 0.

    Raises:
        UserError: a result line is damaged, a document cannot be read, or a document lacks the markers.
    """
    readme_tables = tables(README, results)
    try:
        return _write_documents(results, check, repository)
    finally:  # last, so that the documents are written whoever reads; and also where one cannot be written
        say(readme_tables)


def _write_documents(results, check, repository):
    code = 0
    for document in (README, PARTIAL_RUNS, DATA):
        path = Path(repository) / document
        try:
            before = path.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"{shown(path)}: cannot be read ({error.strerror}).") from None
        after = before
        for name, text in marked_texts(document, results).items():
            after = put_between_markers(after, name, text, shown(path))
        if check and after != before:
            command = "make tables"
            if Path(results).resolve() != RESULTS:
                command = f"python -m neural_similarity tables --results {shlex.quote(str(results))}"
            tell(f"{shown(path)}: its tables are not up to date. Run: {command}", sys.stderr)
            code = 1
        elif after != before:
            write_atomically(path, after)
    return code
