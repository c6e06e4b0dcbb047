"""What a run records for programs (metrics.jsonl, metrics.csv, TensorBoard) and says to people."""

import csv
import io
import json
import logging
import os
from pathlib import Path

from neural_similarity.errors import UserError
from neural_similarity.files import write_atomically

log = logging.getLogger("neural_similarity")

_RENAMED = {"fit": "cross_entropy"}  # measures that earlier versions called otherwise


class Metrics:
    """The rows of `metrics.jsonl`, and `metrics.csv` as a view of them.

    Args:
        folder: the run folder.
        step: where training goes on; rows past it, written after the last checkpoint, are dropped.
    """

    def __init__(self, folder, step=0):
        self.path = Path(folder) / "metrics.jsonl"
        self.rows = [row for row in read_rows(self.path) if row["step"] <= step]
        write_atomically(self.path, "".join(map(_line, self.rows)))
        self._board = _tensorboard(folder)

    def add(self, step, split, **values):
        """Appends one row: the numbers of one split at one step."""
        row = {"step": step, "split": split, **values}
        self.rows.append(row)
        with open(self.path, "a") as file:
            file.write(_line(row))
        if self._board:
            self._board(row)

    def sync(self):
        """Makes the rows outlive a power cut, as a checkpoint that was written after them does."""
        with open(self.path, "a") as file:
            os.fsync(file.fileno())

    def write_csv(self):
        """Writes all rows as a table, one column per name."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        table = io.StringIO()
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.path.with_suffix(".csv"), table.getvalue())


def read_rows(path):
    """The rows of a `metrics.jsonl`, less a last line that was cut off; none where there is no file.

    Raises:
        UserError: another line is damaged.
    """
    rows, lines = [], path.read_text().splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(as_today(json.loads(line)))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise UserError(f"{path}, line {number}: damaged ({error}). Delete the line and try again.") from error
    return rows


def as_today(measures):
    """A row of metrics, or one step's measures, under today's names."""
    return {_RENAMED.get(name, name): value for name, value in measures.items()}


def _line(row):
    return json.dumps(row) + "\n"


def _tensorboard(folder):
    """A function that writes a row for TensorBoard where that is installed, or None."""
    try:
        import tensorboard  # noqa: F401  TensorFlow no longer brings it
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
