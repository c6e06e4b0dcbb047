"""The kinds of values that a config holds, and the base class of everything in one.

A field's `description` is the phrase that messages use: "`loss.weight_decay` must be a number, at least 0".
"""

from itertools import pairwise
from typing import Annotated, Literal

import pydantic
from pydantic import Field

LARGEST = 2**31 - 1  # step counters and seeds go through int32


def _printable(text):
    if not text.isprintable():
        raise ValueError("control characters")
    return text


def _increasing(steps):
    if any(later <= earlier for earlier, later in pairwise(steps)):
        raise ValueError("not increasing")
    return steps


def list_of(kind, description):
    """The type of a list in the file. Lists become tuples, so that a loaded config cannot change.

    Args:
        kind: the `tuple[…]` type.
        description: what messages call it.
    """
    return Annotated[kind, Field(strict=False, description=description)]  # strict=False lets a list be a tuple


Index = Annotated[int, Field(ge=0, le=LARGEST, description=f"an integer from 0 to {LARGEST}")]
Count = Annotated[int, Field(ge=1, le=LARGEST, description=f"an integer from 1 to {LARGEST}")]
Positive = Annotated[float, Field(gt=0, description="a number greater than 0")]
NonNegative = Annotated[float, Field(ge=0, description="a number, at least 0")]
BelowOne = Annotated[float, Field(ge=0, lt=1, description="a number, at least 0 and less than 1")]
Switch = Annotated[bool, Field(description="`true` or `false`")]
FolderPath = Annotated[
    str, Field(min_length=1, description="the path of a folder, as text"), pydantic.AfterValidator(_printable)
]
Structure = Literal["diagonal", "unconstrained"]
IncreasingSteps = Annotated[
    list_of(tuple[Count, ...], f"a list of integers from 1 to {LARGEST}, each larger than the one before"),
    pydantic.AfterValidator(_increasing),
]


class Section(pydantic.BaseModel):
    """What all parts of a config share: no unknown keys, no conversions, no NaN, no changes afterwards."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
