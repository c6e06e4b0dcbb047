"""Adds the result lines of finished runs to the files `results/<set>.jsonl`. The tables are made from these files.

python -m neural_similarity record RUN [RUN …]
"""

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pydantic

from neural_similarity.config import CONFIGS, REPOSITORY, differing_keys, load
from neural_similarity.config.experiment import flattened
from neural_similarity.config.messages import validation_problems
from neural_similarity.errors import UserError
from neural_similarity.families import family_of
from neural_similarity.files import held, read_at_most, shown, write_atomically
from neural_similarity.training.logs import first_lost_step, read_rows
from neural_similarity.training.results import Result, what_ran, what_was_measured
from neural_similarity.training.runs import open_run

RESULTS = REPOSITORY / "results"
_OF_TODAY = ("config_hash", "recipe", "overrides")  # an earlier version may have told them otherwise
_MOST_BYTES = 100_000_000  # in a file of result lines, which have about 900 each


def record(folder: str | Path, results: str | Path = RESULTS) -> tuple[Path, Result, bool]:
    """Appends the result line of a finished run to the file of its set, unless the file has the line already.

    The set is the first folder of the config's name: a run of cifar10/released/static_dns goes to `cifar10.jsonl`. Runs
    on the user's own images go to `folder.jsonl`.

    Args:
        folder: the run's folder.
        results: the folder of the files.

    Returns:
        (path of the file, the `Result`, whether its line was appended).

    Raises:
        UserError: `folder` is no run's folder, the run is not finished, the file has another line for the same run, or
            a line of the file or of the run's folder is damaged.
    """
    result = _result_of(folder)
    name = "folder" if result.data == "folder" else result.config.split("/")[0]
    path = Path(results) / f"{name}.jsonl"
    with alone_in(path.parent):
        recorded = read_results(path) if path.exists() else []
        of_this_run = [other for other in recorded if _identity(other) == _identity(result)]
        if any(other.json_line() != result.json_line() for other in of_this_run):
            raise UserError(
                f"{shown(path)}: holds a line of {result.config}, seed {result.seed}, finished {result.finished}, that "
                f"differs from {shown(Path(folder) / 'result.json')}. One of them was edited: restore it, or delete "
                "the line and record again."
            )
        if not of_this_run:
            append_line(path, result.json_line())
    return path, result, not of_this_run


@contextlib.contextmanager
def alone_in(results: Path) -> Iterator[None]:
    """Keeps other processes from recording meanwhile: of two that append at once, one would lose its line.

    Raises:
        UserError: the folder cannot be written to.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
        with held(results / ".lock"):
            yield
    except OSError as error:
        raise UserError(
            f"{shown(results)}: cannot be written to ({error.strerror}). Next: --results another folder"
        ) from None


def read_results(path: str | Path) -> list[Result]:
    """The `Result`s of a `.jsonl` file, in the file's order. Blank lines are passed over.

    Raises:
        UserError: the file cannot be read, or one of its lines is no result line; the message has the line's number.
    """
    try:
        lines = read_at_most(path, _MOST_BYTES).split(b"\n")
    except (OSError, ValueError) as error:  # the second: a pipe, or far too large
        raise UserError(f"{shown(path)}: cannot be read ({getattr(error, 'strerror', error)}).") from None
    results = []
    for number, line in enumerate(lines, start=1):
        try:
            results += [Result.model_validate_json(line)] if line.strip() else []
        except pydantic.ValidationError as error:
            raise UserError(
                f"{shown(path)}, line {number}: not a result line ({validation_problems(error)}). "
                "Restore the line from git, or delete it and record its run again."
            ) from None
    return results


def read_all_results(results: str | Path = RESULTS) -> list[Result]:
    """The `Result`s of all `.jsonl` files in a folder.

    Raises:
        UserError: as `read_results`.
    """
    return [result for path in sorted(Path(results).glob("*.jsonl")) for result in read_results(path)]


def _result_of(folder):
    """The `Result` of a run, under the recipe that it has today.

    The shipped config may have changed since the run began. The run's recipe is then `custom`, and the overrides of its
    line are what makes the difference, by the names that the keys have today.

    Raises:
        UserError: the run is not finished, or its `result.json` says of another run than `run.json` and `config.yaml`.
    """
    run = open_run(folder)
    if run.result is None:
        raise UserError(f"{run.shown()}: this run is not finished. Go on with it: {run.resume_command()}")
    ran = what_ran(run)
    known = {name: value for name, value in ran.items() if name not in _OF_TODAY}
    changed = _changed(run.result, known) or _changed(run.result, _measured(run))
    if changed:
        raise UserError(
            f"{run.shown()}: result.json was changed; its `{changed[0]}` is not that of the run. Delete the file and "
            f"let the run write it again: {run.resume_command()}"
        )
    today = {name: ran[name] for name in _OF_TODAY}
    if ran["recipe"] == "custom" and run.details.recipe != "custom":
        today["overrides"] = _differences(run.config, CONFIGS / f"{ran['config']}.yaml") or ran["overrides"]
    return run.result.model_copy(update=today)


def _changed(result, known):
    return [name for name, value in known.items() if getattr(result, name) != value]


def _measured(run):
    """What the metrics say that was measured, by the name of the field.

    Raises:
        UserError: neither the last checkpoint nor metrics.jsonl holds the last evaluation.
    """
    family, steps = family_of(run.config), run.result.steps
    try:
        state = run.checkpoints.load(steps)[1]
        rows, lost_rows = state.rows, state.lost_rows
    except (UserError, OSError):  # deleted or damaged
        rows = None
    if rows is None:
        rows = read_rows(run.folder / "metrics.jsonl")
        lost_rows = first_lost_step(rows, steps, run.config.evaluation_every_steps(), steps) is not None
    split, measure = family.headline(run.config).split("/")
    measured = any((row["step"], row["split"]) == (steps, split) and measure in row for row in rows)
    if not measured or not any("seconds_per_step" in row for row in rows):
        raise UserError(
            f"{run.shown()}: neither the checkpoint of step {steps:,} nor metrics.jsonl holds the last evaluation, so "
            "that result.json cannot be checked. Restore one of them, or train anew with --run-dir DIR."
        )
    fields = what_was_measured(rows, lost_rows, family.SCORES, family.headline(run.config))
    return {"scores": fields["scores"]} if lost_rows else fields


def _differences(config, shipped):
    """What makes the difference between a run's config and the shipped one, as texts of `--set`."""
    if not shipped.is_file():
        return []
    values = flattened(config.to_dict())
    keys = differing_keys(load(shipped, environment={}), config)
    return [f"{key}={json.dumps(values[key])}" for key in keys if key in values and key != "data.root"]


def _identity(result):
    """What two lines share only if they are of one run."""
    return result.config, result.config_hash, result.seed, result.finished


def append_line(path, line):
    """Appends a line to a text file, or leaves the file as it was. Creates the file and its folder if need be.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if text and not text.endswith("\n"):
            text += "\n"
        write_atomically(path, f"{text}{line}\n")
    except OSError as error:
        raise UserError(
            f"{shown(path)}: cannot be written ({error.strerror}). Next: make room, or make it writable"
        ) from None


def record_all(folders: Iterable[str | Path], results: str | Path = RESULTS) -> Iterator[str]:
    """Records several runs. Yields a line for each run that could be recorded.

    Raises:
        UserError: some runs could not be recorded. The message comes after all lines, and has a line for each such run.
    """
    messages = []
    for folder in folders:
        try:
            path, result, appended = record(folder, results)
        except UserError as error:
            messages.append(str(error))
            continue
        state = "added" if appended else "already there"
        scores = result.in_words()[0]
        yield f"{shown(path)}: {state}: {result.config}, {result.recipe}, seed {result.seed}, {scores}"
    if messages:
        raise UserError("\n".join(messages))
