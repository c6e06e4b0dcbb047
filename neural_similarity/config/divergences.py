"""The sections of divergences, which several families have."""

from typing import Literal

from neural_similarity.config.fields import Count, NonNegative, Positive, Section


class Divergence(Section):
    """`direction` says which image is the sample x in D(x, y): `forward`, the query or anchor; `backward`, the other.

    The other two give a symmetric number: `jeffreys` the sum of both, `minimum` the smaller one.
    """

    direction: Literal["forward", "backward", "jeffreys", "minimum"]


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


def check_rank(divergence: Section, path: str, size: int, size_path: str) -> None:
    """Raises a `ValueError` if a Mahalanobis divergence has a larger rank than the vectors have numbers.

    Args:
        divergence: a section.
        path: its dotted path, such as `distance`.
        size: how many numbers a vector has.
        size_path: which key says so.
    """
    rank = getattr(divergence, "rank", 1)
    if rank > size:
        raise ValueError(
            f"`{path}.rank` is {rank}, and the vectors have {size} numbers (`{size_path}`). Take at most {size}."
        )


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
