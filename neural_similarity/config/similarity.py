"""The section `similarity`, for all families with similarity convolutions: which M, and how it comes about.

A family's schema takes these classes as they are, or adds keys of its own.
"""

from typing import Literal

import pydantic

from neural_similarity.config.fields import Count, Positive, Section, Structure, Switch, list_of


class NoSimilarity(Section):
    """Plain convolutions."""

    kind: Literal["none"]


class StaticSimilarity(Section):
    """One learned M per layer."""

    kind: Literal["static"]
    structure: Structure


class DynamicSimilarity(Section):
    """M is predicted for every pixel of the layer's input, by two convolutions. The keys after `structure` are theirs.

    `normalization: partial` divides the first convolution by ‖x‖; `full` divides both by ‖x‖ and ‖w‖. `filters` is the
    number of filters of the first convolution. `init_scales` multiply the usual initial weights of the two. With
    `batch_norm`, batch normalisation follows each of the two, and `gamma_initializer` says where the scale γ of the
    second normalisation starts: with zeros M starts as the identity, ones are the released start.
    """

    kind: Literal["dynamic"]
    structure: Structure
    normalization: Literal["partial", "full"]
    filters: Count
    init_scales: list_of(tuple[Positive, Positive], "a list of two numbers greater than 0")
    batch_norm: Switch
    gamma_initializer: Literal["zeros", "ones"]

    @pydantic.model_validator(mode="after")
    def _full_predicts_a_diagonal(self):
        if (self.structure, self.normalization) == ("unconstrained", "full"):  # the one pair of no published network
            raise ValueError(
                "`similarity.normalization: full` goes with `similarity.structure: diagonal` only; "
                "set one of them to `partial` or `diagonal`."
            )
        return self
