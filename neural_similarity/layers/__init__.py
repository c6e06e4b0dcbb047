"""Keras layers over `neural_similarity.ops`, usable in any Keras model on the TensorFlow backend."""

from neural_similarity.backend import check_backend

check_backend()  # before Keras is imported, as Keras would say that JAX is not installed

from neural_similarity.layers.application_input import ApplicationInput
from neural_similarity.layers.batch_norm import BatchNormalization2D
from neural_similarity.layers.cosine import CosineClassifier
from neural_similarity.layers.dynamic import DynamicSimilarityConv2D
from neural_similarity.layers.fixed_statistics import FixedStatistics
from neural_similarity.layers.global_similarity import GlobalSimilarity2D
from neural_similarity.layers.inner_rates import InnerRates
from neural_similarity.layers.predictor import NeuralSimilarityPredictor
from neural_similarity.layers.regularizers import Orthogonality, TowardsIdentity, penalty_terms, weight_decay
from neural_similarity.layers.sphere import SphereConv2D
from neural_similarity.layers.static import StaticSimilarityConv2D

__all__ = [
    "ApplicationInput",
    "BatchNormalization2D",
    "CosineClassifier",
    "DynamicSimilarityConv2D",
    "FixedStatistics",
    "GlobalSimilarity2D",
    "InnerRates",
    "NeuralSimilarityPredictor",
    "Orthogonality",
    "SphereConv2D",
    "StaticSimilarityConv2D",
    "TowardsIdentity",
    "penalty_terms",
    "weight_decay",
]
