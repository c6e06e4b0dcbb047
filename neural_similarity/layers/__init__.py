"""Keras layers over `neural_similarity.ops`, usable in any Keras model on the TensorFlow backend."""

from neural_similarity.layers.batch_norm import DebiasedBatchNormalization
from neural_similarity.layers.dynamic import DynamicSimilarityConv2D
from neural_similarity.layers.global_similarity import GlobalSimilarity2D
from neural_similarity.layers.predictor import NeuralSimilarityPredictor
from neural_similarity.layers.regularizers import Orthogonality, TowardsIdentity
from neural_similarity.layers.sphere import SphereConv2D
from neural_similarity.layers.static import StaticSimilarityConv2D

__all__ = [
    "DebiasedBatchNormalization",
    "DynamicSimilarityConv2D",
    "GlobalSimilarity2D",
    "NeuralSimilarityPredictor",
    "Orthogonality",
    "SphereConv2D",
    "StaticSimilarityConv2D",
    "TowardsIdentity",
]
