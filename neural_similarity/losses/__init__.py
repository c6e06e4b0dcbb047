# ruff: noqa: E402  Keras' backend is checked before Keras is imported, as Keras would say that JAX is not installed
"""Losses: of classifiers, tensors in and a tensor out; of embeddings, for `model.compile(loss=…)` and for a loop."""

from neural_similarity.backend import check_backend

check_backend()

from neural_similarity.losses.contrastive import ContrastiveLoss
from neural_similarity.losses.embedding_loss import EmbeddingLoss
from neural_similarity.losses.margin import MarginLoss
from neural_similarity.losses.mined_loss import MinedLoss
from neural_similarity.losses.multi_similarity import MultiSimilarityLoss
from neural_similarity.losses.n_pair import NPairLoss
from neural_similarity.losses.normalized_softmax import NormalizedSoftmaxLoss
from neural_similarity.losses.proxy_anchor import ProxyAnchorLoss
from neural_similarity.losses.proxy_loss import ProxyLoss
from neural_similarity.losses.regression import relative_squared_error
from neural_similarity.losses.smoothed import smoothed_cross_entropy
from neural_similarity.losses.triplet import TripletLoss

__all__ = [
    "ContrastiveLoss",
    "EmbeddingLoss",
    "MarginLoss",
    "MinedLoss",
    "MultiSimilarityLoss",
    "NPairLoss",
    "NormalizedSoftmaxLoss",
    "ProxyAnchorLoss",
    "ProxyLoss",
    "TripletLoss",
    "relative_squared_error",
    "smoothed_cross_entropy",
]
