"""Reads golden files: what the authors' released networks computed, from weights that anybody can draw again.

tests/golden is a folder of such files, two for each network: `NAME.json` and `NAME.npz`. Its README describes them.
"""

import json
import math
import zlib
from pathlib import Path
from typing import Annotated

import numpy as np
import pydantic

from neural_similarity.arrays import headers_of, read_npz
from neural_similarity.config.messages import validation_problems
from neural_similarity.errors import UserError
from neural_similarity.files import read_at_most

_MOST_BYTES = 10_000_000  # in NAME.json; those of the project have 60,000
_MOST_STEPS = 1_000  # of a trajectory
_OPTIONAL = {"orth", "trajectory_fit_reg", "trajectory_lr"}  # arrays that only some NAME.npz have
_Length = Annotated[int, pydantic.Field(ge=1, le=1_000)]


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, allow_inf_nan=False)


class _Sums(_Strict):
    sum: float
    sumsq: float


class _Variable(_Sums):
    """A weight has norms and probes of gradients; a moving average has its sums after a pass in training mode."""

    shape: list[int]  # which one, the network says
    grad_norm: float | None = None
    grad_probe: list[float] | None = None
    fit_grad_norm: float | None = None
    fit_grad_probe: list[float] | None = None
    after_one_training_pass: _Sums | None = None

    @pydantic.model_validator(mode="after")
    def _is_one_of_the_two(self):
        of_gradients = {self.grad_norm, self.fit_grad_norm} if self.grad_probe and self.fit_grad_probe else {None}
        if (None in of_gradients) == (self.after_one_training_pass is None):
            raise ValueError("neither a weight nor a moving average")
        return self


class _Facts(_Strict):
    batch: _Length
    n_class: _Length
    salt: str
    variables: dict[str, _Variable]


class Golden:
    """The golden numbers of one released network.

    Args:
        folder: holds `NAME.json` and `NAME.npz`.
        name: of the network.

    Attributes:
        name: of the network.
        path: of both files, without their endings.
        facts: what `NAME.json` holds.
        arrays: name → array, what `NAME.npz` holds.

    Raises:
        UserError: a file cannot be read, or holds something else than golden files do.
    """

    def __init__(self, folder, name):
        self.name = name
        self.path = Path(folder) / name
        try:
            document = json.loads(read_at_most(self.path.with_suffix(".json"), _MOST_BYTES))
            self.facts = _Facts.model_validate(document).model_dump(exclude_none=True)
            npz = self.path.with_suffix(".npz")
            self.arrays = read_npz(npz, _layout(self.facts["batch"], self.facts["n_class"], headers_of(npz)))
        except pydantic.ValidationError as error:
            raise UserError(
                f"{self.path}.json: expected n_class, salt and variables of a golden network "
                f"({validation_problems(error)})."
            ) from error
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{self.path}.json and .npz: cannot read them ({error}).") from error
        if not 0 <= self.arrays["y"].min() <= self.arrays["y"].max() < self.facts["n_class"]:
            raise UserError(f"{self.path}.npz: expected labels `y` from 0 to {self.facts['n_class'] - 1}.")

    def value(self, name, kernel_shape):
        """The weight of a released variable, in its released shape, float32.

        Args:
            name: of the variable.
            kernel_shape: of our variable, see `value_by_rule`.

        Raises:
            UserError: the weight is not the one that the released network had, by its two sums in `NAME.json`.
        """
        entry = self.facts["variables"][name]
        value = value_by_rule(self.facts["salt"], name, tuple(entry["shape"]), kernel_shape)
        sums = float(np.sum(value, dtype=np.float64)), float(np.sum(np.square(value, dtype=np.float64)))
        if not np.allclose(sums, (entry["sum"], entry["sumsq"]), rtol=1e-6, atol=1e-6):
            raise UserError(f"{self.name}.json: {name} sums to {sums}, not as listed; the rule or NumPy differs.")
        return value

    def direction(self, number, name):
        """The random direction of a gradient probe of a variable: an array of the variable's released shape.

        A probe is the inner product of the variable's gradient with this direction.
        """
        return draw(self.facts["salt"], f"probe{number}/{name}", tuple(self.facts["variables"][name]["shape"]))


def _layout(batch, classes, headers):
    """Name → (shape, dtype) of the arrays of a `NAME.npz`, with those optional ones that its `headers` name."""
    steps = math.prod(headers["trajectory_lr"].shape) if "trajectory_lr" in headers else 0
    if steps > _MOST_STEPS:
        raise ValueError(f"a trajectory of more than {_MOST_STEPS:,} steps")
    numbers = ("eval_fit", "train_fit", "train_loss", "reg", "orth")
    layout = {
        "x": ((batch, 32, 32, 3), "uint8"),
        "y": ((batch,), "int64"),
        **{f"{mode}_logits": ((batch, classes), "float32") for mode in ("eval", "train")},
        **dict.fromkeys(numbers, ((), "float32")),
        "trajectory_lr": ((steps,), "float64"),
        "trajectory_fit_reg": ((steps, 2), "float64"),
    }
    return {name: entry for name, entry in layout.items() if name in headers or name not in _OPTIONAL}


def draw(salt, name, shape):
    """Standard normal numbers that depend on the name alone: float32 of the shape, the same on every machine.

    The golden files therefore need not hold the weights. Example: the generator for `root/filter` starts from the
    CRC-32 checksum of the salt followed by "root/filter".
    """
    return np.random.default_rng(zlib.crc32((salt + name).encode())).standard_normal(shape, dtype=np.float32)


def value_by_rule(salt, name, shape, kernel_shape=None):
    """The weight that a released variable has in the golden network, float32.

    The end of the name says which rule makes it from the numbers of `draw`: a filter has the spread √(2 / fan_in), a
    similarity matrix M is near the matrix that it starts as, a γ is near 1, and so on.

    Args:
        salt: a text that belongs to the golden file.
        name: of the released variable.
        shape: of the released variable.
        kernel_shape: `(kh, kw, i, o)` of our variable. Needed for filters that the released code keeps as a matrix.
    """
    normal = draw(salt, name, shape)
    if name.endswith("/mask"):
        start = np.eye(9) if tuple(shape) == (9, 9) else np.eye(3).reshape(shape)
        return (start + 0.1 * normal).astype(np.float32)
    if name.endswith("gamma/bias"):
        return 1 + np.float32(0.1) * normal
    if name.endswith("/Squeeze_1/ExponentialMovingAverage"):  # a variance
        return np.float32(0.5) + np.abs(normal)
    if name.endswith(("/att_first/filter", "/att_second/filter")):
        return np.abs(normal)
    if name.startswith("att") and name.endswith("/gamma"):
        return 2 + np.float32(0.1) * normal
    if name.endswith("/filter"):
        fan_in = np.prod((shape if len(shape) == 4 else kernel_shape)[:3])
        return normal * np.float32(np.sqrt(2 / fan_in))
    return np.float32(0.1) * normal  # β, and the mean of a batch normalisation
