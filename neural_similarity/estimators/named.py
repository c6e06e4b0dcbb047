"""The divergences that an estimator takes by name, and the numbers they are for."""

import numpy as np

from neural_similarity import potentials

FIXED = {
    "squared_euclidean": potentials.SquaredEuclidean,
    "generalized_kl": potentials.GeneralizedKL,
    "itakura_saito": potentials.ItakuraSaito,
    "logistic": potentials.Logistic,
    "log_sum_exp": potentials.LogSumExp,
}
LEARNED = {
    "mahalanobis": potentials.Mahalanobis,
    "max_affine": potentials.MaxAffine,
    "input_convex": potentials.InputConvex,
}
_WORDS = {"positive": "numbers greater than 0", "unit": "numbers between 0 and 1, both excluded"}


def layer_for(divergence, seed: int, dtype: str, names=(*FIXED, *LEARNED)) -> potentials.Potential:
    """A layer of an estimator's own.

    Args:
        divergence: one of `names`; or a `potentials.Potential`, of which a copy is made: with its weights, if it has
            them, and else with weights of the estimator's seed where it has no seed itself.
        seed: of the weights.
        dtype: of the layer, `"float32"` or `"float64"`; a layer that is copied has its own.
        names: those that may be given.

    Raises:
        ValueError: there is no such divergence.
    """
    if isinstance(divergence, potentials.Potential):
        config = divergence.get_config()
        if config.get("seed", 0) is None:
            config["seed"] = seed
        layer = type(divergence).from_config(config)
        if divergence.weights:
            layer.build((None, divergence.dimensions))
            layer.set_weights(divergence.get_weights())
        return layer
    if not isinstance(divergence, str) or divergence not in names:
        raise ValueError(
            f"`divergence` must be one of {', '.join(map(repr, names))}, or a potential of "
            f"neural_similarity.potentials. Received: {divergence!r}"
        )
    seeds = {"seed": seed} if divergence in ("max_affine", "input_convex") else {}
    return {**FIXED, **LEARNED}[divergence](dtype=dtype, **seeds)


def check_domain(x: np.ndarray, layer: potentials.Potential) -> None:
    """Raises a `ValueError` if the layer's divergence is not defined for these numbers, in its own dtype."""
    x = np.asarray(x).astype(layer.compute_dtype)
    wrong = {"positive": x <= 0, "unit": (x <= 0) | (x >= 1), "real": np.zeros(x.shape, bool)}[layer.domain]
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"X[{row}, {column}] is {x[row, column]:g}; {type(layer).__name__} is for {_WORDS[layer.domain]}. Next: "
            "another divergence, or neural_similarity.potentials.into_domain(X, …), which maps all numbers there"
        )
