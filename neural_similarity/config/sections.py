"""The sections that the configs of every family have: where the data are, the optimiser, the schedule, the machine."""

import argparse
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from neural_similarity.config.fields import (
    LARGEST,
    BelowOne,
    Count,
    FolderPath,
    IncreasingSteps,
    Index,
    Number,
    Positive,
    Section,
    Switch,
)
from neural_similarity.config.paths import REPOSITORY
from neural_similarity.data.places import typed_path
from neural_similarity.errors import UserError


class Data(Section):
    """The data set. `root` is the folder that holds the sets, except where the set is a folder itself."""

    name: str  # which names there are, the subclasses say
    root: FolderPath

    @property
    def root_path(self):
        """`root` as an absolute path: `~` is expanded, and a relative path starts at the repository's root."""
        try:
            return typed_path(self.root, REPOSITORY)
        except argparse.ArgumentTypeError as error:
            raise UserError(f"`data.root`: {error}. Set another.") from None

    @property
    def root_is_the_set(self):
        """Whether another `root` means other images, and so another run, not the same images elsewhere."""
        return False


class Sgd(Section):
    """Gradient descent with momentum."""

    name: Literal["sgd"]
    learning_rate: Positive
    momentum: BelowOne


class Adam(Section):
    """Adam."""

    name: Literal["adam"]
    learning_rate: Positive
    beta_1: BelowOne
    beta_2: BelowOne
    epsilon: Positive


class Schedule(Section):
    """The length of training and the drops of its learning rate, all in steps.

    The keys are the recipe. `scale` shrinks or stretches the recipe as a whole: what runs are the `scaled_…` numbers.
    Boundaries past the end are legal and never reached. Scaled boundaries may fall onto each other.
    """

    train_steps: Count
    boundaries_steps: IncreasingSteps
    factor: Annotated[Number, Field(gt=0, le=1, description="a number greater than 0 and at most 1")]
    warmup_steps: Index
    scale: Positive

    @property
    def scaled_train_steps(self):
        """Steps to train."""
        return round(self.train_steps * self.scale)

    @property
    def scaled_boundaries_steps(self):
        """Steps after which the learning rate is multiplied by `factor`."""
        return tuple(round(step * self.scale) for step in self.boundaries_steps)

    @property
    def scaled_warmup_steps(self):
        """Steps over which the learning rate grows to its value."""
        return round(self.warmup_steps * self.scale)

    @pydantic.model_validator(mode="after")
    def _can_be_scaled(self):
        if max(self.train_steps, self.warmup_steps, *self.boundaries_steps) * self.scale > LARGEST:
            raise ValueError(f"`schedule.scale` {self.scale:g} makes more than {LARGEST} steps; take a smaller one.")
        if self.scaled_train_steps == 0:
            raise ValueError(
                f"`schedule.train_steps` {self.train_steps} × `schedule.scale` {self.scale:g} rounds to 0 steps; "
                "take a larger scale."
            )
        if 0 in self.scaled_boundaries_steps:
            raise ValueError(
                f"the boundary {self.boundaries_steps[0]} of `schedule.boundaries_steps` × `schedule.scale` "
                f"{self.scale:g} rounds to step 0; take a larger scale."
            )
        return self


class Evaluation(Section):
    """How often to evaluate. `auto` is twenty times in a run."""

    every_steps: Annotated[Count | Literal["auto"], Field(description=f"`auto` or an integer from 1 to {LARGEST}")]


class Checkpoint(Section):
    """How often to save, and how many of the last checkpoints to keep."""

    every_minutes: Positive
    keep: Count


class Runtime(Section):
    """How the same numbers are computed; no part of the recipe."""

    strategy: Literal["auto", "none", "mirrored", "multi_worker"]
    precision: Literal["float32", "mixed_bfloat16"]
    # Not Literal["auto", True, False]: that takes 1 for true.
    jit_compile: Annotated[bool | Literal["auto"], Field(description="`auto`, `true` or `false`")]
    deterministic: Switch

    @pydantic.model_validator(mode="after")
    def _deterministic_is_not_xla(self):
        if self.deterministic and self.jit_compile is True:
            raise ValueError(
                "`runtime.deterministic: true` cannot go with `runtime.jit_compile: true`, since TensorFlow's switch "
                "for determinism does not reach XLA's kernels; set one of them to false."
            )
        return self
