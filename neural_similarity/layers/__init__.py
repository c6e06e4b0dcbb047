"""Keras layers over `neural_similarity.ops`, usable in any Keras model on the TensorFlow backend."""

from neural_similarity.layers.batch_norm import DebiasedBatchNormalization
from neural_similarity.layers.dynamic import DynamicSimilarityConv2D
from neural_similarity.layers.predictor import NeuralSimilarityPredictor
from neural_similarity.layers.regularizers import TowardsIdentity
from neural_similarity.layers.static import StaticSimilarityConv2D

__all__ = [
    "DebiasedBatchNormalization",
    "DynamicSimilarityConv2D",
    "NeuralSimilarityPredictor",
    "StaticSimilarityConv2D",
    "TowardsIdentity",
]
