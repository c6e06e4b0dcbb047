"""The divergences that an estimator takes by name, and the numbers they are for."""

import keras
import numpy as np

from neural_similarity import potentials

_NAMED = {
    "squared_euclidean": potentials.SquaredEuclidean,
    "mahalanobis": potentials.Mahalanobis,
    "generalized_kl": potentials.GeneralizedKL,
    "itakura_saito": potentials.ItakuraSaito,
    "logistic": potentials.Logistic,
    "log_sum_exp": potentials.LogSumExp,
    "max_affine": potentials.MaxAffine,
    "input_convex": potentials.InputConvex,
}
_SEEDED = ("max_affine", "input_convex")
_WORDS = {"positive": "numbers greater than 0", "unit": "numbers between 0 and 1, both excluded"}


def divergence_of(divergence, seed: int, dtype: str) -> potentials.Divergence:
    """A layer of its own for an estimator.

    Args:
        divergence: the name of one, or a `potentials.Divergence`, of which a copy with new weights is made.
        seed: of the weights of those that have a name.
        dtype: likewise, `"float32"` or `"float64"`.

    Raises:
        ValueError: there is no such divergence.
    """
    if isinstance(divergence, potentials.Divergence):
        return type(divergence).from_config(divergence.get_config())
    if not isinstance(divergence, str) or divergence not in _NAMED:
        raise ValueError(
            f"`divergence` must be one of {', '.join(map(repr, _NAMED))}, or a layer of "
            f"neural_similarity.potentials. Received: {divergence!r}"
        )
    seeds = {"seed": seed} if divergence in _SEEDED else {}
    return _NAMED[divergence](dtype=dtype, **seeds)


def check_domain(x: np.ndarray, layer: keras.layers.Layer) -> None:
    """Raises a `ValueError` if the layer's divergence is not defined for these numbers."""
    domain = getattr(layer, "domain", "real")
    wrong = {"positive": x <= 0, "unit": (x <= 0) | (x >= 1), "real": np.zeros((), bool)}[domain]
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"X[{row}, {column}] is {x[row, column]:g}; {type(layer).__name__} is for {_WORDS[domain]}. Next: another "
            "divergence, or neural_similarity.potentials.into_domain(X, …), which maps all numbers there"
        )
