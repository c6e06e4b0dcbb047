"""The released code's name and layout of every variable of our networks."""

import dataclasses
from collections.abc import Callable

import numpy as np

from neural_similarity.layers import (
    BatchNormalization2D,
    DynamicSimilarityConv2D,
    GlobalSimilarity2D,
    StaticSimilarityConv2D,
)


@dataclasses.dataclass(frozen=True)
class Released:
    """One variable of the released code and where it lives in ours.

    Attributes:
        variable: our Keras variable.
        decode: turns the released array into ours. It only reorders numbers, so it serves for gradients too.
        encode: turns our array into the released one.
    """

    variable: object
    decode: Callable
    encode: Callable


def released_variables(model):
    """Where each variable of a released network lives in our model of the same network.

    Args:
        model: a `cnn9` or a `spherenet9`.

    Returns:
        Released name → `Released`. The `updates` of our batch normalisations are left out: the released code has no
        such count.
    """
    table = {}
    # In the released similarity experiments (cnn9) the nine convolutions are one scope deeper than in the SphereNets,
    # and γ and β have four axes.
    similarity = model.name == "cnn9"

    def add(name, variable, shape=None, decode=None, encode=None):
        own = tuple(variable.shape)
        table[name] = Released(
            variable,
            decode or (lambda array: array.reshape(own)),
            encode or (lambda array: array.reshape(shape or own)),
        )

    def add_batch_norm(scope, layer):
        channels = (1, 1, 1, layer.gamma.shape[0]) if similarity else layer.gamma.shape
        add(f"{scope}/bn/gamma/bias", layer.gamma, channels)
        add(f"{scope}/bn/beta/bias", layer.beta, channels)
        moments = f"{scope}/bn/{scope}/bn/moments"  # TensorFlow 1 doubled the scope of a moving average
        add(f"{moments}/Squeeze/ExponentialMovingAverage", layer.moving_mean)
        add(f"{moments}/Squeeze_1/ExponentialMovingAverage", layer.moving_variance)

    def add_predictor(scope, predictor):
        for i, kernel in enumerate(predictor.kernels):
            add(f"{scope}/m{i + 1}/filter", kernel)
            if predictor.batch_norm:
                add_batch_norm(f"{scope}/m{i + 1}", predictor.batch_norms[i])

    def add_attention(scope, layer):
        for name, kernel in (
            ("first", layer.query_kernel),
            ("second", layer.key_kernel),
            ("third", layer.value_kernel),
        ):
            add(f"{scope}/att_{name}/filter", kernel)
        add(f"{scope}/gamma", layer.gamma, (1,))

    one_scope_deeper = set()
    if similarity:
        convolutions = [layer for layer in model.layers if hasattr(layer, "kernel")]
        one_scope_deeper = {layer.name for layer in convolutions if layer.name.startswith("conv")}
    for layer in model.layers:
        if isinstance(layer, BatchNormalization2D):
            owner = layer.name.removesuffix("_bn")
            add_batch_norm(f"{owner}/conv" if owner in one_scope_deeper else owner, layer)
            continue
        if isinstance(layer, GlobalSimilarity2D):
            add_attention(layer.name, layer)
            continue
        if not hasattr(layer, "kernel"):
            continue
        scope = f"{layer.name}/conv" if layer.name in one_scope_deeper else layer.name
        if isinstance(layer, StaticSimilarityConv2D):
            square = (9, 9) if layer.structure == "unconstrained" else (1, 9)
            add(f"{scope}/mask", layer.similarity_matrix, square)
            add(f"{scope}/filter", layer.kernel, None, *_rows_of_taps(layer.kernel.shape))
        elif isinstance(layer, DynamicSimilarityConv2D):
            add_predictor(layer.name, layer.predictor)
            taps_in_filters = layer.structure == "unconstrained"
            conversion = _taps_in_filters(layer.kernel.shape) if taps_in_filters else ()
            add(f"{scope}/filter", layer.kernel, None, *conversion)
        else:
            add(f"{scope}/filter", layer.kernel)
    return table


def _rows_of_taps(shape):
    """Decode and encode: released static networks keep W as (i·o, 9), row c_in·o + c_out, column tap."""
    return (
        lambda array: np.reshape(np.transpose(array), shape),
        lambda array: np.transpose(np.reshape(array, (-1, shape[2] * shape[3]))),
    )


def _taps_in_filters(shape):
    """Decode and encode: released dynamic UNS keeps W as (1, 1, i, 9·o), at tap·o + c_out of the last axis."""
    kh, kw, i, o = shape
    return (
        lambda array: array.reshape(i, kh * kw, o).transpose(1, 0, 2).reshape(shape),
        lambda array: array.reshape(kh * kw, i, o).transpose(1, 0, 2).reshape(1, 1, i, kh * kw * o),
    )
