"""Bregman divergences as estimators, in scikit-learn's manner."""

from neural_similarity.backend import check_backend

check_backend()  # before Keras is imported, as Keras would say that JAX is not installed


from neural_similarity.estimators.divergence import BregmanDivergence
from neural_similarity.estimators.k_means import BregmanKMeans

__all__ = ["BregmanDivergence", "BregmanKMeans"]
