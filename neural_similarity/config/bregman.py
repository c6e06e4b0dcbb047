"""The schema of learned divergences: a convex potential is trained, with a network before it or without one.

No key has a default here, so a file is the whole recipe.
"""

from typing import Annotated, ClassVar, Literal

import pydantic
from pydantic import Field

from neural_similarity.config.divergences import (
    FunctionalMaxAffine,
    InputConvex,
    Mahalanobis,
    MaxAffine,
    MomentMatching,
    SquaredEuclidean,
    check_rank,
)
from neural_similarity.config.experiment import Experiment
from neural_similarity.config.fields import (
    LARGEST,
    AtLeastTwo,
    BelowOne,
    Count,
    NonNegative,
    Number,
    Positive,
    Section,
    Switch,
    list_of,
)
from neural_similarity.config.sections import Data, Evaluation
from neural_similarity.data.known_divergences import DIVERGENCES, POINTS, POSITIVE
from neural_similarity.data.registry import DATA_SETS
from neural_similarity.data.vector_sets import TABLES

_IMAGES = tuple(name for name, entry in DATA_SETS.items() if "bregman" in entry.families)


class Samples(Data):
    """Samples with classes, or pairs of vectors. A step takes `global_batch_size` of them.

    Sets of images lie in the folder `root`. The other samples need no files, and `root` has no effect on them.
    """

    global_batch_size: AtLeastTwo


class Table(Samples):
    """One of the tables that scikit-learn ships. `test_fraction` of every class is for testing, by the run's seed."""

    name: Literal[tuple(TABLES)]
    test_fraction: Annotated[Number, Field(gt=0, lt=1, description="a number between 0 and 1")]


class Images(Samples):
    """Images with their published split. `augmentation` is of the training images."""

    name: Literal[_IMAGES]
    augmentation: Literal["none", "flip", "crop_flip"]


class GaussianRings(Samples):
    """Samples of Gaussians whose means lie on three rings, `points` of each (Cilingir et al., ICML 2020).

    `compared` says what a sample is in training and in the test: `points` one by one; `means` of sets, for which the
    network is trained on points and compares the means of what it makes of them; or `sets`, also in training.
    """

    name: Literal["gaussian_rings"]
    train_sets: AtLeastTwo
    test_sets: AtLeastTwo
    points: Count
    compared: Literal["points", "means", "sets"]


class Known(Samples):
    """Vectors between which a `divergence` is known. The loss is `regression` on pairs of training vectors."""

    name: Literal["known_divergence"]
    divergence: Literal[DIVERGENCES]
    vectors: Literal[POINTS]
    dimensions: Count
    train_vectors: AtLeastTwo
    test_vectors: AtLeastTwo

    @pydantic.model_validator(mode="after")
    def _is_for_these_vectors(self):
        if self.divergence in POSITIVE and self.vectors == "gaussian":
            raise ValueError(
                f"`data.divergence: {self.divergence}` is for positive numbers. Take `data.vectors` `gamma` or "
                "`simplex`; got `gaussian`."
            )
        return self


class DigitPairs(Samples):
    """Handwritten digits, between whose numbers a `divergence` is known. The loss is `regression` on pairs of them."""

    name: Literal["digit_pairs"]
    divergence: Literal[DIVERGENCES]
    test_fraction: Annotated[Number, Field(gt=0, lt=1, description="a number between 0 and 1")]


class Identity(Section):
    """No network: the divergence sees the vectors as they are."""

    name: Literal["identity"]


class Mlp(Section):
    """Dense layers with relu, of `widths` features, and a linear layer to `embedding_size`.

    With `layer_norm` there is layer normalisation before each relu.
    """

    name: Literal["mlp"]
    widths: list_of(tuple[Count, ...], f"a list of integers from 1 to {LARGEST}")
    layer_norm: Switch
    embedding_size: Count


class Conv4(Section):
    """Four convolutions of `filters` each, for images, and a linear layer to `embedding_size`."""

    name: Literal["conv4"]
    filters: Count
    batch_norm_decay: BelowOne
    embedding_size: Count


class Loss(Section):
    """What the losses share: the penalty weight_decay · Σw²/2 on all weights."""

    weight_decay: NonNegative


class Regression(Loss):
    """The mean squared difference of the divergence and the known one, divided by the mean square of the latter."""

    name: Literal["regression"]


class Contrastive(Loss):
    """Pulls samples of a class together, and pushes others further than `margin`."""

    name: Literal["contrastive"]
    margin: Positive


class Triplet(Loss):
    """Asks that another class is further than the own one, by `margin`. `miner` chooses the other one."""

    name: Literal["triplet"]
    margin: Positive
    miner: Literal["random", "semi_hard"]


class NPair(Loss):
    """Asks that one of the own class is nearest among the batch, in a softmax with this `temperature`."""

    name: Literal["n_pair"]
    temperature: Positive


class BregmanEvaluation(Evaluation):
    """`neighbours` is the k of the classifier by nearest neighbours; a regression does not look at it."""

    neighbours: Count


class Bregman(Experiment):
    """One experiment with a learned divergence."""

    family: Literal["bregman"]
    data: Table | Images | GaussianRings | Known | DigitPairs = Field(discriminator="name")
    model: Identity | Mlp | Conv4 = Field(discriminator="name")
    divergence: SquaredEuclidean | Mahalanobis | MaxAffine | FunctionalMaxAffine | MomentMatching | InputConvex = Field(
        discriminator="name"
    )
    loss: Regression | Contrastive | Triplet | NPair = Field(discriminator="name")
    evaluation: BregmanEvaluation
    further_scores: ClassVar[tuple[str, ...]] = (
        *("test/recall_at_1", "test/map_at_r"),
        *("test/rand_index", "test/adjusted_rand_index", "test/nmi", "test/relative_error"),
    )
    only_evaluation_reads: ClassVar[tuple[str, ...]] = ("evaluation.neighbours",)

    @pydantic.model_validator(mode="after")
    def _a_regression_is_on_pairs(self):
        of_pairs = self.is_of_pairs
        if of_pairs != (self.loss.name == "regression"):
            wanted = "`regression`" if of_pairs else "`contrastive`, `triplet` or `n_pair`"
            raise ValueError(
                f"`data.name: {self.data.name}` has {'pairs with a known divergence' if of_pairs else 'classes'}. Take "
                f"`loss.name` {wanted}; got `{self.loss.name}`."
            )
        return self

    @pydantic.model_validator(mode="after")
    def _sets_have_divergences_of_sets(self):
        of_sets = self.divergence.name in ("functional_max_affine", "moment_matching")
        are_sets = getattr(self.data, "compared", "points") == "sets"
        if of_sets != are_sets:
            wanted = "`moment_matching` or `functional_max_affine`" if are_sets else "another"
            raise ValueError(
                f"`divergence.name: {self.divergence.name}` compares {'sets of points' if of_sets else 'vectors'}, and "
                f"the samples are {'sets' if are_sets else 'vectors'}. Take {wanted} `divergence.name`."
            )
        return self

    @pydantic.model_validator(mode="after")
    def _something_is_trained(self):
        if self.model.name == "identity" and self.divergence.name in ("squared_euclidean", "moment_matching"):
            raise ValueError(
                f"`model.name: identity` and `divergence.name: {self.divergence.name}` have no weights, so that there "
                "is nothing to train. Take `model.name: mlp` or another divergence."
            )
        return self

    @pydantic.model_validator(mode="after")
    def _images_have_a_network_of_images(self):
        are_images = isinstance(self.data, Images)
        if are_images != (self.model.name == "conv4"):
            wanted = "`conv4`" if are_images else "`mlp` or `identity`"
            raise ValueError(
                f"`data.name: {self.data.name}` has {'images' if are_images else 'vectors'}. Take `model.name` "
                f"{wanted}; got `{self.model.name}`."
            )
        return self

    @pydantic.model_validator(mode="after")
    def _rank_fits(self):
        if self.model.name != "identity":
            check_rank(self.divergence, "divergence", self.model.embedding_size, "model.embedding_size")
        elif self.data.name == "known_divergence":
            check_rank(self.divergence, "divergence", self.data.dimensions, "data.dimensions")
        elif self.data.name in TABLES:
            check_rank(self.divergence, "divergence", TABLES[self.data.name][1], "data.name")
        return self

    @property
    def is_of_pairs(self):
        """Whether a divergence is known, and samples have no classes."""
        return isinstance(self.data, Known | DigitPairs)

    def global_batch_size(self) -> int:
        """See `Experiment.global_batch_size`."""
        return self.data.global_batch_size

    def protocol(self) -> str:
        """See `Experiment.protocol`: "5 nearest neighbours by D(test sample, training sample)"."""
        if self.loss.name == "regression":
            count = f"{self.data.test_vectors:,} " if self.data.name == "known_divergence" else ""
            return f"pairs of {count}test vectors"
        what = {"points": "point", "means": "mean of a set", "sets": "set"}[getattr(self.data, "compared", "points")]
        if self.data.name != "gaussian_rings":
            what = "image" if isinstance(self.data, Images) else "sample"
        return f"{self.evaluation.neighbours} nearest neighbours of each {what}"

    def tested_on(self) -> str:
        """See `Experiment.tested_on`."""
        if not self.is_of_pairs:
            return self.data.name
        return f"{self.data.name}, {self.data.divergence}"

    def owner(self) -> str:
        """See `Experiment.owner`."""
        return "metric_learning/bregman"
