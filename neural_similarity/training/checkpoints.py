"""Checkpoints: one file for each saved step. A file is there as a whole or not at all, and holds no pickles."""

import contextlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pydantic
from pydantic import Field

from neural_similarity.arrays import ArraysError, read_npz
from neural_similarity.config.messages import validation_problems
from neural_similarity.errors import UserError
from neural_similarity.files import how_to_go_on, put_in_place, set_aside
from neural_similarity.training.logs import Measures, Row, log


class State(pydantic.BaseModel):
    """What a checkpoint holds besides arrays, as JSON.

    Attributes:
        step: how many steps were trained.
        run: the hash of the run that it belongs to (`Details.hash`). Older checkpoints have none.
        pending: what each step since the last row of metrics measured.
        rows: all rows of metrics up to this step. Older checkpoints leave them to `metrics.jsonl`.
        lost_rows: whether rows are missing there, because the run was begun by an older version and lost them.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)
    step: int = Field(ge=0)
    run: str | None = None
    pending: list[Measures] = []
    rows: list[Row] | None = None
    lost_rows: bool = False

    @pydantic.model_validator(mode="after")
    def _fits_together(self):
        if any(row["step"] > self.step for row in self.rows or ()):
            raise ValueError(f"a row of metrics is of a later step than {self.step}")
        if any("loss" not in measures or measures.keys() != self.pending[0].keys() for measures in self.pending):
            raise ValueError("the measures in `pending` are not those of one training")
        return self


class Checkpoints:
    """The checkpoints of a run. That of step 500 is the file `FOLDER/step-000500.npz`.

    A file holds arrays by name, and a `State`. Only the newest files stay: with `keep=2`, after saving at the steps
    500, 1000 and 1500, the files of 1000 and 1500 are left.

    Args:
        folder: where the files are. It is created on the first save.
        run: the hash of the run. It is saved in each checkpoint, and a checkpoint of another run is not loaded.
        keep: how many of the newest checkpoints stay.
    """

    def __init__(self, folder, run=None, keep=1):
        self.folder = Path(folder)
        self.run = run
        self.keep = keep

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending. Files with other names are passed over.

        Raises:
            UserError: the folder cannot be read.
        """
        numbers = (re.fullmatch(r"step-([0-9]{6,15})\.npz", name) for name in self._names())
        return sorted(int(number[1]) for number in numbers if number and self.path(int(number[1])).name == number[0])

    def _check_names(self):
        """Refuses what looks like a checkpoint and has another name, as `step-58.npz`: it may be the newest one."""
        known = {self.path(step).name for step in self.steps()}
        for name in sorted(self._names()):
            if name.startswith("step-") and name.endswith(".npz") and name not in known:
                raise UserError(
                    f"{self.folder / name}: not the name of a checkpoint, which is step-NNNNNN.npz with the step in "
                    "six digits, as step-000058.npz. Rename the file, or move it to another folder."
                )

    def _names(self):
        try:
            return os.listdir(self.folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be read ({error.strerror}).") from None

    def path(self, step: int) -> Path:
        """The file of a step."""
        return self.folder / f"step-{step:06d}.npz"

    def save(
        self,
        step: int,
        arrays: dict[str, np.ndarray],
        pending: Iterable[dict] = (),
        rows: Iterable[dict] = (),
        lost_rows: bool = False,
    ) -> None:
        """Writes the checkpoint of a step, and then deletes the checkpoints that are too old.

        The file is written under another name (`step-000500.unfinished`), synced to the disk, and only then renamed.
        If the disk is full or the process is killed meanwhile, the older checkpoints are still there.

        Args:
            step: how many steps were trained.
            arrays: name → array.
            pending, rows, lost_rows: as in `State`.

        Raises:
            UserError: the disk is full or cannot be written to. What was saved before is still there.
        """
        path, unfinished = self.path(step), self.path(step).with_suffix(".unfinished")
        state = State(step=step, run=self.run, pending=list(pending), rows=list(rows), lost_rows=lost_rows)
        encoded = np.frombuffer(json.dumps(state.model_dump()).encode(), np.uint8)
        try:
            self.folder.mkdir(exist_ok=True)  # and not the run folder, if that was moved away
            with open(unfinished, "wb") as file:
                np.savez(file, **arrays, state=encoded)
                file.flush()
                os.fsync(file.fileno())
            put_in_place(unfinished, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            kept = self.steps()
            raise UserError(
                f"{path}: cannot write the checkpoint ({error.strerror}). "
                + (f"The checkpoint of step {kept[-1]} is still whole. " if kept else "")
                + how_to_go_on(error)
            ) from error
        for old in self.steps()[: -self.keep]:
            self.path(old).unlink()
        for left_over in self.folder.glob("step-*.unfinished"):  # of a process that was killed while it saved
            left_over.unlink()

    def load_newest(self, rename_damaged: bool = False) -> tuple[dict[str, np.ndarray], State] | None:
        """The newest checkpoint that is not damaged: `(arrays, state)`, or None if nothing was saved.

        A damaged checkpoint is passed over with a warning. Say that the steps 500 and 1000 are saved and that the file
        of 1000 is damaged: then the checkpoint of step 500 is returned.

        Args:
            rename_damaged: also renames the damaged files to `step-….npz.damaged`, so that they no longer count as
                checkpoints. Only the process that trains may do this.

        Raises:
            UserError: all checkpoints are damaged, or one is of another run or another step than its name says.
            OSError: a file cannot be read. It may be whole all the same, so it is not called damaged.
        """
        self._check_names()
        damaged = []
        for step in reversed(self.steps()):
            try:
                arrays, state = self.load(step)
            except DamagedError as error:
                damaged.append(error)
                continue
            for error in damaged:
                log.warning("%s Going on from the checkpoint before it, of step %s.", error, f"{step:,}")
                if rename_damaged:
                    set_aside(error.path, "damaged")
            return arrays, state
        if damaged:
            raise UserError(f"{damaged[0]} So is every other checkpoint here. Train anew with another --run-dir.")
        return None

    def load(self, step: int) -> tuple[dict[str, np.ndarray], State]:
        """The arrays (name → array) and the `State` of the checkpoint of a step.

        Raises:
            DamagedError: the file's checksums (CRC-32) do not fit its bytes, a number in it is not finite, or it is no
                checkpoint at all.
            UserError: the file is of another run, or of another step than its name says.
            OSError: the file cannot be read.
        """
        try:
            arrays = read_npz(self.path(step))
            encoded = arrays.pop("state", np.zeros(0, np.uint8))
            state = State.model_validate_json(encoded.tobytes())
        except ArraysError as error:
            raise DamagedError(self.path(step), error) from error
        except pydantic.ValidationError as error:
            raise DamagedError(self.path(step), validation_problems(error)) from None
        self._check_belongs(step, state)
        return arrays, state

    def _check_belongs(self, step, state):
        path = self.path(step)
        if state.step != step:
            raise UserError(
                f"{path}: holds the checkpoint of step {state.step}, which was called {self.path(state.step).name}. "
                "Give the file that name again, or move it to another folder."
            )
        if state.run != self.run:  # both are None in a run of an older version
            raise UserError(
                f"{path}: a checkpoint of another run than run.json tells of. Restore run.json if it was changed, or "
                "move the checkpoint back to the folder of its run."
            )


class DamagedError(UserError):
    """The bytes of a checkpoint, the file `path`, are not those that were written."""

    def __init__(self, path, why):
        super().__init__(f"{path}: damaged ({why}).")
        self.path = path


def collect(**owners) -> dict[str, np.ndarray]:
    """The values of variables by name, for `Checkpoints.save`.

    Args:
        owners: name of each owner → its Keras variables. `collect(model=model.variables)` calls a variable
            `model/<path>`, as `model/conv1_0/kernel`.

    Returns:
        Name → array, with the variable's shape and dtype.
    """
    return {f"{owner}/{v.path}": np.asarray(v) for owner, variables in owners.items() for v in variables}


def restore(arrays: dict[str, np.ndarray], path: str | Path, **owners) -> None:
    """Gives variables the values that `collect` gathered.

    Args:
        arrays: name → array, as `collect` returns it. Arrays of owners that are not named here are left out.
        path: the file that they are from, for messages.
        owners: as for `collect`.

    Raises:
        UserError: a variable has no array, an array has no variable, or the two differ in shape or dtype. No variable
            is changed then.
    """
    variables = {f"{owner}/{v.path}": v for owner, variables in owners.items() for v in variables}
    arrays = {name: array for name, array in arrays.items() if name.split("/")[0] in owners}
    differing = sorted(set(variables) ^ set(arrays))
    differing = differing or [name for name, v in variables.items() if _kind(np.asarray(v)) != _kind(arrays[name])]
    if differing:
        name = differing[0]
        there = _kind(arrays[name]) if name in arrays else "missing"
        expected = _kind(np.asarray(variables[name])) if name in variables else "no such array"
        raise UserError(f"{path}: of another network than the run's config: {name} is {there}; expected {expected}.")
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _kind(array):
    """The dtype and the shape in words: "float32 (3, 3, 8)"."""
    return f"{array.dtype} {array.shape}"
