"""What a run writes for programs (metrics.jsonl, metrics.csv, TensorBoard), and the log that speaks to people."""

import csv
import io
import json
import logging
import os
from pathlib import Path

from neural_similarity.errors import UserError
from neural_similarity.files import write_atomically

log = logging.getLogger("neural_similarity")

_RENAMED = {"fit": "cross_entropy"}  # what earlier versions called a measure → what it is called today


class Metrics:
    """The rows of `metrics.jsonl`: in each, the numbers of one split at one step.

    A row is `{"step": 10, "split": "train", "loss": 2.31, …}`. `metrics.csv` holds the same rows as a table.

    Args:
        folder: the run folder.
        step: the step of the checkpoint that training goes on from. Rows of later steps are dropped, because those
            steps are trained again: after a crash at step 28 with a checkpoint of step 14, the row of step 20 goes.
    """

    def __init__(self, folder, step=0):
        self.path = Path(folder) / "metrics.jsonl"
        self.rows = [row for row in read_rows(self.path) if row["step"] <= step]
        write_atomically(self.path, "".join(map(_line, self.rows)))
        self._board = _tensorboard(folder)

    def add(self, step: int, split: str, **values: float) -> None:
        """Appends a row: the `values`, by name, of one split at one step."""
        row = {"step": step, "split": split, **values}
        self.rows.append(row)
        with open(self.path, "a") as file:
            file.write(_line(row))
        if self._board:
            self._board(row)

    def sync(self):
        """Waits until the rows are on the disk.

        Called before each checkpoint, so that after a power cut no row from before the checkpoint is missing.
        """
        with open(self.path, "a") as file:
            os.fsync(file.fileno())

    def write_csv(self):
        """Writes all rows to `metrics.csv`, with one column per name."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        table = io.StringIO()
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.path.with_suffix(".csv"), table.getvalue())


def read_rows(path: Path) -> list[dict]:
    """The rows of a `metrics.jsonl`, under today's names; an empty list if there is no such file.

    A last line that is incomplete is left out: the process was killed while it wrote that line.

    Raises:
        UserError: a line before the last is damaged.
    """
    rows, lines = [], path.read_text().splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(as_today(json.loads(line)))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise UserError(f"{path}, line {number}: damaged ({error}). Delete the line and try again.") from error
    return rows


def as_today(measures: dict) -> dict:
    """The same measures under today's names: `fit`, as earlier versions wrote it, becomes `cross_entropy`.

    Args:
        measures: {name: number}, a row of metrics or what one step measured.
    """
    return {_RENAMED.get(name, name): value for name, value in measures.items()}


def _line(row):
    return json.dumps(row) + "\n"


def _tensorboard(folder):
    """A function that also writes a row for TensorBoard; None where TensorBoard is not installed."""
    try:
        import tensorboard  # noqa: F401  TensorFlow no longer installs it
        import tensorflow as tf
    except ImportError:
        return None
    writer = tf.summary.create_file_writer(str(Path(folder) / "tensorboard"))

    def write(row):
        with writer.as_default(step=row["step"]):
            for name, value in row.items():
                if isinstance(value, float):
                    tf.summary.scalar(f"{row['split']}/{name}", value)

    return write
