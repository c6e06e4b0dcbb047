"""Heads of classes behind a backbone such as Conv-4, in float32 under a mixed policy too."""

import keras

from neural_similarity.layers import CosineClassifier, InnerRates


def with_linear_head(backbone, num_classes, inner_rates=0, initial_rate=0.01) -> keras.Model:
    """A backbone with a linear classifier, the layer "head".

    Args:
        backbone: a functional model whose output is `(b, f)` features.
        num_classes: width of the classifier.
        inner_rates: how many learning rates of an inner loop the model holds, in a layer "inner_rates".
        initial_rate: where these rates start.

    Returns:
        A functional `keras.Model` from the backbone's input to `(b, num_classes)` logits.
    """
    features = backbone.output
    logits = keras.layers.Dense(num_classes, dtype=features.dtype, name="head")(features)
    if inner_rates:
        logits = InnerRates(inner_rates, initial_rate, dtype=features.dtype, name="inner_rates")(logits)
    return keras.Model(backbone.input, logits, name=f"{backbone.name}_linear")


def with_embedding(backbone, embedding_size) -> keras.Model:
    """A backbone with a linear layer "embedding", from its input to `(b, embedding_size)`; else as above."""
    features = backbone.output
    embedding = keras.layers.Dense(embedding_size, dtype=features.dtype, name="embedding")(features)
    return keras.Model(backbone.input, embedding, name=f"{backbone.name}_embedding")


def with_cosine_head(backbone, num_classes, scale) -> keras.Model:
    """A backbone with a cosine classifier, the layer "head". `scale` multiplies the cosines; else as above."""
    features = backbone.output
    logits = CosineClassifier(num_classes, scale, dtype=features.dtype, name="head")(features)
    return keras.Model(backbone.input, logits, name=f"{backbone.name}_cosine")
