"""Counts the multiply-adds of a network, and finds the plain network that needs about as many."""

import itertools
import math

import keras

from neural_similarity.layers import DynamicSimilarityConv2D, GlobalSimilarity2D
from neural_similarity.models import cnn9

# The plain network's widths are multiples of what its convolution kernels compute at once. Other widths would slow it
# down, and it is there to show how fast so many multiply-adds can be.
_WIDTH_STEP = 16


def multiply_adds(model):
    """How many multiply-adds the forward pass of one image takes.

    Counted are convolutions, predictors, the product with M, and attention; not normalisation, ReLU and pooling.
    """
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
    pixels, query_channels = height * width, layer.query_kernel.shape[-1]
    projections = sum(math.prod(kernel.shape) for kernel in (layer.query_kernel, layer.key_kernel, layer.value_kernel))
    return pixels * projections + pixels**2 * (query_channels + channels)


def widths_of_equal_work(total):
    """The three widths, multiples of 16, of the plain CNN-9 whose multiply-adds come nearest to `total`."""
    base = (32, 64, 128)
    scale = math.sqrt(total / multiply_adds(cnn9(10, widths=base)))
    nearby = [[_WIDTH_STEP * max(1, round(scale * width / _WIDTH_STEP) + i) for i in (-1, 0, 1)] for width in base]
    return min(itertools.product(*nearby), key=lambda widths: abs(multiply_adds(cnn9(10, widths=widths)) - total))
