"""The released code's name and layout of every variable of our networks."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from neural_similarity.layers import (
    BatchNormalization2D,
    DynamicSimilarityConv2D,
    GlobalSimilarity2D,
    StaticSimilarityConv2D,
)

# The networks of the released code. Each has a config of its name in configs/cifar10/released.
RELEASED_NETWORKS = ("static_dns", "static_uns", "dynamic_dns", "dynamic_uns", "nsl_fspherenet", "sa_spherenet")


@dataclasses.dataclass(frozen=True)
class ReleasedVariable:
    """One variable of the released code, and the variable of ours that holds the same numbers.

    Attributes:
        ours: our Keras variable.
        to_ours: turns an array of the released shape into one of our shape. It only changes the order of the numbers,
            so it also turns a released gradient into ours.
        to_released: turns an array of our shape into one of the released shape.
    """

    ours: keras.Variable
    to_ours: Callable
    to_released: Callable


def released_variables(model):
    """Which variable of our model belongs to each variable of the same network in the released code.

    Args:
        model: a `cnn9` or a `spherenet9`.

    Returns:
        Released name → `ReleasedVariable`. The `updates` of our batch normalisations are left out, because the released
        code counts no updates.
    """
    table = {}
    # In the released similarity experiments (cnn9) the nine convolutions are one scope deeper than in the SphereNets,
    # and γ and β have four axes.
    similarity = model.name == "cnn9"

    def add(name, variable, released_shape=None, to_ours=None, to_released=None):
        shape = tuple(variable.shape)
        table[name] = ReleasedVariable(
            variable,
            to_ours or (lambda array: array.reshape(shape)),
            to_released or (lambda array: array.reshape(released_shape or shape)),
        )

    def add_batch_norm(scope, layer):
        channels = (1, 1, 1, layer.gamma.shape[0]) if similarity else layer.gamma.shape
        add(f"{scope}/bn/gamma/bias", layer.gamma, channels)
        add(f"{scope}/bn/beta/bias", layer.beta, channels)
        moments = f"{scope}/bn/{scope}/bn/moments"  # TensorFlow 1 wrote the scope of a moving average twice
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
            add(f"{scope}/filter", layer.kernel, None, *_kernel_as_matrix(layer.kernel.shape))
        elif isinstance(layer, DynamicSimilarityConv2D):
            add_predictor(layer.name, layer.predictor)
            conversion = _taps_among_filters(layer.kernel.shape) if layer.structure == "unconstrained" else ()
            add(f"{scope}/filter", layer.kernel, None, *conversion)
        else:
            add(f"{scope}/filter", layer.kernel)
    return table


def _kernel_as_matrix(shape):
    """Conversions (to ours, to released) between `(kh, kw, i, o)` and the matrix `(i·o, 9)` of static networks.

    The matrix has one row for each pair of an input channel and a filter, and one column for each tap. The row of input
    channel c and filter f is c·o + f. Example: with 64 filters, row 130 = 2·64 + 2 holds the nine taps of channel 2 in
    filter 2.
    """
    return (
        lambda array: np.reshape(np.transpose(array), shape),
        lambda array: np.transpose(np.reshape(array, (-1, shape[2] * shape[3]))),
    )


def _taps_among_filters(shape):
    """Conversions (to ours, to released) between `(kh, kw, i, o)` and the `(1, 1, i, 9·o)` of dynamic UNS.

    The last released axis holds the o filters of tap 0, then those of tap 1, and so on: tap t of filter f has the place
    t·o + f. Example: with 64 filters, place 130 = 2·64 + 2 is tap 2 of filter 2.
    """
    kh, kw, i, o = shape
    return (
        lambda array: array.reshape(i, kh * kw, o).transpose(1, 0, 2).reshape(shape),
        lambda array: array.reshape(kh * kw, i, o).transpose(1, 0, 2).reshape(1, 1, i, kh * kw * o),
    )
