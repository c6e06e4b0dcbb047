"""What the configs of all families share: the common sections, their hashes, and which train.py runs them."""

import abc
import hashlib
import json
import os
from typing import ClassVar

from pydantic import Field

from neural_similarity.config import older
from neural_similarity.config.fields import Index, Section
from neural_similarity.config.sections import Adam, Checkpoint, Data, Evaluation, Runtime, Schedule, Sgd

# Seeds, shorter runs, machines and how often one looks do not make another recipe.
NOT_OF_A_RECIPE = ("seed", "schedule.scale", "data.root", "runtime", "evaluation.every_steps", "checkpoint")
# These change when and where a run reads and writes, not its numbers.
NOT_OF_A_RUN = ("data.root", "evaluation.every_steps", "checkpoint")


class Experiment(Section, abc.ABC):
    """One experiment, completely. A family's schema is a subclass, with the sections that only the family has."""

    family: str  # the subclass says which
    seed: Index
    data: Data
    optimizer: Sgd | Adam = Field(discriminator="name")
    schedule: Schedule
    evaluation: Evaluation
    checkpoint: Checkpoint
    runtime: Runtime
    # Dotted paths of keys that training does not read. An evaluation of a trained network may have others.
    only_evaluation_reads: ClassVar[tuple[str, ...]] = ()
    # Scores that tables show beside the headline.
    further_scores: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def owner(self) -> str:
        """The folder of the train.py that runs this config, from the repository's root: `nsl_image_recog/static`."""

    @abc.abstractmethod
    def global_batch_size(self) -> int:
        """How many examples one step takes, on all devices together."""

    def batch_size_key(self) -> str:
        """The dotted path of the key that says so."""
        return "data.global_batch_size"

    def training_images(self) -> int:
        """How many images a whole run trains on, each time that one is used counted."""
        return self.schedule.scaled_train_steps * self.images_per_step()

    def images_per_step(self) -> int:
        """How many images one step takes, on all devices together."""
        return self.global_batch_size()

    def tested_on(self) -> str:
        """What the scores are measured on, in words. Two runs can be compared only if it is the same."""
        return self.data.name

    def protocol(self) -> str | None:
        """How the scores are measured, in words, where the family's configs can differ in it."""
        return None

    def evaluation_every_steps(self) -> int:
        """Steps between evaluations, with `auto` resolved."""
        if self.evaluation.every_steps == "auto":
            return max(1, round(self.schedule.train_steps * self.schedule.scale / 20))
        return self.evaluation.every_steps

    def to_dict(self) -> dict:
        """The config as plain dictionaries, lists and scalars, in the order of the files."""
        document = self.model_dump(mode="json")
        first = ("family", "seed", "data")
        own = [name for name in document if name not in Experiment.model_fields]
        shared = [name for name in Experiment.model_fields if name not in first]
        return {name: document[name] for name in (*first, *own, *shared)}

    def config_hash(self) -> str:
        """12 hex digits of the recipe: what seeds, scaled-down runs, machines and intervals have in common."""
        return self._hash(NOT_OF_A_RECIPE)[:12]

    def run_hash(self) -> str:
        """6 hex digits of the run: all that can change its numbers."""
        return self._hash(NOT_OF_A_RUN)[:6]

    def identity(self) -> str:
        """64 hex digits of the run, as `run_hash`, but without the place of the data, which may be moved."""
        return self._hash(NOT_OF_A_RUN, with_root=False)

    def _hash(self, left_out, with_root=True):
        """SHA-256 of the values in the form that they had when the first results were recorded (`older`)."""
        flat = flattened(self.to_dict())
        if not with_root:
            del flat["data.root"]
        elif self.data.root_is_the_set:
            flat["data.root"] = os.path.normpath(os.path.expanduser(self.data.root))  # `photos/` is `photos`
        flat = {path: value for path, value in flat.items() if not _is_one_of(path, left_out, self)}
        document = nested(older.as_first_recorded(flat))
        canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def differing_keys(a: Experiment, b: Experiment, of_runs: bool = False) -> list[str]:
    """Returns the dotted paths at which two configs differ, in the order of the files; absent counts as different.

    With `of_runs`, only those that make another run of `b`.
    """
    one, other = flattened(a.to_dict()), flattened(b.to_dict())
    paths = [path for path in {**one, **other} if path not in one or path not in other or one[path] != other[path]]
    return [path for path in paths if not (of_runs and _is_one_of(path, NOT_OF_A_RUN, b))]


def flattened(document: dict) -> dict:
    """{section: {key: value}} → {"section.key": value}."""
    flat = {}
    for name, section in document.items():
        if isinstance(section, dict):
            flat |= {f"{name}.{key}": value for key, value in section.items()}
        else:
            flat[name] = section
    return flat


def nested(flat: dict) -> dict:
    """{"section.key": value} → {section: {key: value}}."""
    document = {}
    for path, value in flat.items():
        section, _, key = path.partition(".")
        if key:
            document.setdefault(section, {})[key] = value
        else:
            document[section] = value
    return document


def _is_one_of(path, left_out, config):
    """Whether a dotted path is among those that are left out; the root of a set that is a folder never is."""
    if path == "data.root" and config.data.root_is_the_set:
        return False
    return bool({path, path.partition(".")[0]} & set(left_out))
