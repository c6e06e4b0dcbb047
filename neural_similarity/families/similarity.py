"""The convolutions that a config's section `similarity` describes."""

import functools

import keras

from neural_similarity.layers import DynamicSimilarityConv2D, NeuralSimilarityPredictor, StaticSimilarityConv2D


def convolution(similarity, **further):
    """What makes the convolutions that a section describes, as the networks take it.

    Args:
        similarity: a `config.similarity.NoSimilarity`, `StaticSimilarity` or `DynamicSimilarity`.
        **further: arguments beside those of the section: of the convolutions if M is static, of their predictors if it
            is dynamic.
    """
    if similarity.kind == "none":
        return keras.layers.Conv2D
    structure = similarity.structure
    if similarity.kind == "static":
        return functools.partial(StaticSimilarityConv2D, structure=structure, **further)

    def dynamic(*arguments, dtype, **kwargs):
        predictor = NeuralSimilarityPredictor(
            similarity.filters,
            structure=structure,
            normalization=similarity.normalization,
            gamma_initializer=similarity.gamma_initializer,
            init_scales=similarity.init_scales,
            batch_norm=similarity.batch_norm,
            dtype=dtype,
            name="predictor",
            **further,
        )
        return DynamicSimilarityConv2D(*arguments, structure=structure, predictor=predictor, dtype=dtype, **kwargs)

    return dynamic
