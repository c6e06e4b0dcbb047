"""The kinds of values that a config holds, and the base class of everything in one.

A field's `description` is the phrase that messages use: "`loss.weight_decay` must be a number, at least 0".
"""

import math
import struct
from itertools import pairwise
from typing import Annotated, Literal

import pydantic
from pydantic import Field

_SMALLEST = 2.0**-126  # of float32's normal numbers; smaller ones count as 0 on most devices
LARGEST = 2**31 - 1  # step counters and seeds go through int32


def _printable(text):
    if not text.isprintable():
        raise ValueError("has characters that cannot be printed")
    return text


def _increasing(steps):
    if any(later <= earlier for earlier, later in pairwise(steps)):
        raise ValueError("not increasing")
    return steps


def in_32_bits(number: float) -> float:
    """The number as networks compute with it: float32, in which numbers nearer to 0 than 1.2e-38 become 0."""
    try:
        (rounded,) = struct.unpack("f", struct.pack("f", float(number)))
    except OverflowError:
        return math.inf if number > 0 else -math.inf
    return rounded if abs(rounded) >= _SMALLEST else 0.0


def _kept_by_32_bits(number):
    rounded = in_32_bits(number)
    if number != rounded and (rounded == 0 or math.isinf(rounded)):
        raise ValueError("another number in 32 bits")
    return number


def _below_one_in_32_bits(number):
    if number < 1 == in_32_bits(number):
        raise ValueError("1 in 32 bits")
    return number


def list_of(kind, description):
    """The type of a list in the file. Lists become tuples, so that a loaded config cannot change.

    Args:
        kind: the `tuple[…]` type.
        description: what messages call it.
    """
    return Annotated[kind, Field(strict=False, description=description)]  # strict=False lets a list be a tuple


Index = Annotated[int, Field(ge=0, le=LARGEST, description=f"an integer from 0 to {LARGEST}")]
Count = Annotated[int, Field(ge=1, le=LARGEST, description=f"an integer from 1 to {LARGEST}")]
Number = Annotated[float, pydantic.AfterValidator(_kept_by_32_bits)]  # every number that is no integer is one
AtLeastTwo = Annotated[int, Field(ge=2, le=LARGEST, description=f"an integer from 2 to {LARGEST}")]
Positive = Annotated[Number, Field(gt=0, description="a number greater than 0")]
NonNegative = Annotated[Number, Field(ge=0, description="a number, at least 0")]
Fraction = Annotated[Number, Field(ge=0, le=1, description="a number from 0 to 1")]
BelowOne = Annotated[
    Number,
    Field(ge=0, lt=1, description="a number, at least 0 and less than 1"),
    pydantic.AfterValidator(_below_one_in_32_bits),
]
Switch = Annotated[bool, Field(description="`true` or `false`")]
Text = Annotated[str, pydantic.AfterValidator(_printable)]
FolderPath = Annotated[Text, Field(min_length=1, description="the path of a folder, as text")]
Structure = Literal["diagonal", "unconstrained"]
IncreasingSteps = Annotated[
    list_of(tuple[Count, ...], f"a list of integers from 1 to {LARGEST}, each larger than the one before"),
    pydantic.AfterValidator(_increasing),
]


# Which classes of a folder each split has: three fractions of their number, or the path of a file that lists them.
ClassSplits = Annotated[
    list_of(tuple[Fraction, Fraction, Fraction], "three fractions") | Text,
    Field(description="a list of three numbers from 0 to 1, or the path of a file that lists the classes"),
]


class Section(pydantic.BaseModel):
    """What all parts of a config share: no unknown keys, no conversions, no NaN, no changes afterwards."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
