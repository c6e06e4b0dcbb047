"""What a run writes for programs (metrics.jsonl, metrics.csv, TensorBoard), and the log that speaks to people."""

import contextlib
import csv
import io
import itertools
import json
import logging
import os
from pathlib import Path
from typing import Annotated

import pydantic

from neural_similarity.errors import UserError
from neural_similarity.files import read_at_most, set_aside, write_atomically
from neural_similarity.training.results import validation_problems

log = logging.getLogger("neural_similarity")

_MOST_BYTES = 1_000_000_000  # of metrics.jsonl, where a step takes about 20
_RENAMED = {"fit": "cross_entropy"}  # what earlier versions called a measure → what it is called today


def _checked_row(row):
    step, split = row.get("step"), row.get("split")
    if not isinstance(step, int) or step < 1:
        raise ValueError("`step` must be a whole number from 1 on")
    if not isinstance(split, str):
        raise ValueError("`split` must be a text, as `train`")
    for name, value in row.items():
        if isinstance(value, str) and name != "split":
            raise ValueError(f"`{name}` must be a number")
    return row


_strict = pydantic.Field(strict=True)
Measures = dict[str, Annotated[int, _strict] | Annotated[float, _strict]]
# One row of metrics: {"step": 10, "split": "train", "loss": 2.31, …}
Row = Annotated[
    dict[str, Annotated[int, _strict] | Annotated[float, _strict] | Annotated[str, _strict]],
    pydantic.AfterValidator(_checked_row),
]
_ROW = pydantic.TypeAdapter(Row)


class Metrics:
    """The rows of `metrics.jsonl`: in each, the numbers of one split at one step.

    A row is `{"step": 10, "split": "train", "loss": 2.31, …}`. `metrics.csv` holds the same rows as a table.

    Each checkpoint holds the rows up to its step, too. The file is made to hold exactly those again: rows of later
    steps go, because these steps are trained again. After a crash at step 28 with a checkpoint of step 14, the row of
    step 20 goes. If the file lacks rows that the checkpoint has, or has others, the file is set aside and written anew.

    Args:
        folder: the run folder.
        rows: the rows up to the step that training goes on from.
    """

    def __init__(self, folder, rows=()):
        self.path = Path(folder) / "metrics.jsonl"
        self.rows = list(rows)
        self._set_aside_if_changed()
        write_atomically(self.path, "".join(map(_line, self.rows)))
        self._board = _tensorboard(folder)

    def _set_aside_if_changed(self):
        """Renames the file if its beginning is not `rows`, and says from which step on."""
        found = []
        with contextlib.suppress(UserError):
            found.extend(row for row in _rows(self.path))
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(found, self.rows, strict=False)))
        if same == len(self.rows):
            return
        first = self.rows[same]["step"]
        if not self.path.exists():
            log.warning("%s: missing. It is written anew, from the checkpoint.", self.path)
            return
        aside = set_aside(self.path, "changed")
        log.warning(
            "%s: not as this run wrote it, from step %s on. It is written anew, from the checkpoint; what was there is "
            "now %s.",
            self.path,
            f"{first:,}",
            aside.name,
        )

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
        UserError: a line before the last is no row, or two rows are of the same step and split.
    """
    return list(_rows(path))


def _rows(path):
    """Yields the rows of a file; raises the `UserError` of `read_rows` once it comes to a wrong line."""
    try:
        lines = read_at_most(path, _MOST_BYTES).splitlines() if path.exists() else []
    except ValueError as error:
        raise UserError(f"{path}: no file of metrics ({error}). Move it to another place.") from None
    seen = set()
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            row = as_today(_ROW.validate_json(line))
        except pydantic.ValidationError as error:
            if number == len(lines):
                return
            problems = validation_problems(error)
            raise UserError(f"{where}: damaged ({problems}). Delete the line and try again.") from None
        name = row["step"], row["split"]
        if name in seen:
            raise UserError(f"{where}: a second row of step {name[0]}, {name[1]}. Delete one of them and try again.")
        seen.add(name)
        yield row


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
