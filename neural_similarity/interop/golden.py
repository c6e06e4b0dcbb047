"""Reads golden files: what the authors' released networks computed, from weights that anybody can draw again.

tests/golden is a folder of such files, two for each network: `NAME.json` and `NAME.npz`. Its README describes them.
"""

import json
import zipfile
import zlib
from pathlib import Path

import numpy as np

from neural_similarity.errors import UserError

ARRAYS = {"x", "y", "eval_logits", "eval_fit", "train_logits", "train_fit", "train_loss", "reg"}  # in each NAME.npz


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
        UserError: a file cannot be read, or lacks something that all golden files have.
    """

    def __init__(self, folder, name):
        self.name = name
        self.path = Path(folder) / name
        try:
            self.facts = json.loads(self.path.with_suffix(".json").read_text())
            with self.path.with_suffix(".npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                self.arrays = dict(arrays)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise UserError(f"{self.path}.json and .npz: cannot read them ({error}).") from error
        if not isinstance(self.facts, dict) or not self.facts.keys() >= {"n_class", "salt", "variables"}:
            raise UserError(f"{self.path}.json: expected n_class, salt and variables.")
        if lacking := sorted(ARRAYS - set(self.arrays)):
            raise UserError(f"{self.path}.npz: lacks the arrays {', '.join(lacking)}.")

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
