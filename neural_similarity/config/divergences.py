"""The sections of divergences, which several families have."""

from typing import Literal

from neural_similarity.config.fields import Count, NonNegative, Positive, Section


class Divergence(Section):
    """`direction` says which image is the sample x in D(x, y): `forward`, the query or anchor; `backward`, the other one.

    The other three give a symmetric number: `jeffreys` the sum of both, `minimum` the smaller one, `jensen` the
    Jensen–Bregman divergence.
    """

    direction: Literal["forward", "backward", "jeffreys", "jensen", "minimum"]


class SquaredEuclidean(Divergence):
    """‖x − y‖², which has no weights."""

    name: Literal["squared_euclidean"]


class Mahalanobis(Divergence):
    """½ ‖Lᵀ(x − y)‖² with a learned L of `rank` columns."""

    name: Literal["mahalanobis"]
    rank: Count


class Pieces(Divergence):
    """The largest of `pieces` functions, smoothed by `temperature`."""

    pieces: Count
    temperature: NonNegative


class MaxAffine(Pieces):
    """The divergence of the largest of affine functions, plus ½ `curvature` ‖x − y‖².

    Their slopes begin with the length `scale`.
    """

    name: Literal["max_affine"]
    curvature: NonNegative
    scale: Positive


class FunctionalMaxAffine(Pieces):
    """The divergence of sets by the largest of networks' means, each with one hidden layer of `width` features."""

    name: Literal["functional_max_affine"]
    width: Count


class MomentMatching(Divergence):
    """The squared distance of two sets' means, which has no weights."""

    name: Literal["moment_matching"]


class InputConvex(Divergence):
    """The divergence of a convex network of `layers` of `width` features. `curvature` is where its learned μ begins."""

    name: Literal["input_convex"]
    layers: Count
    width: Count
    curvature: Positive
    sharpness: Positive
