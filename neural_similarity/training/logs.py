"""What a run writes for programs (metrics.jsonl, metrics.csv, TensorBoard), and the log that speaks to people."""

import contextlib
import csv
import io
import itertools
import json
import logging
import operator
from pathlib import Path
from typing import Annotated

import pydantic

from neural_similarity.config.messages import validation_problems
from neural_similarity.errors import UserError
from neural_similarity.files import how_to_go_on, read_at_most, set_aside, write_atomically

log = logging.getLogger("neural_similarity")

LOG_EVERY_STEPS = 10
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
    step 20 goes. Whatever would be lost by that is kept under another name, `metrics.jsonl.earlier`.

    Args:
        folder: the run folder; None keeps the rows in memory alone.
        rows: the rows up to the step that training goes on from.
    """

    def __init__(self, folder, rows=()):
        self.rows = list(rows)
        self.path = self._board = None
        if folder is None:
            return
        self.path = Path(folder) / "metrics.jsonl"
        self._set_aside_if_it_holds_more()
        write_atomically(self.path, self._text())
        self._board = _tensorboard(folder)

    def _set_aside_if_it_holds_more(self):
        """Renames the file, and says why, if it holds something that `rows` do not."""
        try:
            there = read_at_most(self.path, _MOST_BYTES)
        except FileNotFoundError:
            if self.rows:
                log.warning("%s: missing. It is written anew, from the checkpoint.", self.path)
            return
        except ValueError as error:
            why = f"no file of metrics ({error})"
        else:
            written = [_line(row).encode() for row in self.rows]
            found = there.splitlines(keepends=True)
            same = sum(1 for _ in itertools.takewhile(bool, map(operator.eq, found, written)))
            if same < len(written):
                why = f"not as this run wrote it, from step {self.rows[same]['step']:,} on"
            elif len(found) > same + (not there.endswith(b"\n")):  # a line without its end was cut by a kill
                why = "goes further than the checkpoint, and the steps since then are trained again"
            else:
                return
        aside = set_aside(self.path, "earlier")
        log.warning("%s: %s. What was there is now %s.", self.path, why, aside.name)

    def _text(self):
        return "".join(map(_line, self.rows))

    def add(self, step: int, split: str, **values: float) -> None:
        """Appends a row: the `values`, by name, of one split at one step."""
        row = {"step": step, "split": split, **values}
        self.rows.append(row)
        if self.path is None:
            return
        with _writing(self.path), open(self.path, "a") as file:
            file.write(_line(row))
        if self._board:
            self._board(row)

    def save(self):
        """Writes all rows anew, to `metrics.jsonl` and as a table to `metrics.csv`, and syncs them to the disk.

        Called before each checkpoint, so that after a power cut no row from before the checkpoint is missing.
        """
        with _writing(self.path):
            write_atomically(self.path, self._text())
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        table = io.StringIO()
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        with _writing(self.path.with_suffix(".csv")):
            write_atomically(self.path.with_suffix(".csv"), table.getvalue())


def first_lost_step(rows, step, evaluate_every_steps, train_steps) -> int | None:
    """The first step that was trained or evaluated and has no row, for each of the splits that there are; or None.

    Args:
        rows: the rows that are there.
        step: up to which step there should be rows.
        evaluate_every_steps: steps between two evaluations.
        train_steps: the last step. Its evaluation is not looked for, as it can be done again.
    """
    splits = {row["split"] for row in rows} | {"train"}
    every = {split: LOG_EVERY_STEPS if split == "train" else evaluate_every_steps for split in splits}
    expected = {(n, split) for split in splits for n in range(every[split], step + 1, every[split])}
    expected -= {(train_steps, split) for split in splits - {"train"}}
    return min((n for n, _ in expected - {(row["step"], row["split"]) for row in rows}), default=None)


def rows_of_older_run(path: Path) -> list[dict]:
    """`read_rows`, and writes the file anew if it has names that earlier versions used."""
    rows = read_rows(path)
    text = "".join(map(_line, rows))
    if rows and not path.read_bytes().startswith(text.encode()):
        write_atomically(path, text)
    return rows


def read_rows(path: Path) -> list[dict]:
    """The rows of a `metrics.jsonl`, under today's names; an empty list if there is no such file.

    A last line that is incomplete is left out: the process was killed while it wrote that line.

    Raises:
        UserError: a line before the last is no row, or two rows are of the same step and split.
    """
    try:
        lines = read_at_most(path, _MOST_BYTES).splitlines() if path.exists() else []
    except ValueError as error:
        raise UserError(f"{path}: no file of metrics ({error}). Move it to another place.") from None
    rows, seen = [], set()
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            row = as_today(_ROW.validate_json(line))
        except pydantic.ValidationError as error:
            if number == len(lines):
                break
            problems = validation_problems(error)
            raise UserError(f"{where}: damaged ({problems}). Delete the line and try again.") from None
        name = row["step"], row["split"]
        if name in seen:
            raise UserError(f"{where}: a second row of step {name[0]}, {name[1]}. Delete one of them and try again.")
        seen.add(name)
        rows.append(row)
    return rows


def as_today(measures: dict) -> dict:
    """The same measures under today's names: `fit`, as earlier versions wrote it, becomes `cross_entropy`.

    Args:
        measures: {name: number}, a row of metrics or what one step measured.
    """
    return {_RENAMED.get(name, name): value for name, value in measures.items()}


def _line(row):
    return json.dumps(row) + "\n"


@contextlib.contextmanager
def _writing(path):
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}). {how_to_go_on(error)}") from error


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
