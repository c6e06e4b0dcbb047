"""A potential of every kind, with weights that look trained, and points in its domain."""

import numpy as np
from slow_forms import normal

from neural_similarity import potentials

_MAKE = {
    "squared_euclidean": potentials.SquaredEuclidean,
    "mahalanobis": lambda **kw: potentials.Mahalanobis(2, curvature=0.3, **kw),
    "kl": potentials.GeneralizedKL,
    "itakura_saito": potentials.ItakuraSaito,
    "logistic": potentials.Logistic,
    "log_sum_exp": potentials.LogSumExp,
    "max_affine": lambda **kw: potentials.MaxAffine(7, temperature=0, seed=0, **kw),
    "max_affine_smooth": lambda **kw: potentials.MaxAffine(7, temperature=0.2, seed=0, **kw),
    "max_affine_curved": lambda **kw: potentials.MaxAffine(7, temperature=0.2, curvature=0.5, seed=0, **kw),
    "input_convex": lambda **kw: potentials.InputConvex(2, 8, seed=0, **kw),
    "input_convex_deep": lambda **kw: potentials.InputConvex(3, 6, sharpness=4, seed=0, **kw),
    "input_convex_shallow": lambda **kw: potentials.InputConvex(1, 8, seed=0, **kw),
}
ALL = list(_MAKE)
NEEDS_REFERENCE = [name for name in ALL if name != "max_affine"]  # there, many references are equally near
DIMENSIONS = 3


def made(name, dtype="float64"):
    """The potential of that name for vectors of three numbers, with moved weights that are the same in every dtype."""
    potential, wide = (_MAKE[name](dtype=each) for each in (dtype, "float64"))
    for each in (potential, wide):
        each.build((None, DIMENSIONS))
    for seed, (variable, start) in enumerate(zip(potential.weights, wide.weights, strict=True)):
        variable.assign(start.numpy() + 0.3 * normal(100 + seed, *start.shape))
    return potential


def points(name, count, seed):
    """`(count, 3)` float64, in the domain of the potential of that name."""
    x = normal(seed, count, DIMENSIONS)
    if name in ("kl", "itakura_saito"):
        return np.exp(0.5 * x)
    return 1 / (1 + np.exp(-x)) if name == "logistic" else x
