"""Checkpoints: one file for each saved step. A file is there as a whole or not at all, and holds no pickles."""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pydantic
from pydantic import Field

from neural_similarity.arrays import ArraysError, read_npz
from neural_similarity.errors import UserError
from neural_similarity.files import put_in_place, set_aside
from neural_similarity.training.logs import Measures, Row, log
from neural_similarity.training.results import validation_problems


class State(pydantic.BaseModel):
    """What a checkpoint holds besides arrays, as JSON.

    Attributes:
        step: how many steps were trained.
        run: the hash of the run that it belongs to (`Run.hash`). Older checkpoints have none.
        pending: what each step since the last row of metrics measured.
        rows: all rows of metrics up to this step. Older checkpoints leave them to `metrics.jsonl`.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)
    step: int = Field(ge=0)
    run: str | None = None
    pending: list[Measures] = []
    rows: list[Row] | None = None


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
        """The steps that have a checkpoint, ascending.

        Raises:
            UserError: a file is called like a checkpoint, but not as one is called: `step-58.npz`.
        """
        steps = []
        for path in self.folder.glob("step-*.npz"):
            step = re.fullmatch(r"step-(\d{1,15})\.npz", path.name, re.ASCII)
            if not step or self.path(int(step[1])) != path:
                raise UserError(
                    f"{path}: not the name of a checkpoint; that of step 58 is called {self.path(58).name}. "
                    "Rename the file, or move it to another folder."
                )
            steps.append(int(step[1]))
        return sorted(steps)

    def path(self, step: int) -> Path:
        """The file of a step."""
        return self.folder / f"step-{step:06d}.npz"

    def save(
        self, step: int, arrays: dict[str, np.ndarray], pending: Iterable[dict] = (), rows: Iterable[dict] = ()
    ) -> None:
        """Writes the checkpoint of a step, and then deletes the checkpoints that are too old.

        The file is written under another name (`step-000500.unfinished`), synced to the disk, and only then renamed.
        If the disk is full or the process is killed meanwhile, the older checkpoints are still there.

        Args:
            step: how many steps were trained.
            arrays: name → array.
            pending: as in `State`.
            rows: as in `State`.

        Raises:
            UserError: the disk is full or cannot be written to. What was saved before is still there.
        """
        path, unfinished = self.path(step), self.path(step).with_suffix(".unfinished")
        state = {"step": step, "run": self.run, "pending": list(pending), "rows": list(rows)}
        encoded = np.frombuffer(json.dumps(state).encode(), np.uint8)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(unfinished, "wb") as file:
                np.savez(file, **arrays, state=encoded)
                file.flush()
                os.fsync(file.fileno())
            put_in_place(unfinished, path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            kept = self.steps()
            raise UserError(
                f"{path}: cannot write the checkpoint ({error.strerror}). "
                + (f"The checkpoint of step {kept[-1]} is still whole. " if kept else "")
                + "Make room on that disk, then go on with --resume."
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
        if self.run is not None and state.run != self.run:
            raise UserError(f"{path}: a checkpoint of another run. Move it back to the folder of that run.")


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


def restore(arrays: dict[str, np.ndarray], **owners) -> None:
    """Gives variables the values that `collect` gathered.

    Args:
        arrays: name → array, as `collect` returns it. Arrays of owners that are not named here are left out.
        owners: as for `collect`.

    Raises:
        UserError: a variable has no array, an array has no variable, or the two differ in shape or dtype. No variable
            is changed then.
    """
    variables = {f"{owner}/{v.path}": v for owner, variables in owners.items() for v in variables}
    arrays = {name: array for name, array in arrays.items() if name.split("/")[0] in owners}
    differing = sorted(set(variables) ^ set(arrays))
    differing = differing or [name for name, v in variables.items() if not _alike(np.asarray(v), arrays[name])]
    if differing:
        raise UserError(
            f"This checkpoint belongs to another network: {differing[0]} differs. Use the config of its run."
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _alike(one, other):
    return (one.shape, one.dtype) == (other.shape, other.dtype)
