"""Adds the lines of finished runs to `results/<set>.jsonl`, which the tables are made of.

python -m neural_similarity record RUN [RUN …]
"""

from pathlib import Path

import pydantic

from neural_similarity.config import REPOSITORY
from neural_similarity.errors import UserError
from neural_similarity.files import shown, write_atomically
from neural_similarity.training.results import Result, problems
from neural_similarity.training.runs import open_run

RESULTS = REPOSITORY / "results"


def record(folder, results=RESULTS):
    """Appends the line of the finished run in `folder` to the file of its set, unless it is there.

    Args:
        folder: a run folder.
        results: where the files are; the set is the first folder of the config's name, `folder` for one's own images.

    Returns:
        (path of the file, the `Result`, whether its line was appended).

    Raises:
        UserError: no run, not finished, or something that is no result line in the run folder or in the file.
    """
    result = _result_of(folder)
    name = "folder" if result.data == "folder" else result.config.split("/")[0]  # one's own images are no CIFAR
    path = Path(results) / f"{name}.jsonl"
    recorded = read(path) if path.exists() else []
    same = [line for line in recorded if _identity(line) == _identity(result)]
    if any(line.line() != result.line() for line in same):
        raise UserError(
            f"{shown(path)}: holds a line of {result.config}, seed {result.seed}, finished {result.finished}, that "
            f"differs from {shown(Path(folder) / 'result.json')}. One of them was edited: restore it, or delete the "
            "line and record again."
        )
    if not same:
        _append(path, result.line())
    return path, result, not same


def read(path):
    """The `Result`s of a `.jsonl` file, in its order.

    Raises:
        UserError: with the number of the first line that is none.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"{shown(path)}: cannot be read ({error.strerror}).") from None
    results = []
    for number, line in enumerate(lines, start=1):
        try:
            results += [Result.model_validate_json(line)] if line.strip() else []
        except pydantic.ValidationError as error:
            raise UserError(
                f"{shown(path)}, line {number}: not a result line ({problems(error)}). "
                "Restore the line from git, or delete it and record its run again."
            ) from None
    return results


def _result_of(folder):
    run = open_run(folder)
    if run.result is None:
        raise UserError(f"{run.shown()}: this run is not finished. Go on with it: {run.resume_command()}")
    return run.result


def _identity(result):
    return result.config, result.config_hash, result.seed, result.finished


def _append(path, line):
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if text and not text.endswith("\n"):
            text += "\n"
        write_atomically(path, f"{text}{line}\n")
    except OSError as error:
        raise UserError(f"{shown(path)}: cannot be written ({error.strerror}).") from None


def record_all(folders, results=RESULTS):
    """Records what can be recorded, and yields a line for each run that says so.

    Raises:
        UserError: at the end, with the problems of all runs that could not be recorded.
    """
    problems = []
    for folder in folders:
        try:
            path, result, appended = record(folder, results)
        except UserError as problem:
            problems.append(str(problem))
            continue
        state = "added" if appended else "already there"
        scores = ", ".join(result.in_words())
        yield f"{shown(path)}: {state}: {result.config}, {result.recipe}, seed {result.seed}, {scores}"
    if problems:
        raise UserError("\n".join(problems))
