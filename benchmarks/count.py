"""Multiply-adds of a network, and the plain network that needs as many."""

import itertools
import math

import keras

from neural_similarity.layers import DynamicSimilarityConv2D, GlobalSimilarity2D
from neural_similarity.models import cnn9

_VECTOR = 16  # the plain network's widths are multiples of what its kernels compute at once: no handicap for it


def multiply_adds(model):
    """Of one image's forward pass through the convolutions, the predictors and M, and the attention."""
    total = sum(_of_layer(layer) for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    return total + sum(_of_attention(layer) for layer in model.layers if isinstance(layer, GlobalSimilarity2D))


def _of_layer(layer):
    _, height, width, _ = layer.output.shape
    total = height * width * math.prod(layer.kernel.shape)
    if isinstance(layer, DynamicSimilarityConv2D):
        _, height_in, width_in, channels = layer.input.shape
        taps = math.prod(layer.kernel_size)
        total += height_in * width_in * sum(math.prod(kernel.shape) for kernel in layer.predictor.kernels)
        total += height * width * channels * (taps if layer.structure == "diagonal" else taps**2)
    return total


def _of_attention(layer):
    _, height, width, channels = layer.output.shape
    pixels, seen_by = height * width, layer.query_kernel.shape[-1]
    projections = sum(math.prod(kernel.shape) for kernel in (layer.query_kernel, layer.key_kernel, layer.value_kernel))
    return pixels * projections + pixels**2 * (seen_by + channels)


def widths_of_equal_work(total):
    """Widths of the plain CNN-9 whose multiply-adds come nearest to `total`."""
    base = (32, 64, 128)
    scale = math.sqrt(total / multiply_adds(cnn9(10, widths=base)))
    nearby = [[_VECTOR * max(1, round(scale * width / _VECTOR) + i) for i in (-1, 0, 1)] for width in base]
    return min(itertools.product(*nearby), key=lambda widths: abs(multiply_adds(cnn9(10, widths=widths)) - total))
