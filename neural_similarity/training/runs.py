"""Run folders: what a run leaves in its folder, and whether a training may start or go on there."""

import json
import shlex
from pathlib import Path

import keras
import pydantic
import yaml

from neural_similarity.config import REPOSITORY, Experiment, differing_keys, load
from neural_similarity.config.messages import validation_problems
from neural_similarity.errors import UserError
from neural_similarity.files import read_at_most, shown, write_atomically
from neural_similarity.training.checkpoints import Checkpoints, restore
from neural_similarity.training.details import Details
from neural_similarity.training.results import Result
from neural_similarity.training.runtime import Runtime

_BEFORE_A_RUN = {
    "config.yaml",
    "config.yaml.unfinished",
    "run.json.unfinished",
    "lock",
    "claim",  # of the runner of a table
}  # what a start that was cut short leaves
_MOST_BYTES = 10_000_000  # of run.json, which lists the classes
_ANEW = "Restore it, or train anew with --run-dir DIR."


class Run:
    """A run's folder.

    It holds `config.yaml`, `run.json` (see `details`), `metrics.jsonl`, `metrics.csv`, the folder `checkpoints`, and
    `result.json` once the run is finished. docs/results.md explains them.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    @property
    def exists(self) -> bool:
        """Whether a run was begun here."""
        return (self.folder / "run.json").exists()

    @property
    def details(self) -> Details:
        """What `run.json` holds.

        Raises:
            UserError: the file is missing, damaged, or does not belong to `config.yaml`.
        """
        return self._details_and_config()[0]

    def _details_and_config(self):
        details, config = self._read("run.json", Details, lambda: _ANEW), self._load_config()
        if details.hash is not None and details.with_hash(config).hash != details.hash:
            raise UserError(
                f"{self.shown()}: config.yaml or run.json was changed since the run began; they no longer belong "
                "together. Restore them, or train anew with --run-dir DIR."
            )
        return details, config

    @property
    def facts(self) -> dict:
        """What the data must be whenever the run goes on, by name: for images, their classes and a checksum."""
        return self.details.facts

    @property
    def checkpoints(self) -> Checkpoints:
        """The run's `Checkpoints`."""
        return Checkpoints(self.folder / "checkpoints", run=self.details.hash)

    @property
    def config(self) -> Experiment:
        """The config that the run was begun with; if an earlier version wrote it, in today's form.

        Raises:
            UserError: the file is missing or damaged, or does not belong to `run.json`.
        """
        return self._details_and_config()[1]

    def _load_config(self):
        if not (self.folder / "config.yaml").exists():
            raise UserError(f"{self.shown()}: config.yaml is missing. {_ANEW}")
        return load(self.folder / "config.yaml", environment={})

    @property
    def runtime(self) -> Runtime:
        """The `Runtime` that the run was begun with."""
        return self.details.runtime

    def resume_command(self) -> str:
        """The command that goes on with the run.

        It names the copy of the config in the run's folder. The file that the run was begun with may have been edited.
        """
        folder = shlex.quote(self.shown())
        train = shown(REPOSITORY / self.config.owner() / "train.py")
        workers = self.runtime.workers
        program = f"python -m neural_similarity launch --workers {workers}" if workers > 1 else "python"
        return f"{program} {shlex.quote(train)} --config {folder}/config.yaml --run-dir {folder} --resume"

    @property
    def result(self) -> Result | None:
        """The `Result`, or None while the run is not finished.

        Raises:
            UserError: `result.json` is damaged.
        """
        if not (self.folder / "result.json").exists():
            return None
        advice = "Delete it and let the run write it again: "
        return self._read("result.json", Result, lambda: advice + self.resume_command())

    def _read(self, name, schema, advice):
        """The object of a schema that a JSON file holds; a `UserError` with `advice()` if the file is damaged."""
        path = self.folder / name
        try:
            return schema.model_validate_json(read_at_most(path, _MOST_BYTES))
        except OSError as error:
            raise UserError(f"{shown(path)}: cannot be read ({error.strerror}).") from None
        except ValueError as error:
            problems = validation_problems(error) if isinstance(error, pydantic.ValidationError) else error
            raise UserError(f"{shown(path)}: damaged ({problems}). {advice()}") from None

    def shown(self) -> str:
        """The folder's path as a user would type it."""
        return shown(self.folder)

    def create(self, config: Experiment, details: Details) -> None:
        """Writes `config.yaml` and then `run.json`, which makes the folder a run.

        Args:
            config: the config.
            details: the `Details`; their hash is added.
        """
        write_atomically(self.folder / "config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False))
        written = details.with_hash(config).model_dump(mode="json")
        write_atomically(self.folder / "run.json", json.dumps(written, indent=1) + "\n")

    def check_new(self, config: Experiment) -> None:
        """Raises a `UserError` unless a new run of this config may begin here."""
        if not self.exists:
            if self.folder.exists() and not self.folder.is_dir():
                raise UserError(f"{self.shown()}: a file, not a folder. Name another with --run-dir.")
            if self.folder.exists() and {path.name for path in self.folder.iterdir()} - _BEFORE_A_RUN:
                raise UserError(f"{self.shown()}: not empty, and not a run. Name another folder with --run-dir.")
            return
        self.check_same(config)
        if self.result:
            raise self._finished()
        raise UserError(
            f"{self.shown()}: an unfinished run of this very config is here. Go on with --resume, or start beside it "
            "with --run-dir DIR."
        )

    def check_resumable(self, config: Experiment, name: str) -> None:
        """Raises a `UserError` unless an unfinished run of this config is here.

        Args:
            config: the config.
            name: the config's name. If there is no run here, the message lists the other runs of that name.
        """
        if not self.exists and any((self.folder / name).exists() for name in ("checkpoints", "metrics.jsonl")):
            raise UserError(f"{self.shown()}: run.json is missing. {_ANEW}")
        if not self.exists:
            raise UserError(
                f"{self.shown()}: nothing to resume here.{_other_runs(config, name)} Leave out --resume to start."
            )
        self.check_same(config)
        if self.result:
            raise self._finished()

    def check_same(self, config: Experiment, leave_out: tuple[str, ...] = ()) -> None:
        """Raises a `UserError` unless the run here is one of this config.

        Args:
            config: the config.
            leave_out: dotted paths of keys that may differ.
        """
        leave_out = {"data.root", *leave_out}  # data may be moved. Whether they are the same is for `check_facts`
        differing = [key for key in differing_keys(self.config, config, of_runs=True) if key not in leave_out]
        if differing:
            keys = ", ".join(f"`{key}`" for key in differing)
            raise UserError(
                f"{self.shown()}: holds a run of another config; {keys} differ{'s' * (len(differing) == 1)}. "
                f"Use {self.folder / 'config.yaml'}, or another --run-dir."
            )

    def check_facts(self, facts: dict, leave_out: tuple[str, ...] = ()) -> None:
        """Raises a `UserError` unless the data are those that the run began with.

        Args:
            facts: what is found in the data now, by name.
            leave_out: names of the facts that may differ.
        """
        for name, began in self.facts.items():
            now = facts.get(name)
            if began == now or name in leave_out:
                continue
            if isinstance(began, list) and isinstance(now, list) and sorted(began) == sorted(now):
                first = next(i for i, pair in enumerate(zip(began, now, strict=True)) if pair[0] != pair[1])
                raise UserError(
                    f"{self.shown()}: the {name} of the data stand in another order than when this run began: number "
                    f"{first + 1} was {began[first]}, and is {now[first]}. "
                    "Put the data back, or train anew with --run-dir DIR."
                )
            if isinstance(began, list) and isinstance(now, list):
                gone, new = sorted(set(began) - set(now)), sorted(set(now) - set(began))
                raise UserError(
                    f"{self.shown()}: the {name} of the data are not those that this run began with: it had "
                    f"{len(began):,}, now there are {len(now):,}; gone: {', '.join(gone) or 'none'}; "
                    f"new: {', '.join(new) or 'none'}. "
                    "Put the data back, or train anew with --run-dir DIR."
                )
            raise UserError(
                f"{self.shown()}: the data are not those that this run began with ({name.replace('_', ' ')} is now "
                f"{now}, was {began}). Put them back, or train anew with --run-dir DIR."
            )

    def _finished(self):
        """The `UserError` that says that the run is finished."""
        return UserError(
            f"{self.shown()}: this run is finished ({self.result.in_words()[0]}). "
            "See it with --eval-only, or train anew with another --set seed=N or --run-dir DIR."
        )

    def no_checkpoint(self) -> UserError:
        """The `UserError` that says that the run has no checkpoint, and what to do."""
        if self.result:
            return UserError(f"{self.shown()}: finished, but its checkpoints are gone. Train anew with --run-dir DIR.")
        return UserError(f"{self.shown()}: no checkpoint yet. Let the run reach one, or go on with --resume.")

    def load_weights(self, model: keras.Model) -> int:
        """Gives `model` the weights of the newest checkpoint that is not damaged; returns its step.

        Raises:
            UserError: there is no checkpoint, all are damaged, or they are of another network.
        """
        newest = self.checkpoints.load_newest()
        if not newest or newest[1].step == 0:  # a run begins with a checkpoint of its initial weights
            raise self.no_checkpoint()
        arrays, state = newest
        restore(arrays, self.checkpoints.path(state.step), model=model.variables)
        return state.step


def open_run(folder: str | Path) -> Run:
    """The `Run` in a folder.

    Raises:
        UserError: no run was begun there.
    """
    run = Run(folder)
    if not run.exists:
        raise UserError(f"{folder}: not a run folder (no run.json). A train.py prints the folder of its run.")
    return run


def _other_runs(config, name):
    """Sentences about the runs of the same config's name, "" if there are none."""
    found = []
    for path in sorted((REPOSITORY / "runs" / name).glob("*/run.json")):
        run = Run(path.parent)
        try:
            keys = ", ".join(differing_keys(run.config, config, of_runs=True)) or "the folder's name alone"
            found.append(f"\n  {run.shown()} ({'finished' if run.result else 'unfinished'}; differs in {keys})")
        except UserError:
            found.append(f"\n  {run.shown()} (damaged)")
    return f" Other runs of {name}:{''.join(found)}\n" if found else ""
