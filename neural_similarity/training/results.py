"""The result line of a finished run: its fields, its scores, and how it is made from a run."""

import dataclasses
import datetime
import json
from collections.abc import Iterable
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from neural_similarity.config import recipe_of
from neural_similarity.config.fields import Text
from neural_similarity.errors import UserError
from neural_similarity.training.environment import peak_memory_bytes

_FIRST_YEAR = 2019  # of the paper
_CLOCKS_DIFFER = datetime.timedelta(hours=1)  # of the machine that trained and the one that reads


def _past(text):
    """Refuses what is no time, or none that a run can have finished at. The form is checked already."""
    time = datetime.datetime.fromisoformat(text)  # ValueError: month 13
    if time.year < _FIRST_YEAR:
        raise ValueError(f"before {_FIRST_YEAR}, when there was no such run")
    if time > datetime.datetime.now(datetime.timezone.utc) + _CLOCKS_DIFFER:
        raise ValueError("in the future, by the clock of this machine")
    return text


Time = Annotated[
    str,
    Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\+00:00$"),
    pydantic.AfterValidator(_past),
]
_MOST = 2**60  # of whatever is counted
Fraction = Annotated[float, Field(ge=0, le=1)]
_VERSIONS = ("neural_similarity", "python", "tensorflow", "keras", "numpy")
_Strict = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Score(pydantic.BaseModel):
    """One measured fraction.

    Attributes:
        value: from 0 to 1.
        interval95: half the width of the 95 % confidence interval, where `value` is a mean over random episodes.
        n: how many things `value` is a mean over.
    """

    model_config = _Strict
    value: Fraction
    interval95: float | None = Field(default=None, ge=0)
    n: int | None = Field(default=None, ge=1, le=_MOST)

    def __str__(self):
        """In percent: "62.10 %", or "62.10 ± 0.40 %" with the interval."""
        interval = "" if self.interval95 is None else f" ± {100 * self.interval95:.2f}"
        return f"{100 * self.value:.2f}{interval} %"


class Selected(pydantic.BaseModel):
    """The scores after `step`, the step whose headline score was best on the validation split."""

    model_config = _Strict
    step: int = Field(ge=1, le=_MOST)
    scores: dict[Text, Score]


class Result(pydantic.BaseModel):
    """What a finished run leaves: one line of JSON, in its `result.json` and in `results/<set>.jsonl`.

    docs/results.md explains every field. `scores` are those of the last step, never the best of several steps; the
    first of them is the headline: `{"test/accuracy": {"value": 0.93}}`. `protocol` says in words how they were
    measured, where there is a choice. `seconds_per_episode` is of the last evaluation on test episodes. `finished` is a
    time in UTC, so that the texts sort as the times do. Texts are printable, since tables and messages show them.
    """

    model_config = _Strict
    family: Text = "image_recognition"  # for lines from before there was this field
    config: Annotated[Text, Field(min_length=1)]
    config_hash: str = Field(pattern="^[0-9a-f]{12}$")
    recipe: Literal["ours", "released", "custom"]
    overrides: list[Text]
    experiment: Text
    data: Text
    seed: int = Field(ge=0, le=_MOST)
    steps: int = Field(ge=1, le=_MOST)
    scale: float = Field(gt=0)
    parameters: int = Field(ge=0, le=_MOST)
    scores: dict[Text, Score] = Field(min_length=1)
    protocol: Text | None = None
    seconds_per_episode: float | None = Field(default=None, ge=0, le=_MOST)
    selected: Selected | None = None
    seconds_per_step: float = Field(ge=0, le=_MOST)
    peak_memory_bytes: int = Field(ge=0, le=_MOST)
    precision: Text
    strategy: Text
    devices: int = Field(default=1, ge=1, le=_MOST)  # for lines from before there was this field
    workers: int = Field(default=1, ge=1, le=_MOST)  # likewise
    jit_compile: bool
    deterministic: bool
    device: Text
    commit: Text | None = None
    versions: dict[Text, Text]
    finished: Time

    @pydantic.model_validator(mode="before")
    @classmethod
    def _of_an_earlier_form(cls, line):
        """Reads a line from before there was `scores`: it has up to four fields with one score each."""
        if not isinstance(line, dict) or "final_test_accuracy" not in line:
            return line
        line = dict(line)
        line["scores"] = {"test/accuracy": {"value": line.pop("final_test_accuracy")}}
        if "final_validation_accuracy" in line:
            line["scores"]["validation/accuracy"] = {"value": line.pop("final_validation_accuracy")}
        if "selected_step" in line:
            scores = {"test/accuracy": {"value": line.pop("selected_test_accuracy", None)}}
            line["selected"] = {"step": line.pop("selected_step"), "scores": scores}
        return line

    @property
    def headline(self) -> str:
        """The name of the first score: "test/accuracy"."""
        return next(iter(self.scores))

    def json_line(self) -> str:
        """The result as one line of JSON, without a line end. Fields that are None are left out."""
        return json.dumps(self.model_dump(exclude_none=True))

    def in_words(self) -> list[str]:
        """A list with a text for each score, the headline first and with the protocol: `["test accuracy: 93.10 %"]`."""
        words = [f"{spoken(name)}: {score}" for name, score in self.scores.items()]
        return [words[0] + (f" ({self.protocol})" if self.protocol else ""), *words[1:]]


def spoken(score: str) -> str:
    """The name of a score in words: "test/recall_at_1" → "test recall at 1"."""
    return score.replace("/", " ").replace("_", " ")


def percent(values: dict, name: str) -> str:
    """One measure of an evaluation as a text: "62.10 %", or "62.10 ± 0.40 %" if an interval was measured.

    Args:
        values: what the evaluation measured on one split, a row as `scores_of` takes it.
        name: which measure, as "accuracy".
    """
    return str(_score(values, name))


def scores_of(rows: Iterable[dict], names: Iterable[str]) -> dict[str, Score]:
    """The scores that rows of metrics hold: `{"test/accuracy": Score(…), …}`.

    Args:
        rows: one row for each split, as `{"split": "test", "accuracy": 0.6, "cross_entropy": 1.2}`. A row may also have
            `accuracy_interval95` and `accuracy_n`: they become the interval and the `n` of the score.
        names: which of the measures are scores, as `("accuracy",)`.
    """
    return {f"{row['split']}/{name}": _score(row, name) for row in rows for name in names if name in row}


def _score(values, name):
    return Score(value=values[name], interval95=values.get(f"{name}_interval95"), n=values.get(f"{name}_n"))


def what_ran(run) -> dict:
    """The fields of a run's result line that its config and `run.json` determine, by name.

    Commit and versions are those that the run began with.

    Args:
        run: the `Run`.
    """
    details, config = run.details, run.config
    return {
        "family": config.family,
        "config": details.config,
        "config_hash": config.config_hash(),
        "recipe": recipe_of(config, details.config),
        "overrides": details.overrides,
        "experiment": config.owner(),
        "data": config.data.name,
        "seed": config.seed,
        "steps": config.schedule.scaled_train_steps,
        "scale": config.schedule.scale,
        "protocol": config.protocol(),
        **dataclasses.asdict(details.runtime),
        "device": details.environment["device"],
        "commit": details.environment["commit"],
        "versions": {name: details.environment[name] for name in _VERSIONS},
    }


def what_was_measured(rows, lost_rows, score_names, headline) -> dict:
    """The fields of a run's result line that its metrics determine, by name: `scores`, `selected`, `seconds_per_step`.

    With a validation split, the result also tells the scores of a selected step. Example: the headline is
    "test/accuracy", and the validation accuracy was 0.80 at step 10, 0.85 at step 20 and 0.85 at step 25. Then `scores`
    are those of step 25, the last, and `selected` are those of step 20, the first of the best.

    Args:
        rows: all rows of metrics; some of them are of training.
        lost_rows: whether some are missing. Then nobody can say which step was the best, and `selected` is None.
        score_names: which of the measures are scores, as `("accuracy",)`.
        headline: the name of the score that stands first, as "test/accuracy".
    """
    evaluated = [row for row in rows if row["split"] != "train"]
    scores = scores_of([row for row in evaluated if row["step"] == rows[-1]["step"]], score_names)
    seconds = sorted(row["seconds_per_step"] for row in rows if "seconds_per_step" in row)
    per_episode = [row["seconds_per_episode"] for row in evaluated if "seconds_per_episode" in row]
    return {
        "scores": {headline: scores[headline], **scores},
        "selected": None if lost_rows else _selected(evaluated, score_names, headline),
        "seconds_per_step": seconds[len(seconds) // 2],
        "seconds_per_episode": per_episode[-1] if per_episode else None,
    }


def build_result(run, model, rows, lost_rows, score_names, headline) -> Result:
    """The `Result` of a finished run.

    Args:
        run: the `Run`.
        model: the trained network; its parameters are counted.
        rows, lost_rows, score_names, headline: as in `what_was_measured`.

    Raises:
        UserError: no row of training is left.
    """
    if not any("seconds_per_step" in row for row in rows):
        raise UserError(
            f"{run.shown()}: trained to its end, but metrics.jsonl has no row of training left, so that no result line "
            "can be made. See the scores with --eval-only, or train anew with --run-dir DIR."
        )
    return Result(
        **what_ran(run),
        **what_was_measured(rows, lost_rows, score_names, headline),
        parameters=sum(int(v.shape.num_elements()) for v in model.trainable_variables),
        peak_memory_bytes=peak_memory_bytes(),
        finished=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )


def _selected(evaluated, score_names, headline):
    """The `Selected` of the step with the best validation score; None without a validation split."""
    measure = headline.partition("/")[2]
    validated = {row["step"]: row[measure] for row in evaluated if row["split"] == "validation"}
    if not validated:
        return None
    step = max(validated, key=lambda step: (validated[step], -step))
    scores = scores_of([row for row in evaluated if row["step"] == step], score_names)
    return Selected(step=step, scores={headline: scores[headline], **scores})
