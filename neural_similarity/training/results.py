"""The one line that a finished run leaves."""

import datetime
import json
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from neural_similarity.config import Config
from neural_similarity.training.runtime import peak_memory_bytes

Fraction = Annotated[float, Field(ge=0, le=1)]


class Result(pydantic.BaseModel, extra="forbid", frozen=True, strict=True, allow_inf_nan=False):
    """A finished run in one line of JSON: `result.json`, and a line of `results/<set>.jsonl`.

    Accuracies are fractions. `final_test_accuracy` is the last step's, never the best of several. `finished` is in UTC,
    so that its texts sort as their times do. docs/results.md explains the fields.
    """

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
    final_test_accuracy: Fraction
    final_validation_accuracy: Fraction | None = None
    selected_step: int | None = Field(default=None, ge=1)
    selected_test_accuracy: Fraction | None = None
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

    def line(self):
        """The JSON, without a line end; what a run does not have is left out."""
        return json.dumps(self.model_dump(exclude_none=True))


def build_result(run, config: Config, model, rows, runtime):
    """The `Result` of a finished run from its metrics' rows; recipe, commit and versions are those that it began with.

    With a validation split, `selected_test_accuracy` is the test accuracy at the step of the best validation
    accuracy (the first of equals): reported beside the last step's, never in its place.
    """
    accuracy = {(row["split"], row["step"]): row["accuracy"] for row in rows if "accuracy" in row}
    details, environment = run.details, run.details["environment"]
    steps = rows[-1]["step"]
    validated = {step: value for (split, step), value in accuracy.items() if split == "validation"}
    selected = max(validated, key=lambda step: (validated[step], -step)) if validated else None
    seconds = sorted(row["seconds_per_step"] for row in rows if row["split"] == "train")
    return Result(
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
        final_test_accuracy=accuracy["test", steps],
        final_validation_accuracy=validated.get(steps),
        selected_step=selected,
        selected_test_accuracy=accuracy["test", selected] if validated else None,
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
