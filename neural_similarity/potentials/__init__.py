"""Convex potentials and their Bregman divergences, as Keras layers; and divergences between sets of points.

D(x, y) = φ(x) − φ(y) − ⟨∇φ(y), x − y⟩. x is a sample, y a reference: an image of a gallery, a centre, a prototype.
"""

from neural_similarity.backend import check_backend

check_backend()  # before Keras is imported, as Keras would say that JAX is not installed

from neural_similarity.potentials.divergence import Divergence
from neural_similarity.potentials.domains import into_domain
from neural_similarity.potentials.fixed import GeneralizedKL, ItakuraSaito, Logistic, LogSumExp
from neural_similarity.potentials.input_convex import InputConvex
from neural_similarity.potentials.max_affine import MaxAffine
from neural_similarity.potentials.potential import Described, Potential
from neural_similarity.potentials.quadratic import Mahalanobis, SquaredEuclidean
from neural_similarity.potentials.sets import FunctionalMaxAffine, MomentMatching, SetDivergence

__all__ = [
    "Described",
    "Divergence",
    "FunctionalMaxAffine",
    "GeneralizedKL",
    "InputConvex",
    "ItakuraSaito",
    "LogSumExp",
    "Logistic",
    "Mahalanobis",
    "MaxAffine",
    "MomentMatching",
    "Potential",
    "SetDivergence",
    "SquaredEuclidean",
    "into_domain",
]
