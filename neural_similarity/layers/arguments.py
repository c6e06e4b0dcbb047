"""Checks of the layers' arguments and inputs."""

import keras

STRUCTURES = ("diagonal", "unconstrained")


def one_of(argument, value, known):
    """Returns `value`, or raises a `ValueError` in Keras' wording if `value` is not among the `known` ones."""
    if value not in known:
        raise ValueError(f"`{argument}` must be one of {', '.join(map(repr, known))}. Received: {value!r}")
    return value


def pair(argument, value):
    """Turns `3` into `(3, 3)`, and a sequence of two, as a list from a JSON file, into a tuple.

    Raises a `ValueError` in Keras' wording for anything else.
    """
    both = (value, value) if isinstance(value, (int, float)) else tuple(value)
    if len(both) != 2 or not all(isinstance(one, (int, float)) and one > 0 for one in both):
        raise ValueError(f"`{argument}` must be one or two numbers greater than 0. Received: {value!r}")
    return both


def check_channels_last(layer, data_format):
    """Raises a `ValueError` unless a subclass of `Conv2D` reads `(b, h, w, i)`.

    Args:
        layer: the layer, whose constructor `Conv2D`'s has run.
        data_format: what its constructor was given; None stands for Keras' setting.
    """
    if layer.data_format != "channels_last":
        setting = "" if data_format else ", from Keras' setting (keras.config.image_data_format)"
        raise ValueError(
            f"{type(layer).__name__} needs data_format='channels_last'. Received: "
            f"data_format={layer.data_format!r}{setting}. Pass data_format='channels_last', and images (b, h, w, i)."
        )


def check_floating(layer, inputs):
    """Raises a `ValueError` where a convolution is given integers or bools, which `Conv2D` refuses too."""
    if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(inputs.dtype)):
        raise ValueError(
            f"{type(layer).__name__} needs floating-point images, as `Conv2D` does. Received: dtype "
            f"{keras.backend.standardize_dtype(inputs.dtype)}. Cast them first: keras.ops.cast(images, 'float32')"
        )
