"""How far the similarity matrices of a network are from the identity."""

import keras
import tensorflow as tf

from neural_similarity.layers import DynamicSimilarityConv2D, StaticSimilarityConv2D


def mean_deviations(model: keras.Model):
    """Makes the function that measures |M − I| in each layer that has an M.

    Args:
        model: a functional Keras model.

    Returns:
        `deviations(images)`, which gives {layer name: float32 scalar}, the mean of |M − I| over the entries of M. For a
        diagonal M these are the k entries of its diagonal. A static M does not depend on the images. A dynamic M is the
        one that inference uses, and its mean is also over the images `(b, h, w, c)` and over all pixels.
        None if no layer has an M.
    """
    static = [layer for layer in model.layers if isinstance(layer, StaticSimilarityConv2D)]
    dynamic = [layer for layer in model.layers if isinstance(layer, DynamicSimilarityConv2D)]
    if not static + dynamic:
        return None
    inputs_of_dynamic = keras.Model(model.input, [layer.input for layer in dynamic]) if dynamic else None

    def deviations(images):
        found = [(layer, tf.convert_to_tensor(layer.similarity_matrix)) for layer in static]
        inputs = tf.nest.flatten(inputs_of_dynamic(images, training=False)) if dynamic else []
        found += [(layer, layer.predictor(x, training=False)) for layer, x in zip(dynamic, inputs, strict=True)]
        return {layer.name: _deviation(matrix, layer.structure) for layer, matrix in found}

    return deviations


def _deviation(matrix, structure):
    matrix = tf.cast(matrix, tf.float32)
    identity = 1.0 if structure == "diagonal" else tf.eye(matrix.shape[-1])
    return tf.reduce_mean(tf.abs(matrix - identity))
