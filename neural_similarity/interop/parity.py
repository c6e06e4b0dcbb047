"""Holds our networks against numbers computed by the authors' released ones.

    python -m neural_similarity parity DIR [--no-require-all] [--rtol X]

DIR holds `NAME.json` and `NAME.npz` for every network; tests/golden is such a folder, and its README describes the
form. Each network is built from its released config, so that the recipe is held against them as well.
"""

import collections
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np
import tensorflow as tf

from neural_similarity import config as configs
from neural_similarity.errors import UserError
from neural_similarity.families.image_recognition import build_loss, network
from neural_similarity.interop.released_names import released_variables
from neural_similarity.interop.ties import Ties
from neural_similarity.losses import smoothed_cross_entropy
from neural_similarity.training.optimizers import build_optimizer

NETWORKS = ("static_dns", "static_uns", "dynamic_dns", "dynamic_uns", "nsl_fspherenet", "sa_spherenet")

# Largest relative errors. Arrays: against the largest entry; probes: against the gradient's norm.
TOLERANCES = {
    "float32 logits": 1e-4,
    "float32 losses": 1e-4,
    "float32 moving averages": 1e-5,
    "logits": 1e-4,
    "losses": 2e-5,
    "penalty": 2e-6,
    "orthogonality": 2e-6,
    "gradient norms": 5e-4,
    "gradient probes": 1e-3,
    "moving averages": 1e-5,
    "trajectory fit": 5e-3,
    "trajectory penalty": 2e-6,
}

ARRAYS = {"x", "y", "eval_logits", "eval_fit", "train_logits", "train_fit", "train_loss", "reg"}


def draw(salt, name, shape):
    """The standard normal array that belongs to a name: the same everywhere, so that no weights need to be kept."""
    return np.random.default_rng(zlib.crc32((salt + name).encode())).standard_normal(shape, dtype=np.float32)


def value_by_rule(salt, name, shape, kernel_shape=None):
    """The weight of a released variable in every golden network; flattened filters need their `kernel_shape`."""
    n = draw(salt, name, shape)
    if name.endswith("/mask"):
        start = np.eye(9) if tuple(shape) == (9, 9) else np.eye(3).reshape(shape)
        return (start + 0.1 * n).astype(np.float32)
    if name.endswith("gamma/bias"):
        return 1 + np.float32(0.1) * n
    if name.endswith("/Squeeze_1/ExponentialMovingAverage"):
        return np.float32(0.5) + np.abs(n)
    if name.endswith(("/att_first/filter", "/att_second/filter")):
        return np.abs(n)
    if name.startswith("att") and name.endswith("/gamma"):
        return 2 + np.float32(0.1) * n
    if name.endswith("/filter"):
        fan_in = np.prod((shape if len(shape) == 4 else kernel_shape)[:3])
        return n * np.float32(np.sqrt(2 / fan_in))
    return np.float32(0.1) * n  # β, moving mean


class Golden:
    """One network's golden numbers, and ours beside them.

    The network of the released config is built twice: in float32, as it trains, for the forward passes and the moving
    averages; and in float64 for everything, gradients included, so that what is left to see is the released network's
    own rounding. `Ties` settles the few ReLUs that this rounding put on the other side of zero.

    Args:
        folder: holds `NAME.json` and `NAME.npz`.
        name: of the network.

    Raises:
        UserError: the files cannot be read, or list other variables than our network has.
    """

    def __init__(self, folder, name):
        self.name = name
        path = Path(folder) / name
        try:
            self.facts = json.loads(path.with_suffix(".json").read_text())
            with path.with_suffix(".npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                self.arrays = dict(arrays)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise UserError(f"{path}.json and .npz: cannot read them ({error}).") from error
        if not isinstance(self.facts, dict) or not self.facts.keys() >= {"n_class", "salt", "variables"}:
            raise UserError(f"{path}.json: expected n_class, salt and variables.")
        if lacking := sorted(ARRAYS - set(self.arrays)):
            raise UserError(f"{path}.npz: lacks the arrays {', '.join(lacking)}.")
        self.config = configs.load(f"configs/cifar10/released/{name}.yaml", environment={})
        if self.config.model.name == "spherenet9" and "orth" not in self.arrays:
            raise UserError(f"{path}.npz: lacks the array orth.")
        self.float32 = network(self.config, self.facts["n_class"])
        self.float64 = network(self.config, self.facts["n_class"], dtype="float64")
        self.loss = build_loss(self.config, self.float64)
        self.table = released_variables(self.float64)
        if odd := sorted(set(self.table) ^ set(self.facts["variables"])):
            raise UserError(f"{path}.json: expected the variables of our {name}; {odd[0]} is in one of them only.")
        self.values = {name: self._value(name, own) for name, own in self.table.items()}
        self.trainable = [(name, own) for name, own in self.table.items() if own.variable.trainable]
        self.labels = tf.constant(self.arrays["y"], tf.int32)

    def assign(self, model):
        """Gives one of our two networks the golden weights."""
        for name, own in released_variables(model).items():
            own.variable.assign(own.decode(self.values[name]))

    def _value(self, name, own):
        entry = self.facts["variables"][name]
        value = value_by_rule(self.facts["salt"], name, tuple(entry["shape"]), tuple(own.variable.shape))
        sums = float(np.sum(value, dtype=np.float64)), float(np.sum(np.square(value, dtype=np.float64)))
        if not np.allclose(sums, (entry["sum"], entry["sumsq"]), rtol=1e-6, atol=1e-6):
            raise UserError(f"{self.name}.json: {name} sums to {sums}, not as listed; the rule or NumPy differs.")
        return value

    def errors(self):
        """Quantity → largest relative error, of those that the files have; and what had to be settled, in words."""
        found = collections.defaultdict(list)
        self._forward(self.float32, found, "float32 ")
        self._forward(self.float64, found)
        ties, settled = Ties(self.float64), ""
        if self._wrong_gradients():
            before = self._worst_probe()
            ties.settle(self._wrong_gradients, self._rounding(ties))
            settled = f"{ties.count} of {ties.tried} ties settled, before: gradient probes {before:.1e}"
        self._gradients(found)
        if "trajectory_fit_reg" in self.arrays:
            self._trajectory(found)
        return {quantity: float(np.max(errors)) for quantity, errors in found.items()}, settled

    def _images(self, model):
        return tf.cast(self.arrays["x"], model.compute_dtype)

    def _forward(self, model, found, prefix=""):
        """Both forward passes of one of our two networks, and what training mode does to the moving averages."""
        self.assign(model)
        images = self._images(model)
        for mode, training in (("eval", False), ("train", True)):
            logits = model(images, training=training)
            fit = tf.reduce_mean(smoothed_cross_entropy(self.labels, logits, self.config.loss.label_smoothing))
            found[f"{prefix}logits"].append(_relative(logits, self.arrays[f"{mode}_logits"]))
            found[f"{prefix}losses"].append(_relative(fit, self.arrays[f"{mode}_fit"]))
        for name, own in released_variables(model).items():
            if not own.variable.trainable:
                after = self.facts["variables"][name]["after_one_training_pass"]
                value = np.asarray(own.variable, np.float64)
                scale = np.sqrt(value.size * after["sumsq"])
                found[f"{prefix}moving averages"].append(_relative(np.sum(value**2), after["sumsq"]))
                found[f"{prefix}moving averages"].append(abs(np.sum(value) - after["sum"]) / scale)

    def _gradients(self, found):
        total, parts, gradients = self._training_pass(("", "fit_"))
        found["losses"].append(_relative(total, self.arrays["train_loss"]))
        found["penalty"].append(_relative(parts["penalty"], self.arrays["reg"]))
        if "orthogonality" in parts:
            found["orthogonality"].append(_relative(parts["orthogonality"], self.arrays["orth"]))
        for quantity, error in self._gradient_errors(gradients):
            found[quantity].append(error)

    def _training_pass(self, prefixes):
        """From the golden weights: the loss, its parts, and every weight's gradient of the whole (prefix "") or of
        the fit alone ("fit_")."""
        self.assign(self.float64)
        weights = [own.variable for _, own in self.trainable]
        with tf.GradientTape(persistent=True) as tape:
            total, parts = self.loss((self._images(self.float64), self.labels))
        targets = {"": total, "fit_": parts["cross_entropy"]}
        return total, parts, {p: tape.gradient(targets[p], weights, unconnected_gradients="zero") for p in prefixes}

    def _gradient_errors(self, gradients):
        for i, (name, own) in enumerate(self.trainable):
            entry = self.facts["variables"][name]
            for prefix in gradients:
                gradient, norm = own.encode(gradients[prefix][i].numpy()), entry[f"{prefix}grad_norm"]
                yield "gradient norms", _relative(np.linalg.norm(gradient), norm)
                for k, probe in enumerate(entry[f"{prefix}grad_probe"]):
                    direction = draw(self.facts["salt"], f"probe{k}/{name}", tuple(entry["shape"]))
                    yield "gradient probes", abs(np.sum(gradient * direction) - probe) / norm

    def _wrong_gradients(self):
        *_, gradients = self._training_pass(("fit_",))
        return sum(not error <= TOLERANCES[quantity] for quantity, error in self._gradient_errors(gradients))

    def _worst_probe(self):
        *_, gradients = self._training_pass(("fit_",))
        return max(error for quantity, error in self._gradient_errors(gradients) if quantity == "gradient probes")

    def _rounding(self, ties):
        """Number of each ReLU → the float32 rounding in its inputs, measured on our own two networks."""
        self.assign(self.float32)
        rounded = Ties(self.float32)
        self.float32(self._images(self.float32), training=True)
        return {n: np.max(np.abs(inputs - ties.inputs[n])) for n, inputs in rounded.inputs.items()}

    def _trajectory(self, found):
        self.assign(self.float64)
        optimizer = build_optimizer(self.config.optimizer, rate=0.1)  # set before every update
        optimizer.build(self.float64.trainable_variables)
        for rate, golden in zip(self.arrays["trajectory_lr"], self.arrays["trajectory_fit_reg"], strict=True):
            optimizer.learning_rate = rate
            with tf.GradientTape() as tape:
                total, parts = self.loss((self._images(self.float64), self.labels))
            optimizer.apply(tape.gradient(total, self.float64.trainable_variables))
            found["trajectory fit"].append(_relative(parts["cross_entropy"], golden[0]))
            found["trajectory penalty"].append(_relative(parts["penalty"], golden[1]))


def _relative(own, golden):
    own, golden = np.asarray(own, np.float64), np.asarray(golden, np.float64)
    return np.max(np.abs(own - golden)) / np.max(np.abs(golden))


def check(folder, require_all=True, rtol=None):
    """Compares every network in `folder`; yields (line, whether it is within tolerance)."""
    found = {path.stem for path in Path(folder).glob("*.json")}
    if not found:
        raise UserError(f"{folder}: no NAME.json of a golden network in it. The project's own are in tests/golden.")
    for name in sorted(found.union(NETWORKS if require_all else ())):
        if name not in NETWORKS:
            yield f"{name}: unknown; known are {', '.join(NETWORKS)}", False
        elif name not in found:
            yield f"{name}: {name}.json is missing; --no-require-all compares those that are there", False
        else:
            try:
                errors, settled = Golden(folder, name).errors()
            except UserError as error:
                yield f"{name}: {error}", False
                continue
            over = [q for q, error in errors.items() if not error <= (TOLERANCES[q] if rtol is None else rtol)]
            words = [f"{quantity} {error:.1e}" for quantity, error in errors.items()]
            words += [settled] if settled else []
            yield f"{name}: {'differs in ' + ', '.join(over) if over else 'agrees'} ({', '.join(words)})", not over
