"""Which tables stand in which document: `python -m neural_similarity tables` writes them anew from the result lines.

The README has the experiments and the rows of the shipped recipes; docs/partial_runs.md has all other rows.
"""

import sys
from pathlib import Path

from neural_similarity.config import REPOSITORY
from neural_similarity.errors import UserError
from neural_similarity.files import shown, write_atomically
from neural_similarity.reporting.experiments import experiments
from neural_similarity.reporting.markdown import as_markdown, put_between_markers
from neural_similarity.reporting.paper_values import read_paper_values
from neural_similarity.reporting.record import RESULTS, read
from neural_similarity.reporting.summary import summarize

README, PARTIAL_RUNS = "README.md", "docs/partial_runs.md"


def tables(document, results=RESULTS):
    """The Markdown of the result tables of one document, one for each set.

    Args:
        document: `README` or `PARTIAL_RUNS`, the path from the repository's root; links start there.
        results: folder of the `.jsonl` files and of `paper_values.yaml`.
    """
    root = "../" * document.count("/")
    paper_values = read_paper_values(Path(results) / "paper_values.yaml")
    parts = []
    for path in sorted(Path(results).glob("*.jsonl")):
        lines = [line for line in read(path) if (line.recipe == "custom") == (document == PARTIAL_RUNS)]
        if lines:
            links = f"[its lines]({root}results/{path.name}) ([what the columns mean]({root}docs/results.md#a-table))"
            in_paper = document == README and path.stem != "quickstart"
            table = summarize(lines, paper_values if in_paper else None)
            parts.append(f"**{path.stem}**, from {links}\n\n{as_markdown(table)}")
    return "\n\n".join(parts or ["No finished run is recorded yet."])


def write(results=RESULTS, check=False, repository=REPOSITORY):
    """Prints the README's tables and puts the tables of both documents between their markers.

    Args:
        results: folder of the `.jsonl` files.
        check: writes nothing.
        repository: the folder that holds the documents.

    Returns:
        The exit code: 1 if `check` found other tables in a document, else 0.

    Raises:
        UserError: a line is damaged, or a document cannot be read or lacks the markers.
    """
    code = 0
    print(tables(README, results))
    for document in (README, PARTIAL_RUNS):
        path = Path(repository) / document
        try:
            before = path.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"{shown(path)}: cannot be read ({error.strerror}).") from None
        after = put_between_markers(before, "results", tables(document, results), shown(path))
        if document == README:
            lines = read(Path(results) / "cifar10.jsonl")
            after = put_between_markers(after, "experiments", as_markdown(experiments(lines)), shown(path))
        if check and after != before:
            print(f"{shown(path)}: its tables are not those of {shown(results)}. Run: make tables", file=sys.stderr)
            code = 1
        elif after != before:
            write_atomically(path, after)
    return code
