"""Run folders: what a run leaves behind, and how it is found again."""

import fcntl
import json
from pathlib import Path

import keras
import yaml

from neural_similarity import layers  # noqa: F401  registers the layers that a saved network names
from neural_similarity.config import REPOSITORY, differing_keys, load
from neural_similarity.errors import UserError
from neural_similarity.files import shown, write_atomically
from neural_similarity.training.checkpoints import Checkpoints, restore
from neural_similarity.training.runtime import Runtime

_BEFORE_A_RUN = {"config.yaml", "config.yaml.unfinished", "run.json.unfinished", "lock"}  # a start was cut short
DETAILS = {"config", "recipe", "experiment", "overrides", "classes", "data_checksum", "runtime", "environment"}


class Run:
    """A folder with `config.yaml`, `run.json` (names, overrides, classes, runtime, environment), `model.json`,
    `metrics.jsonl` and `.csv`, `checkpoints/`, and `result.json` once it is finished."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.checkpoints = Checkpoints(self.folder / "checkpoints")

    @property
    def exists(self):
        """Whether a run was started here."""
        return (self.folder / "run.json").exists()

    @property
    def details(self):
        """What `run.json` holds: `DETAILS`, of which `config` is the config's name."""
        details = self._json("run.json")
        if not isinstance(details, dict) or not details.keys() >= DETAILS:
            raise self._damaged("run.json", f"expected {', '.join(sorted(DETAILS))}")
        return details

    @property
    def config(self):
        """The `Config` that the run was started with."""
        if not (self.folder / "config.yaml").exists():
            raise self._damaged("config.yaml", "not there")
        return load(self.folder / "config.yaml", environment={})

    @property
    def runtime(self):
        """The `Runtime` that the run was started with."""
        return Runtime(**self.details["runtime"])

    @property
    def result(self):
        """The result line as a dict, or None while the run is not finished."""
        return self._json("result.json") if (self.folder / "result.json").exists() else None

    @property
    def network(self):
        """What `model.json` holds: the network as Keras describes it."""
        return self._json("model.json")

    def _json(self, name):
        try:
            return json.loads((self.folder / name).read_text())
        except (OSError, ValueError) as error:
            raise self._damaged(name, error) from error

    def _damaged(self, name, why):
        return UserError(f"{self.folder / name}: damaged ({why}). Train anew with another --run-dir.")

    def lock(self):
        """Makes this process the only one that trains here, until the file that is returned is closed.

        Raises:
            UserError: another process does.
        """
        file = open(self.folder / "lock", "w")  # noqa: SIM115  the caller keeps it open
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise UserError(
                f"{self.shown()}: another process trains here. Wait for it, or name --run-dir DIR."
            ) from None
        return file

    def shown(self):
        """The folder as a user would type it."""
        return shown(self.folder)

    def create(self, config, details):
        """Writes the config and `run.json`, the latter last: it makes the folder a run."""
        write_atomically(self.folder / "config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False))
        write_atomically(self.folder / "run.json", json.dumps(details, indent=1) + "\n")

    def check_new(self, config):
        """Raises a `UserError` unless a run may start here."""
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

    def check_resumable(self, config, name):
        """Raises a `UserError` unless an unfinished run of this config is here."""
        if not self.exists:
            raise UserError(
                f"{self.shown()}: nothing to resume here.{_siblings(config, name)} Leave out --resume to start."
            )
        self.check_same(config)
        if self.result:
            raise self._finished()

    def check_same(self, config):
        """Raises a `UserError` unless the run here is one of this config."""
        differing = [key for key in differing_keys(self.config, config, of_runs=True) if key != "data.root"]
        if differing:  # where the data lie may change; that they are the same, their checksum says
            keys = ", ".join(f"`{key}`" for key in differing)
            raise UserError(
                f"{self.shown()}: holds a run of another config; {keys} differ. Use {self.folder / 'config.yaml'}, or "
                "another --run-dir."
            )

    def _finished(self):
        return UserError(
            f"{self.shown()}: this run is finished (test accuracy {100 * self.result['final_test_accuracy']:.2f} %). "
            "See it with --eval-only, or train anew with another --set seed=N or --run-dir DIR."
        )

    def no_checkpoint(self):
        """The `UserError` of a run that has saved nothing so far."""
        if self.result:
            return UserError(f"{self.shown()}: finished, but its checkpoints are gone. Train anew with --run-dir DIR.")
        return UserError(f"{self.shown()}: no checkpoint yet. Let the run reach one, or go on with --resume.")

    def load_weights(self, model):
        """Assigns the weights of the newest checkpoint that is whole to `model` and returns its step."""
        newest = self.checkpoints.load_newest()
        if not newest:
            raise self.no_checkpoint()
        step, arrays, _ = newest
        restore(arrays, model=model.variables)
        return step


def open_run(folder):
    """The `Run` in a folder.

    Raises:
        UserError: there is none.
    """
    run = Run(folder)
    if not run.exists:
        raise UserError(f"{folder}: not a run folder (no run.json). A train.py prints the folder of its run.")
    return run


def load_run(folder):
    """The trained network of a run: a Keras model with the newest checkpoint's weights.

    Raises:
        UserError: no run in `folder`, or no checkpoint yet.
    """
    run = open_run(folder)
    if not run.checkpoints.steps():
        raise run.no_checkpoint()
    model = keras.models.model_from_json(json.dumps(run.network))
    run.load_weights(model)
    return model


def _siblings(config, name):
    """A sentence about the other runs of the same config path, if there are any."""
    found = []
    for path in sorted((REPOSITORY / "runs" / name).glob("*/run.json")):
        run = Run(path.parent)
        try:
            keys = ", ".join(differing_keys(run.config, config, of_runs=True)) or "the folder's name alone"
            found.append(f"\n  {run.shown()} ({'finished' if run.result else 'unfinished'}; differs in {keys})")
        except UserError:
            found.append(f"\n  {run.shown()} (damaged)")
    return f" Other runs of {name}:{''.join(found)}\n" if found else ""
