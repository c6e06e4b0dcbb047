"""The one line that a finished run leaves."""

import datetime
import json

import pydantic

from neural_similarity.config import Config, recipe_of
from neural_similarity.training.runtime import peak_memory_bytes


class Result(pydantic.BaseModel, extra="forbid", frozen=True, strict=True, allow_inf_nan=False):
    """A finished run in one line of JSON: `result.json`, and a line of `results/<set>.jsonl`.

    Accuracies are fractions. `final_test_accuracy` is the last step's, never the best of several.
    """

    config: str
    config_hash: str
    recipe: str
    overrides: list[str]
    experiment: str
    data: str
    seed: int
    steps: int
    scale: float
    parameters: int
    final_test_accuracy: float = pydantic.Field(ge=0, le=1)
    final_validation_accuracy: float | None = None
    selected_step: int | None = None
    selected_test_accuracy: float | None = None
    seconds_per_step: float
    peak_memory_bytes: int
    precision: str
    strategy: str
    jit_compile: bool
    deterministic: bool
    device: str
    commit: str | None
    versions: dict[str, str]
    finished: str

    def line(self):
        """The JSON, without a line end; what a run does not have is left out."""
        return json.dumps(self.model_dump(exclude_none=True))


def build_result(run, config: Config, model, rows, runtime, environment):
    """The `Result` of a finished run from its metrics' rows.

    With a validation split, `selected_test_accuracy` is the test accuracy at the step of the best validation
    accuracy (the first of equals): reported beside the last step's, never in its place.
    """
    accuracy = {(row["split"], row["step"]): row["accuracy"] for row in rows}
    steps = rows[-1]["step"]
    validated = {step: value for (split, step), value in accuracy.items() if split == "validation"}
    selected = max(validated, key=lambda step: (validated[step], -step)) if validated else None
    seconds = sorted(row["seconds_per_step"] for row in rows if row["split"] == "train")
    return Result(
        config=run.details["config"],
        config_hash=config.config_hash(),
        recipe=recipe_of(config, run.details["config"]),
        overrides=run.details["overrides"],
        experiment=run.details["experiment"],
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
        jit_compile=runtime.jit_compile,
        deterministic=runtime.deterministic,
        device=environment["device"],
        commit=environment["commit"],
        versions={name: environment[name] for name in ("neural_similarity", "python", "tensorflow", "keras", "numpy")},
        finished=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )
