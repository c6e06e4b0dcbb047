"""Turns a checkpoint of the released TensorFlow 1 code into a Keras model.

    python -m neural_similarity convert CKPT --config configs/cifar10/released/NAME.yaml --out model.keras

CKPT is what `tf.train.Saver` wrote there, as `model_cifar10/dynamic_dns/42499`. The config says which network it is,
because the checkpoint alone does not: a dynamic DNS network and one with the full SphereNet predictor have the same
variables. `keras.models.load_model` reads the result once `neural_similarity.layers` is imported. A static network can
then be made into plain Keras layers, with `neural_similarity.merge`.
"""

import functools

import numpy as np
import tensorflow as tf

from neural_similarity import config as configs
from neural_similarity.errors import UserError
from neural_similarity.families.image_recognition import network, num_classes
from neural_similarity.interop.checkpoint_files import opened, prefix_of
from neural_similarity.interop.keras_files import check_new_file, count_parameters, save_whole
from neural_similarity.interop.released_names import RELEASED_NETWORKS, released_variables

SLOTS = ("Momentum", "Adam", "Adam_1", "beta1_power", "beta2_power")  # the optimisers' own variables
MANY_UPDATES = 2.0**24  # after so many updates, an average is the same with and without debiasing


def convert(checkpoint, config):
    """The network of a config, with the weights and moving averages of a released checkpoint.

    Args:
        checkpoint: path of a TensorFlow 1 checkpoint, with or without `.index`, `.meta` or `.data-…`; or of a folder
            with just one in it.
        config: the `Config` of the same network, with the checkpoint's widths and data set.

    Returns:
        A functional `keras.Model` from raw images `(b, h, w, 3)` to logits `(b, classes)`, float32.

    Raises:
        UserError: there is no checkpoint, it is damaged, or it is of another network.
    """
    path = prefix_of(checkpoint)
    model = network(config, num_classes(config), dtype="float32")
    table = released_variables(model)
    with opened(path) as variables:
        _check(path, variables.shapes, variables.types, table)
        for name, released in table.items():
            released.ours.assign(released.to_ours(variables.read(name)))
    for variable in model.non_trainable_variables:
        if variable.name == "updates":  # the checkpoint does not say how many updates its averages have had
            variable.assign(MANY_UPDATES)
    return model


def _check(path, shapes, types, table):
    """Raises a `UserError` unless the checkpoint has exactly the variables of the config's network, as it has them.

    Args:
        path: of the checkpoint.
        shapes: released name → shape in the checkpoint.
        types: released name → dtype in the checkpoint.
        table: what `released_variables` returns for the config's network.
    """
    saved = {_label(name, shape) for name, shape in shapes.items() if name.split("/")[-1] not in SLOTS}
    expected = _labels(table)
    if differing := sorted(saved ^ expected):
        where = "the config's network has it, the checkpoint not"
        where = where if differing[0] in expected else "only the checkpoint has it"
        raise UserError(
            f"{path}: of another network than the config's ({differing[0]}: {where}).{_networks_with(saved)}"
        )
    for name, released in table.items():
        shape = list(_released_shape(released))
        if shapes[name] != shape:
            raise UserError(
                f"{path}: {name} has the shape {shapes[name]}, the config's network {shape}. "
                "Take the config of its data set (the classifier's last number is the classes) and widths."
            )
        if types[name] != tf.float32:
            raise UserError(f"{path}: {name} holds {types[name].name}; the released code saves float32.")


def _labels(table):
    return {_label(name, _released_shape(released)) for name, released in table.items()}


def _label(name, shape):
    """What tells released networks apart, whatever their widths: a variable's name, and for M also its shape.

    Example: static DNS has `conv1_0/conv/mask [1, 9]`, static UNS `conv1_0/conv/mask [9, 9]`. Their names are equal.
    """
    return f"{name} {list(shape)}" if name.endswith("/mask") else name


def _released_shape(released):
    return released.to_released(np.zeros(released.ours.shape)).shape


def _networks_with(labels):
    """A sentence that names the released networks that have just these variables; "" if none has."""
    found = [_config_of(name) for name in RELEASED_NETWORKS if labels == _labels_of_network(name)]
    return f" Its variables are those of {' or '.join(found)}." if found else ""


@functools.cache
def _labels_of_network(name):
    config = configs.load(_config_of(name), ["model.widths=[8, 8, 8]"], environment={})
    return _labels(released_variables(network(config, 1)))


def _config_of(name):
    return f"configs/cifar10/released/{name}.yaml"


def export(checkpoint, config_path, overrides, out):
    """Writes a released checkpoint as a Keras model; returns lines that say what was written.

    Args:
        checkpoint: as for `convert`.
        config_path, overrides: the config of the checkpoint's network, as `config.load` takes them.
        out: the `.keras` file to write, a new one.

    Raises:
        UserError: as `convert`; or the config is wrong, or `out` cannot be written.
    """
    check_new_file(out)
    config = configs.load(config_path, overrides)
    if config.family != "image_recognition":
        raise UserError(
            f"{config_path}: a config of the family `{config.family}`; the released checkpoints are of image "
            "recognition. Next: --config configs/cifar10/released/NAME.yaml"
        )
    saved = save_whole(convert(checkpoint, config), out)
    text = f"{out}: {configs.name_of(config_path)}, {count_parameters(saved):,} parameters"
    if config.similarity.kind == "dynamic":
        normalization = config.similarity.normalization
        text += f"\nsimilarity.normalization: {normalization}, as the config says. The checkpoint cannot tell."
    return text
