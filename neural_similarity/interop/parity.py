"""Compares our networks with numbers that the authors' released networks computed.

    python -m neural_similarity parity DIR [--no-require-all] [--rtol X]

DIR holds the golden files `NAME.json` and `NAME.npz` of each network. The project's are in tests/golden. Our networks
are built from their configs in configs/cifar10/released, so that the recipes are compared as well.
"""

import collections
import functools
from pathlib import Path

import numpy as np
import tensorflow as tf

from neural_similarity import config as configs
from neural_similarity.errors import UserError
from neural_similarity.families.image_recognition import build_loss, network
from neural_similarity.interop.golden import Golden
from neural_similarity.interop.released_names import RELEASED_NETWORKS, released_variables
from neural_similarity.interop.ties import Ties
from neural_similarity.losses import smoothed_cross_entropy
from neural_similarity.training.optimizers import build_optimizer

# The largest relative error of each quantity that counts as agreement. The error of a gradient probe is relative to the
# norm of the gradient; that of an array is relative to its largest entry.
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
    "trajectory cross-entropy": 5e-3,
    "trajectory penalty": 2e-6,
}


def check(folder, require_all=True, rtol=None):
    """Compares every network that has golden files in a folder.

    Args:
        folder: holds `NAME.json` and `NAME.npz` of each network.
        require_all: a released network without files there counts as one that does not agree.
        rtol: a relative tolerance for all quantities, in place of `TOLERANCES`.

    Yields:
        (line, whether the network agrees) for each network. The line says by how much each quantity differs.

    Raises:
        UserError: the folder has no golden files.
    """
    there = {path.stem for path in Path(folder).glob("*.json")}
    if not there:
        raise UserError(f"{folder}: no NAME.json of a golden network in it. The project's own are in tests/golden.")
    for name in sorted(there.union(RELEASED_NETWORKS if require_all else ())):
        if name not in RELEASED_NETWORKS:
            yield f"{name}: unknown; known are {', '.join(RELEASED_NETWORKS)}", False
        elif name not in there:
            yield f"{name}: {name}.json is missing; --no-require-all compares those that are there", False
        else:
            try:
                errors, settled = Comparison(Golden(folder, name)).errors()
            except UserError as error:
                yield f"{name}: {error}", False
                continue
            over = [q for q, error in errors.items() if not error <= (TOLERANCES[q] if rtol is None else rtol)]
            words = [f"{quantity} {error:.1e}" for quantity, error in errors.items()]
            words += [settled] if settled else []
            yield f"{name}: {'differs in ' + ', '.join(over) if over else 'agrees'} ({', '.join(words)})", not over


class Comparison:
    """One of our networks beside the golden numbers of the released one.

    Our network is built twice. In float32, as it trains, its logits, losses and moving averages are compared. In
    float64 everything is compared, gradients included: ours then hardly round, and what is left to see is the rounding
    of the released network. Where that rounding put units of a ReLU on the other side of zero, `Ties` puts ours there
    too.

    Args:
        golden: the `Golden` of the network.

    Raises:
        UserError: the golden files do not fit our network: they list other variables or other weights.
    """

    def __init__(self, golden):
        self.golden = golden
        self.config = configs.load(f"configs/cifar10/released/{golden.name}.yaml", environment={})
        if self.config.model.name == "spherenet9" and "orth" not in golden.arrays:
            raise UserError(f"{golden.path}.npz: lacks the array orth.")
        self.float32 = network(self.config, golden.facts["n_class"])
        self.float64 = network(self.config, golden.facts["n_class"], dtype="float64")
        self.loss = build_loss(self.config, self.float64)
        table = released_variables(self.float64)
        if differing := sorted(set(table) ^ set(golden.facts["variables"])):
            raise UserError(
                f"{golden.path}.json: expected the variables of our {golden.name}; "
                f"{differing[0]} is in one of them only."
            )
        for name, released in table.items():
            entry = golden.facts["variables"][name]
            fits = entry["shape"] == list(released.to_released(np.zeros(released.ours.shape)).shape)
            if not fits or ("grad_norm" in entry) != released.ours.trainable:
                raise UserError(f"{golden.path}.json: {name} has another shape than in our {golden.name}, or role.")
        self.values = {name: golden.value(name, tuple(released.ours.shape)) for name, released in table.items()}
        self.trainable = [(name, released) for name, released in table.items() if released.ours.trainable]
        self.labels = tf.constant(golden.arrays["y"], tf.int32)
        self.direction = functools.cache(golden.direction)  # each is used once for every tie that is tried

    def errors(self):
        """What was compared: quantity → its largest relative error; and in words what had to be settled, or ""."""
        errors = collections.defaultdict(list)
        self._compare_forward_passes(self.float32, errors, "float32 ")
        self._compare_forward_passes(self.float64, errors)
        ties, settled = Ties(self.float64), ""
        total, parts, gradients = self._training_pass(("", "fit_"))
        of_fit = list(self._gradient_errors({"fit_": gradients["fit_"]}))
        if wrong := _count_wrong(of_fit):
            worst = max(error for quantity, error in of_fit if quantity == "gradient probes")
            ties.settle(self._count_wrong_gradients, wrong, self._rounding(ties))
            settled = f"{ties.count} of {ties.tried} ties settled, before: gradient probes {worst:.1e}"
            total, parts, gradients = self._training_pass(("", "fit_"))
        errors["losses"].append(_relative(total, self.golden.arrays["train_loss"]))
        errors["penalty"].append(_relative(parts["penalty"], self.golden.arrays["reg"]))
        if "orthogonality" in parts:
            errors["orthogonality"].append(_relative(parts["orthogonality"], self.golden.arrays["orth"]))
        for quantity, error in self._gradient_errors(gradients):
            errors[quantity].append(error)
        if "trajectory_fit_reg" in self.golden.arrays:
            self._compare_trajectory(errors)
        return {quantity: float(np.max(each)) for quantity, each in errors.items()}, settled

    def _assign(self, model):
        """Gives one of our two networks the golden weights."""
        for name, released in released_variables(model).items():
            released.ours.assign(released.to_ours(self.values[name]))

    def _images(self, model):
        return tf.cast(self.golden.arrays["x"], model.compute_dtype)

    def _compare_forward_passes(self, model, errors, prefix=""):
        """Logits and losses of one of our two networks in both modes, and its averages after the training mode."""
        self._assign(model)
        images, golden = self._images(model), self.golden.arrays
        for mode, training in (("eval", False), ("train", True)):
            logits = model(images, training=training)
            fit = tf.reduce_mean(smoothed_cross_entropy(self.labels, logits, self.config.loss.label_smoothing))
            errors[f"{prefix}logits"].append(_relative(logits, golden[f"{mode}_logits"]))
            errors[f"{prefix}losses"].append(_relative(fit, golden[f"{mode}_fit"]))
        for name, released in released_variables(model).items():
            if not released.ours.trainable:
                after = self.golden.facts["variables"][name]["after_one_training_pass"]
                value = np.asarray(released.ours, np.float64)
                scale = np.sqrt(value.size * after["sumsq"])
                errors[f"{prefix}moving averages"].append(_relative(np.sum(value**2), after["sumsq"]))
                errors[f"{prefix}moving averages"].append(abs(np.sum(value) - after["sum"]) / scale)

    def _training_pass(self, prefixes):
        """Runs the float64 network in training mode, from the golden weights.

        Args:
            prefixes: of which losses to compute the gradients: "" is the whole loss, "fit_" the cross-entropy alone.
                The names in the golden files begin with these prefixes.

        Returns:
            The loss, its parts by name, and prefix → the gradient of each trainable variable.
        """
        self._assign(self.float64)
        weights = [released.ours for _, released in self.trainable]
        with tf.GradientTape(persistent=True) as tape:
            total, parts = self.loss((self._images(self.float64), self.labels))
        targets = {"": total, "fit_": parts["cross_entropy"]}
        return total, parts, {p: tape.gradient(targets[p], weights, unconnected_gradients="zero") for p in prefixes}

    def _gradient_errors(self, gradients):
        """Yields (quantity, relative error) of the norm and of every probe of each gradient."""
        for i, (name, released) in enumerate(self.trainable):
            entry = self.golden.facts["variables"][name]
            for prefix in gradients:
                gradient, norm = released.to_released(gradients[prefix][i].numpy()), entry[f"{prefix}grad_norm"]
                yield "gradient norms", _relative(np.linalg.norm(gradient), norm)
                for number, probe in enumerate(entry[f"{prefix}grad_probe"]):
                    yield "gradient probes", abs(np.sum(gradient * self.direction(number, name)) - probe) / norm

    def _count_wrong_gradients(self):
        *_, gradients = self._training_pass(("fit_",))
        return _count_wrong(self._gradient_errors(gradients))

    def _rounding(self, ties):
        """Number of each ReLU → the rounding of its inputs: the largest difference between our two networks there."""
        self._assign(self.float32)
        rounded = Ties(self.float32)
        self.float32(self._images(self.float32), training=True)
        return {number: np.max(np.abs(inputs - ties.inputs[number])) for number, inputs in rounded.inputs.items()}

    def _compare_trajectory(self, errors):
        """Fit and penalty before each of a few updates, with the optimiser of the recipe and the golden rates."""
        self._assign(self.float64)
        golden = self.golden.arrays
        current = tf.Variable(0.0, dtype=tf.float32)  # Keras' own variable of a rate would have the dtype of `floatx`
        optimizer = build_optimizer(self.config.optimizer, current.read_value)
        optimizer.build(self.float64.trainable_variables)
        for rate, (fit, penalty) in zip(golden["trajectory_lr"], golden["trajectory_fit_reg"], strict=True):
            current.assign(rate)
            with tf.GradientTape() as tape:
                total, parts = self.loss((self._images(self.float64), self.labels))
            optimizer.apply(tape.gradient(total, self.float64.trainable_variables))
            errors["trajectory cross-entropy"].append(_relative(parts["cross_entropy"], fit))
            errors["trajectory penalty"].append(_relative(parts["penalty"], penalty))


def _count_wrong(gradient_errors):
    return sum(not error <= TOLERANCES[quantity] for quantity, error in gradient_errors)


def _relative(ours, golden):
    """The largest difference, relative to the largest golden number."""
    ours, golden = np.asarray(ours, np.float64), np.asarray(golden, np.float64)
    return np.max(np.abs(ours - golden)) / np.max(np.abs(golden))
