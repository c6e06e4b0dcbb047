"""The released code's name and layout of every variable of our networks."""

import dataclasses
from collections.abc import Callable

import numpy as np

from neural_similarity.layers import (
    DebiasedBatchNormalization,
    DynamicSimilarityConv2D,
    GlobalSimilarity2D,
    StaticSimilarityConv2D,
)


@dataclasses.dataclass(frozen=True)
class Released:
    """One variable of the released code and where it lives in ours.

    Attributes:
        variable: our Keras variable.
        decode: the released array → ours; a reordering, so that gradients go the same ways.
        encode: ours → the released array.
    """

    variable: object
    decode: Callable
    encode: Callable


def released_variables(model):
    """Released name → `Released`, for every variable of a released network but the debiased averages' update counts."""
    table = {}
    # The similarity experiments kept their nine convolutions a scope deeper than the SphereNets, and γ and β in 4-D.
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

    deep = {layer.name for layer in model.layers if layer.name.startswith("conv") and hasattr(layer, "kernel")}
    deep = deep if similarity else set()
    for layer in model.layers:
        if isinstance(layer, DebiasedBatchNormalization):
            owner = layer.name.removesuffix("_bn")
            add_batch_norm(f"{owner}/conv" if owner in deep else owner, layer)
            continue
        if isinstance(layer, GlobalSimilarity2D):
            add_attention(layer.name, layer)
            continue
        if not hasattr(layer, "kernel"):
            continue
        scope = f"{layer.name}/conv" if layer.name in deep else layer.name
        if isinstance(layer, StaticSimilarityConv2D):
            square = (9, 9) if layer.structure == "unconstrained" else (1, 9)
            add(f"{scope}/mask", layer.similarity_matrix, square)
            add(f"{scope}/filter", layer.kernel, None, *_rows_of_taps(layer.kernel.shape))
        elif isinstance(layer, DynamicSimilarityConv2D):
            add_predictor(layer.name, layer.predictor)
            blown_up = layer.structure == "unconstrained"
            add(f"{scope}/filter", layer.kernel, None, *(_taps_in_filters(layer.kernel.shape) if blown_up else ()))
        else:
            add(f"{scope}/filter", layer.kernel)
    return table


def _rows_of_taps(shape):
    """Static networks keep W as (i·o, 9), row c_in·o + c_out, column tap."""
    return (
        lambda array: np.reshape(np.transpose(array), shape),
        lambda array: np.transpose(np.reshape(array, (-1, shape[2] * shape[3]))),
    )


def _taps_in_filters(shape):
    """Dynamic UNS keeps W as (1, 1, i, 9·o), the tap being the slower index of the last axis."""
    kh, kw, i, o = shape
    return (
        lambda array: array.reshape(i, kh * kw, o).transpose(1, 0, 2).reshape(shape),
        lambda array: array.reshape(kh * kw, i, o).transpose(1, 0, 2).reshape(1, 1, i, kh * kw * o),
    )
