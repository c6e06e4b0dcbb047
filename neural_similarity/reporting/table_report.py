"""The HTML page of a table."""

import shlex
from pathlib import Path

from neural_similarity import config as configs
from neural_similarity.files import shown
from neural_similarity.reporting import plans
from neural_similarity.reporting.curves import points
from neural_similarity.reporting.pages import RUNS, Link, PageSection, Picture, page, relative, tried, written
from neural_similarity.reporting.paper_values import read_paper_values
from neural_similarity.reporting.plots import training_figure
from neural_similarity.reporting.record import RESULTS, read_all_results
from neural_similarity.reporting.result_table import how_it_was_run, measured_at, result_table
from neural_similarity.training.logs import read_rows


def table_page(
    plan: plans.Plan, path: Path, results: str | Path = RESULTS, runs: Path = RUNS, called: str | None = None
) -> str:
    """The HTML page of a table: the table at every scale that has result lines, the curves, and the runs.

    Args:
        plan: the `Plan`.
        path: where the page will be, for its links.
        results: folder of the result lines.
        runs: folder of the run folders. Curves are drawn of those that are there and finished; of a row that has none,
            of those that have begun.
        called: what the command line calls the table; by default its name.
    """
    command = f"python reproduce_tables.py --table {shlex.quote(called or plan.name)}"
    lines = read_all_results(results)
    paper_values = read_paper_values(Path(results) / "paper_values.yaml")
    sections = []
    for one in measured_at(plan, lines):
        folders = {run: configs.run_folder(run.config, run.row.config, runs) for run in one.runs()}
        there = {run: folder for run, folder in folders.items() if (folder / "run.json").exists()}
        texts, pictures = tried(lambda there=there: _curves(there)) if there else ([], [])
        table = result_table(one, lines, paper_values)
        links = [_link_to(run, folder, path) for run, folder in there.items()]
        sections.append(PageSection(how_it_was_run(one), texts, pictures, [table], (), links))
    if not sections:
        sections = [PageSection("Results", [f"No finished run is recorded yet. Next: {command}"])]
    pairs = [(row.method, " ".join([row.config, *(f"--set {text}" for text in row.set)])) for row in plan.rows]
    sections.append(PageSection("Rows", pairs=pairs))
    reproduces = "" if plan.reproduces == plans.NOTHING else f"Reproduces: {plan.reproduces}. "
    return page(
        title=plan.title,
        subtitle=f"{reproduces}Trained by: {command}",
        sections=sections,
        footer=written(shown(Path(results))),
    )


def _curves(there):
    """A picture of the runs in folders {planned run: folder}, in a list."""
    by_method = {}
    for run, folder in there.items():
        by_method.setdefault(run.row.method, []).append(folder)
    drawn = []
    for folders in by_method.values():
        finished = [folder for folder in folders if (folder / "result.json").exists()]
        begun = [folder for folder in folders if points(read_rows(folder / "metrics.jsonl"), "train", "loss")]
        drawn += finished or begun
    if not drawn:
        return []
    caption = (
        "Of the runs whose folders are here. Several seeds are one curve, their mean, in a band from the lowest to the "
        "highest of them."
    )
    return [Picture.of(training_figure(drawn), "Training loss and accuracy of all rows", caption)]


def _link_to(run, folder, path):
    report = folder / "report.html"
    text = f"{run.row.method}, seed {run.seed}"
    if report.exists():
        return Link(text, relative(report, path))
    return Link(text, None, f"(its page is written by: python -m neural_similarity report {shown(folder)})")
