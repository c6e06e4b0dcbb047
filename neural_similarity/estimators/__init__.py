"""Bregman divergences as estimators, in scikit-learn's manner."""

from neural_similarity.estimators.divergence import BregmanDivergence
from neural_similarity.estimators.k_means import BregmanKMeans

__all__ = ["BregmanDivergence", "BregmanKMeans"]
