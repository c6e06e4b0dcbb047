"""What `run.json` holds: how a run began."""

import hashlib
import json
from typing import Literal

import pydantic
from pydantic import Field

from neural_similarity.config import Experiment
from neural_similarity.config.fields import Text
from neural_similarity.training.runtime import Runtime

_NAMES_OF_ENVIRONMENT = {"neural_similarity", "commit", "python", "tensorflow", "keras", "numpy", "device"}


class Details(pydantic.BaseModel):
    """What `run.json` holds.

    Attributes:
        config: the config's name.
        recipe: "ours", "released" or "custom", when the run began.
        experiment: the folder of the train.py.
        overrides: the texts of `--set`.
        facts: what the data must be whenever the run goes on, by name: for images, their classes and a checksum.
        runtime: the `Runtime`.
        environment: what `training.environment` found.
        hash: SHA-256 of everything else here and of the config, 64 hex digits. It ties `run.json`, `config.yaml` and
            the checkpoints to each other. Older runs have none.
    """

    model_config = pydantic.ConfigDict(frozen=True, strict=True)
    config: Text
    recipe: Literal["ours", "released", "custom"]
    experiment: Text
    overrides: list[Text]
    facts: dict[Text, Text | list[Text]] = Field(min_length=1)
    runtime: Runtime
    environment: dict[Text, Text | None]
    hash: str | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _of_an_earlier_form(cls, details):
        """Reads the details of a run from before there was `facts`."""
        if isinstance(details, dict) and {"classes", "data_checksum"} <= details.keys():
            details = dict(details)
            details["facts"] = {name: details.pop(name) for name in ("classes", "data_checksum")}
        return details

    @pydantic.field_validator("environment")
    @classmethod
    def _complete(cls, environment):
        known = {name for name, value in environment.items() if value is not None} | {"commit"}  # None without git
        if missing := sorted(_NAMES_OF_ENVIRONMENT - known):
            raise ValueError(f"{', '.join(missing)} missing")
        return environment

    def with_hash(self, config: Experiment) -> "Details":
        """The same details with the `hash` that belongs to them and to the run's config."""
        document = self.model_dump(mode="json", exclude={"hash"}, exclude_unset=True)
        if self.runtime.workers == 1:
            del document["runtime"]["workers"]  # which older runs do not have
        canonical = json.dumps([config.identity(), document], sort_keys=True, separators=(",", ":"))
        return self.model_copy(update={"hash": hashlib.sha256(canonical.encode()).hexdigest()})
