"""Checkpoints: one file each, written whole or not at all, without pickles."""

import io
import json
import os
import re
import zipfile
from pathlib import Path

import numpy as np

from neural_similarity.errors import UserError
from neural_similarity.files import put_in_place
from neural_similarity.training.logs import log


class Checkpoints:
    """The last `keep` checkpoints of a run: `FOLDER/step-000500.npz`, arrays by name and a little JSON.

    Args:
        folder: created on the first save.
        keep: how many of the newest stay.
    """

    def __init__(self, folder, keep=1):
        self.folder = Path(folder)
        self.keep = keep

    def steps(self):
        """The steps that are there, ascending."""
        found = (re.fullmatch(r"step-(\d+)\.npz", path.name) for path in self.folder.glob("step-*.npz"))
        return sorted(int(match[1]) for match in found if match)

    def path(self, step):
        """The file of a step."""
        return self.folder / f"step-{step:06d}.npz"

    def save(self, step, arrays, state):
        """Writes `arrays` (name → array) and `state` (JSON-able) for `step`; what was there stays until that is whole.

        Raises:
            UserError: the disk is full or refuses; what was saved before is still there.
        """
        path, unfinished = self.path(step), self.path(step).with_suffix(".unfinished")
        state = np.frombuffer(json.dumps({**state, "step": step}).encode(), np.uint8)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(unfinished, "wb") as file:
                np.savez(file, **arrays, state=state)
                file.flush()
                os.fsync(file.fileno())
            put_in_place(unfinished, path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            kept = self.steps()
            raise UserError(
                f"{path}: cannot write the checkpoint ({error.strerror}). "
                + (f"The one of step {kept[-1]} is whole. " if kept else "")
                + "Make room there and go on with --resume."
            ) from error
        for old in self.steps()[: -self.keep]:
            self.path(old).unlink()
        for killed in self.folder.glob("step-*.unfinished"):  # a save that did not get this far
            killed.unlink()

    def load_newest(self, set_aside=False):
        """(step, arrays, state) of the newest checkpoint that is whole, or None if none was saved.

        Damaged ones are passed over, and said to be. `set_aside` also renames them to `step-….npz.damaged`, so that
        they count no longer; for the process that trains.

        Raises:
            UserError: all are damaged.
            OSError: one cannot be read, which says nothing of its bytes.
        """
        damaged = []
        for step in reversed(self.steps()):
            try:
                found = step, *self.load(step)
            except DamagedError as error:
                damaged.append(error)
                continue
            for error in damaged:
                log.warning("%s Going on from the one before, of step %s.", error, f"{step:,}")
                if set_aside:
                    error.path.rename(f"{error.path}.damaged")
            return found
        if damaged:
            raise UserError(f"{damaged[0]} So is every other here. Train anew with another --run-dir.")
        return None

    def load(self, step):
        """The arrays (name → array) and the state that `save` was given.

        Raises:
            DamagedError: the bytes do not have the checksums (CRC-32) they were written with, or are no checkpoint.
            OSError: the file cannot be read.
        """
        content = self.path(step).read_bytes()
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                wrong = archive.testzip()
            if wrong:
                raise zipfile.BadZipFile(f"wrong checksum of {wrong}")
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            return arrays, json.loads(arrays.pop("state").tobytes())
        except MemoryError:
            raise
        except Exception as error:  # zip, zlib, header and JSON damage each raise their own
            raise DamagedError(self.path(step), error) from error


class DamagedError(UserError):
    """A checkpoint whose bytes are not those that were written."""

    def __init__(self, path, why):
        super().__init__(f"{path}: damaged ({why}).")
        self.path = path


def collect(**owners):
    """Name → array of every variable: `collect(model=model.variables)` names them `model/<path>`."""
    return {f"{owner}/{v.path}": np.asarray(v) for owner, variables in owners.items() for v in variables}


def restore(arrays, **owners):
    """Assigns what `collect` gathered.

    Raises:
        UserError: the names or shapes are not those of the variables.
    """
    wanted = {f"{owner}/{v.path}": v for owner, variables in owners.items() for v in variables}
    arrays = {name: array for name, array in arrays.items() if name.split("/")[0] in owners}
    odd = sorted(set(wanted) ^ set(arrays)) or [n for n, v in wanted.items() if tuple(v.shape) != arrays[n].shape]
    if odd:
        raise UserError(f"This checkpoint belongs to another network: {odd[0]} differs. Use the config of its run.")
    for name, variable in wanted.items():
        variable.assign(arrays[name])
