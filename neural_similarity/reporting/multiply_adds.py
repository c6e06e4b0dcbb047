"""Counts the multiply-adds of a network."""

import math

from neural_similarity.quiet import import_tensorflow

import_tensorflow()  # first, and without its start-up notes

import keras  # noqa: E402

from neural_similarity.layers import (  # noqa: E402
    CosineClassifier,
    DynamicSimilarityConv2D,
    FixedStatistics,
    GlobalSimilarity2D,
)

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
_LINEAR = (keras.layers.Dense, CosineClassifier)  # they act on the vector of an image, or on that of every pixel


def multiply_adds(model):
    """How many multiply-adds the forward pass of one image takes.

    Counted are convolutions, linear layers, predictors, the product with M, and attention; not normalisation, ReLU and
    pooling.
    """
    layers = list(_layers(model))
    total = sum(_of_convolution(layer) for layer in layers if isinstance(layer, _CONVOLUTIONS))
    total += sum(
        math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
        for layer in layers
        if isinstance(layer, _LINEAR)
    )
    return total + sum(_of_attention(layer) for layer in layers if isinstance(layer, GlobalSimilarity2D))


def _layers(model):
    """All layers of a model, with those of the models that it contains."""
    for layer in model.layers:
        layer = layer.layer if isinstance(layer, FixedStatistics) else layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer


def _of_convolution(layer):
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
