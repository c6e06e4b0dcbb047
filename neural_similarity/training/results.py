"""The one line that a finished run leaves."""

import datetime
import json
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from neural_similarity.training.environment import peak_memory_bytes

Fraction = Annotated[float, Field(ge=0, le=1)]
_MOST_PROBLEMS = 3  # in one message
_Strict = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Score(pydantic.BaseModel):
    """One measured fraction.

    `interval95` is half the width of the 95 % confidence interval, where the value is a mean over random episodes, and
    `n` the number of things that the value is a mean over.
    """

    model_config = _Strict
    value: Fraction
    interval95: float | None = Field(default=None, ge=0)
    n: int | None = Field(default=None, ge=1)

    def __str__(self):
        """In percent: "62.10 %", or "62.10 ± 0.40 %" with the interval."""
        interval = "" if self.interval95 is None else f" ± {100 * self.interval95:.2f}"
        return f"{100 * self.value:.2f}{interval} %"


class Selected(pydantic.BaseModel):
    """The scores after the step whose headline score was best on the validation split."""

    model_config = _Strict
    step: int = Field(ge=1)
    scores: dict[str, Score]


class Result(pydantic.BaseModel):
    """A finished run in one line of JSON: `result.json`, and a line of `results/<set>.jsonl`.

    `scores` are the last step's, never the best of several: `{"test/accuracy": {"value": 0.93}}`, the first of them the
    headline of the family. `finished` is in UTC, so that its texts sort as their times do. docs/results.md explains the
    fields.
    """

    model_config = _Strict
    family: str = "image_recognition"  # of the lines from before the field
    config: str
    config_hash: str = Field(pattern="^[0-9a-f]{12}$")
    recipe: Literal["ours", "released", "custom"]
    overrides: list[str]
    experiment: str
    data: str
    seed: int = Field(ge=0)
    steps: int = Field(ge=1)
    scale: float = Field(gt=0)
    parameters: int = Field(ge=0)
    scores: dict[str, Score] = Field(min_length=1)
    selected: Selected | None = None
    seconds_per_step: float = Field(ge=0)
    peak_memory_bytes: int = Field(ge=0)
    precision: str
    strategy: str
    devices: int = Field(default=1, ge=1)  # 1 in the lines from before the field
    jit_compile: bool
    deterministic: bool
    device: str
    commit: str | None = None
    versions: dict[str, str]
    finished: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$")

    @pydantic.model_validator(mode="before")
    @classmethod
    def _of_an_earlier_form(cls, line):
        """Lines from before `scores` had four fields in its place."""
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
    def headline(self):
        """The name of the first score: "test/accuracy"."""
        return next(iter(self.scores))

    def line(self):
        """The JSON, without a line end; what a run does not have is left out."""
        return json.dumps(self.model_dump(exclude_none=True))

    def in_words(self):
        """A text for each score, the headline first: "test accuracy: 93.10 %"."""
        return [f"{spoken(name)}: {score}" for name, score in self.scores.items()]


def problems(error):
    """What pydantic found wrong with a line, in one line; the first few of many."""
    items = error.errors(include_url=False, include_input=False)
    words = [": ".join([*(f"`{name}`" for name in item["loc"]), item["msg"]]) for item in items]
    more = [f"and {len(words) - _MOST_PROBLEMS} more"] if len(words) > _MOST_PROBLEMS else []
    return "; ".join(words[:_MOST_PROBLEMS] + more)


def spoken(score):
    """The name of a score in words: "test/recall_at_1" → "test recall at 1"."""
    return score.replace("/", " ").replace("_", " ")


def percent(values, name):
    """A measure of one evaluation in percent, with the interval where there is one.

    Args:
        values: what was measured, as `scores_of` takes a row.
        name: of the measure, as "accuracy".
    """
    return str(_score(values, name))


def scores_of(rows, names):
    """The scores in rows of metrics: {"test/accuracy": `Score`, …}.

    Args:
        rows: one row for each split, `{"split": "test", "accuracy": 0.6, …}`. Beside a measure may stand its
            `accuracy_interval95` and its `accuracy_n`.
        names: the measures that are scores: ("accuracy",).
    """
    return {f"{row['split']}/{name}": _score(row, name) for row in rows for name in names if name in row}


def _score(values, name):
    return Score(value=values[name], interval95=values.get(f"{name}_interval95"), n=values.get(f"{name}_n"))


def build_result(run, config, model, rows, runtime, score_names, headline):
    """The `Result` of a finished run; recipe, commit and versions are those that the run began with.

    Args:
        run: the `Run`.
        config: the config, a subclass of `Experiment`.
        model: the trained network, for its number of parameters.
        rows: all rows of the metrics.
        runtime: the `Runtime`.
        score_names: the measures that are scores.
        headline: the score that stands first. Where there is a validation split, the scores at the step where the
            validation split's score of that name was best (the first of equals) are reported beside the last step's.
    """
    details, environment = run.details, run.details["environment"]
    steps = rows[-1]["step"]
    evaluated = [row for row in rows if row["split"] != "train"]
    scores = scores_of([row for row in evaluated if row["step"] == steps], score_names)
    seconds = sorted(row["seconds_per_step"] for row in rows if row["split"] == "train")
    return Result(
        family=config.family,
        config=details["config"],
        config_hash=config.config_hash(),
        recipe=details["recipe"],
        overrides=details["overrides"],
        experiment=details["experiment"],
        data=config.data.name,
        seed=config.seed,
        steps=steps,
        scale=config.schedule.scale,
        parameters=sum(int(v.shape.num_elements()) for v in model.trainable_variables),
        scores={headline: scores[headline], **scores},
        selected=_selected(evaluated, score_names, headline),
        seconds_per_step=seconds[len(seconds) // 2],
        peak_memory_bytes=peak_memory_bytes(),
        precision=runtime.precision,
        strategy=runtime.strategy,
        devices=runtime.devices,
        jit_compile=runtime.jit_compile,
        deterministic=runtime.deterministic,
        device=environment["device"],
        commit=environment["commit"],
        versions={name: environment[name] for name in ("neural_similarity", "python", "tensorflow", "keras", "numpy")},
        finished=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )


def _selected(evaluated, score_names, headline):
    measure = headline.partition("/")[2]
    validated = {row["step"]: row[measure] for row in evaluated if row["split"] == "validation"}
    if not validated:
        return None
    step = max(validated, key=lambda step: (validated[step], -step))
    scores = scores_of([row for row in evaluated if row["step"] == step], score_names)
    return Selected(step=step, scores={headline: scores[headline], **scores})
