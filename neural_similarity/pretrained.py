"""Trained networks that come with the repository: `weights/<config>.npz`, each with a card `weights/<config>.json`.

The file holds kernels and matrices in float16, and vectors (as those of batch normalisation) in float32. The card holds
the result line of the run, its config, its classes, the file's SHA-256, and what the network in the file scores.
"""

import argparse
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pydantic

from neural_similarity.arrays import ArraysError, read_npz
from neural_similarity.config import REPOSITORY, SCHEMAS, Experiment, older
from neural_similarity.config.fields import Text
from neural_similarity.config.messages import validation_problems
from neural_similarity.data.places import default_root
from neural_similarity.errors import UserError, nearest
from neural_similarity.families import family_of
from neural_similarity.files import put_in_place, read_at_most, shown, write_atomically
from neural_similarity.training.checkpoints import collect, restore
from neural_similarity.training.results import Result, Score, scores_of
from neural_similarity.training.runs import Run, open_run
from neural_similarity.training.runtime import Runtime

WEIGHTS = REPOSITORY / "weights"
_MOST_BYTES = 1_500_000  # of a file of weights; CNN-9 takes about a million
_MOST_CARD_BYTES = 1_000_000


class Card(pydantic.BaseModel):
    """What `weights/<config>.json` holds.

    Attributes:
        result: the result line of the run.
        config: the run's config.
        facts: of the run's data: for images, their classes.
        scores: what the network scores with the rounded weights of the file.
        sha256: of the file of weights, 64 hex digits.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)
    result: Result
    config: dict
    facts: dict[Text, Text | list[Text]]
    scores: dict[Text, Score]
    sha256: str = pydantic.Field(pattern="^[0-9a-f]{64}$")

    def experiment(self) -> Experiment:
        """The config in today's form, with the folder of the data sets as it is here.

        Raises:
            UserError: the config is damaged, or NEURAL_SIMILARITY_DATA names the home of somebody who has none.
        """
        try:
            document = older.as_today(self.config)
            document["data"] = {**document["data"], "root": str(default_root())}
            return SCHEMAS[self.result.family].model_validate(document)
        except argparse.ArgumentTypeError as error:
            raise UserError(f"{error}. Name another folder.") from None
        except (KeyError, TypeError, pydantic.ValidationError):
            raise UserError(f"weights/{self.result.config}.json: its config is damaged. Restore it from git.") from None


def names(folder: Path = WEIGHTS) -> list[str]:
    """The names of the configs that have weights, sorted: `cifar10/static_dns`."""
    return sorted(file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.npz"))


def read_card(name: str, folder: Path = WEIGHTS) -> Card:
    """The `Card` of shipped weights.

    Args:
        name: one of `names`.
        folder: where the weights are.

    Raises:
        UserError: there are no such weights, or the card is damaged.
    """
    if name not in names(folder):
        known = ", ".join(names(folder)) or "none"
        raise UserError(f"{name}: no such weights in {shown(folder)}.{nearest(name, names(folder))} Known: {known}.")
    path = folder / f"{name}.json"
    try:
        return Card.model_validate_json(read_at_most(path, _MOST_CARD_BYTES))
    except OSError as error:
        raise UserError(f"{shown(path)}: cannot be read ({error.strerror}). Restore it from git.") from None
    except ValueError as error:
        problems = validation_problems(error) if isinstance(error, pydantic.ValidationError) else error
        raise UserError(f"{shown(path)}: damaged ({problems}). Restore it from git.") from None


def load_pretrained(name: str, folder: Path = WEIGHTS):
    """A trained network that comes with the repository.

    Args:
        name: of its config: "cifar10/static_dns". `names()` lists what there is.
        folder: where the weights are.

    Returns:
        A float32 Keras model from `(b, h, w, 3)` raw 0–255 images to `(b, classes)` logits. `read_card(name).facts` has
        the names of the classes.

    Raises:
        UserError: there are no such weights, or the files are damaged or do not belong together.
    """
    card = read_card(name, folder)
    path = folder / f"{name}.npz"
    model = _network(card.experiment(), card.facts)
    wanted = collect(model=model.variables)
    try:
        if hashlib.sha256(read_at_most(path, _MOST_BYTES)).hexdigest() != card.sha256:
            raise UserError(f"{shown(path)}: not the file that its card tells of. Restore both from git.")
        arrays = read_npz(path, {key: (value.shape, _stored(value)) for key, value in wanted.items()})
    except (ArraysError, ValueError) as error:
        raise UserError(f"{shown(path)}: damaged ({error}). Restore it from git.") from None
    except OSError as error:
        raise UserError(f"{shown(path)}: cannot be read ({error.strerror}). Restore it from git.") from None
    restore({key: arrays[key].astype(wanted[key].dtype) for key in wanted}, path, model=model.variables)
    return model


def export_weights(folders: Iterable[str | Path], out: Path = WEIGHTS) -> Iterator[str]:
    """Writes the weights of one of several runs, and their card. Yields lines that tell what was done.

    Of runs that differ in their seeds the one is taken whose score is nearest to their mean, so that the file promises
    what one may expect. The network in the file is then read back and evaluated on the test images.

    Args:
        folders: folders of finished runs of image recognition, all of one recipe.
        out: where the weights are to be.

    Raises:
        UserError: a run is not finished, the runs are not of one recipe, the data are missing, or there are weights of
            a longer schedule.
    """
    run = _nearest_to_the_mean([open_run(folder) for folder in folders])
    config, details, result = run.config, run.details, run.result
    model = _network(config, run.facts)
    run.load_weights(model)
    arrays = {key: value.astype(_stored(value)) for key, value in collect(model=model.variables).items()}
    path = out / f"{details.config}.npz"
    _check_better(path, details.config, result, out)
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    content = stream.getvalue()
    if len(content) > _MOST_BYTES:
        raise UserError(f"{shown(path)}: would have {len(content):,} bytes; the limit is {_MOST_BYTES:,}.")
    restore({key: value.astype(np.float32) for key, value in arrays.items()}, path, model=model.variables)
    scores = scores_on_test_images(config, model, run.facts)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    with open(unfinished, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    put_in_place(unfinished, path)
    document = config.to_dict()
    card = Card(
        result=result,
        config={**document, "data": {**document["data"], "root": "data"}},  # the folder here says nothing to others
        facts={name: fact for name, fact in run.facts.items() if name == "classes"},
        scores=scores,
        sha256=hashlib.sha256(content).hexdigest(),
    )
    text = json.dumps(card.model_dump(mode="json", exclude_none=True), indent=1)
    write_atomically(path.with_suffix(".json"), text + "\n")
    yield f"{shown(path)}: {len(content):,} bytes, of {run.shown()} ({result.in_words()[0]})"
    yield f"with the rounded weights: {', '.join(f'{name} {score}' for name, score in scores.items())}"


def scores_on_test_images(config: Experiment, model, facts: dict) -> dict[str, Score]:
    """What a network scores on the test images of its config.

    Raises:
        UserError: the data are missing, or of other classes.
    """
    family = family_of(config)
    data = family.load_data(config)
    if data.facts()["classes"] != facts["classes"]:
        raise UserError("the test images are of other classes than the weights. Name other data in data.root.")
    runtime = Runtime("none", 1, "float32", False, False)
    measured = family.evaluation(config, model, runtime.start(), data)()
    return scores_of([{"split": split, **values} for split, values in measured.items()], family.SCORES)


def _network(config, facts):
    """The network of a config in float32."""
    if config.family != "image_recognition":
        raise UserError(
            f"the run is of {config.family.replace('_', ' ')}; expected one of image recognition, as weights/ holds "
            "those. Next: keep the run's folder, which `load_run` reads"
        )
    return family_of(config).network(config, len(facts["classes"]), dtype="float32")


def _stored(array):
    """The dtype that an array has in the file. The variances of batch normalisation may be too large for float16."""
    return np.dtype(np.float16 if array.ndim > 1 else np.float32)


def _check_better(path, name, result, folder):
    """Raises a UserError if a run may not take this place: the weights there are of a longer run, or of its recipe."""
    if result.recipe == "custom" and folder == WEIGHTS:
        raise UserError(
            f"{name} with {', '.join(result.overrides)}: the weights of the repository are of its own recipes. Name "
            "another folder with --out."
        )
    if path.exists():
        there = read_card(name, folder).result
        if there.steps > result.steps:
            raise UserError(
                f"{shown(path)}: of a run of {there.steps:,} steps, longer than {result.steps:,}. Delete it first, or "
                "name another folder with --out."
            )


def _nearest_to_the_mean(runs: list[Run]):
    for run in runs:
        if run.result is None:
            raise UserError(f"{run.shown()}: this run is not finished. Go on with it: {run.resume_command()}")
        first, other = runs[0].result, run.result
        if (first.config, first.config_hash, first.scale) != (other.config, other.config_hash, other.scale):
            raise UserError(
                f"{runs[0].shown()} and {run.shown()} are of two recipes. Name runs that differ in the seed."
            )
    scores = [run.result.scores[run.result.headline].value for run in runs]
    return runs[int(np.argmin(np.abs(np.array(scores) - np.mean(scores))))]
