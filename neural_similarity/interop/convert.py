"""Turns a checkpoint of the released TensorFlow 1 code into a Keras model.

    python -m neural_similarity convert CKPT --config configs/cifar10/released/NAME.yaml --out model.keras

A dynamic DNS network and one with the full SphereNet predictor have the same variables: the config says which it is.
CKPT is what `tf.train.Saver` wrote there, as `model_cifar10/dynamic_dns/42499`. `keras.models.load_model` reads the
result once `neural_similarity.layers` is imported; `neural_similarity.merge` makes a static one plain Keras.
"""

import re

import numpy as np
import tensorflow as tf

from neural_similarity import config as configs
from neural_similarity.errors import UserError
from neural_similarity.families.image_recognition import class_names, network
from neural_similarity.interop.keras_files import check_new_file, count_parameters, save_whole
from neural_similarity.interop.parity import NETWORKS
from neural_similarity.interop.released_names import released_variables

SLOTS = ("Momentum", "Adam", "Adam_1", "beta1_power", "beta2_power")  # the optimisers' own variables
MANY_UPDATES = 2.0**24  # after as many, debiasing an average changes nothing


def convert(checkpoint, config):
    """The network of `config` with the weights and averages of a released checkpoint.

    Args:
        checkpoint: path of a TensorFlow 1 checkpoint, with or without `.index`, `.meta` or `.data-…`.
        config: the `Config` of the network; its widths and data set are the checkpoint's.

    Returns:
        A functional `keras.Model` from raw images `(b, h, w, 3)` to logits `(b, classes)`, float32.

    Raises:
        UserError: no checkpoint, a damaged one, or one of another network.
    """
    path = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", str(checkpoint))
    reader, shapes = _open(path)
    model = network(config, len(class_names(config)), dtype="float32")
    table = released_variables(model)
    _check(path, shapes, table)
    for name, own in table.items():
        own.variable.assign(own.decode(_read(reader, path, name)))
    for variable in model.non_trainable_variables:
        if variable.name == "updates":  # of the averages, which the checkpoint does not count
            variable.assign(MANY_UPDATES)
    return model


def _open(path):
    try:
        reader = tf.train.load_checkpoint(path)
        return reader, reader.get_variable_to_shape_map()
    except Exception as error:  # as below
        raise UserError(
            f"{path}: no TensorFlow 1 checkpoint that can be read ({_first_line(error)}). "
            f"Expected {path}.index and {path}.data-00000-of-00001, as the released train.py saves them."
        ) from error


def _read(reader, path, name):
    try:
        array = reader.get_tensor(name)
    except Exception as error:  # TensorFlow hands on its errors as Python's, each as another
        raise UserError(f"{path}: damaged at {name} ({_first_line(error)}). Copy the checkpoint anew.") from error
    if not np.isfinite(array).all():
        raise UserError(f"{path}: {name} is not finite; the network had diverged when it was saved.")
    return array


def _check(path, shapes, table):
    """Raises a `UserError` unless the checkpoint holds just the variables of `table`, in their released shapes."""
    held = {_kind(name, shape) for name, shape in shapes.items() if name.split("/")[-1] not in SLOTS}
    if odd := sorted(held ^ (own := _kinds(table))):
        where = "the config's network has it, the checkpoint not" if odd[0] in own else "only the checkpoint has it"
        raise UserError(f"{path}: of another network than the config's ({odd[0]}: {where}).{_owners(held)}")
    for name, own in table.items():
        expected = list(own.encode(np.zeros(own.variable.shape)).shape)
        if shapes[name] != expected:
            raise UserError(
                f"{path}: {name} has the shape {shapes[name]}, the config's network {expected}. "
                "Take the config of its data set (the classifier's last number is the classes) and widths."
            )


def _kinds(table):
    return {_kind(name, own.encode(np.zeros(own.variable.shape)).shape) for name, own in table.items()}


def _kind(name, shape):
    """What tells networks apart whatever their widths: the variable's name, and of M its shape."""
    return f"{name} {list(shape)}" if name.endswith("/mask") else name


def _owners(held):
    """Which released networks have these variables, in a sentence."""
    found = []
    for name in NETWORKS:
        path = f"configs/cifar10/released/{name}.yaml"
        config = configs.load(path, ["model.widths=[8, 8, 8]"], environment={})
        found += [path] if held == _kinds(released_variables(network(config, 1))) else []
    return f" Its variables are those of {' or '.join(found)}." if found else ""


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def export(checkpoint, config_path, overrides, out):
    """Writes a released checkpoint as a Keras model; returns lines that say what was written.

    Args:
        checkpoint: as for `convert`.
        config_path, overrides: the config of the checkpoint's network, as `config.load` takes them.
        out: the `.keras` file to write, a new one.

    Raises:
        UserError: as `convert`; or a wrong config, or `out` cannot be written.
    """
    check_new_file(out)
    config = configs.load(config_path, overrides)
    saved = save_whole(convert(checkpoint, config), out)
    text = f"{out}: {configs.name_of(config_path)}, {count_parameters(saved):,} parameters"
    if config.similarity.kind == "dynamic":
        normalization = config.similarity.normalization
        text += f"\nsimilarity.normalization: {normalization}, as the config says; a checkpoint does not."
    return text
