"""Writes the HTML report of a run or of a table: one file that opens from the disk, without a network.

python -m neural_similarity report RUN|TABLE [--out report.html] [--watch]
"""

import time
from collections.abc import Iterator
from pathlib import Path

from neural_similarity.errors import UserError
from neural_similarity.files import shown, write_atomically
from neural_similarity.reporting import plans
from neural_similarity.reporting.pages import RUNS
from neural_similarity.reporting.run_report import run_page
from neural_similarity.reporting.table_report import table_page
from neural_similarity.training.runs import open_run


def write_report(what: str, out: Path | None = None, watch_seconds: float | None = None) -> Iterator[str]:
    """Writes a report. Yields the path of the file, and when watching a line each time that it is written.

    Args:
        what: the folder of a run, or the name or the file of a table.
        out: the file to write; by default `report.html` in the run's folder, or `runs/tables/NAME.html`.
        watch_seconds: for a run: looks again after so many seconds, and writes the file anew whenever the run went on,
            until the run is finished.

    Raises:
        UserError: there is no such run or table, or the file cannot be written.
    """
    if (Path(what) / "run.json").exists():
        run = open_run(what)
        path = out or run.folder / "report.html"
        yield from _watch(run, path, watch_seconds) if watch_seconds else [_write(path, run_page(run, path))]
        return
    if what not in plans.names() and not Path(what).is_file():
        raise UserError(
            f"{what}: neither a run's folder nor a table. A train.py prints the folder of its run; the tables: "
            f"{', '.join(plans.names())}."
        )
    if watch_seconds:
        raise UserError(f"{what}: a table, and --watch is for a run that is training. Leave out --watch.")
    plan = plans.load_plan(what)
    path = out or RUNS / "tables" / f"{plan.name}.html"
    yield _write(path, table_page(plan, path, called=what))


def _write(path, text):
    if path.is_dir():
        raise UserError(f"{shown(path)}: a folder. Name a file with --out.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text + "\n")
    except OSError as error:
        raise UserError(f"{shown(path)}: cannot be written ({error.strerror}). Next: --out another file") from None
    return shown(path)


def _watch(run, path, seconds):
    seen = None
    while True:
        state = _state(run)
        finished = run.result is not None
        if state != seen:
            yield _write(path, run_page(run, path, None if finished else seconds))
        seen = state
        if finished:
            return
        time.sleep(seconds)


def _state(run):
    """What changes whenever a run goes on: the times of its files."""
    names = ("metrics.jsonl", "result.json", "checkpoints")
    return [(run.folder / name).stat().st_mtime_ns for name in names if (run.folder / name).exists()]
