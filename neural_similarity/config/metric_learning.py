"""The schema of metric learning: a network is trained on some classes, and searches images of others.

No key has a default here, so a file is the whole recipe.
"""

from typing import Annotated, ClassVar, Literal

import pydantic
from pydantic import Field

from neural_similarity.config.divergences import (
    Divergence,
    InputConvex,
    Mahalanobis,
    MaxAffine,
    SquaredEuclidean,
    check_rank,
)
from neural_similarity.config.experiment import Experiment
from neural_similarity.config.fields import (
    LARGEST,
    AtLeastTwo,
    BelowOne,
    ClassSplits,
    Count,
    NonNegative,
    Number,
    Positive,
    Section,
    Switch,
    Text,
    list_of,
)
from neural_similarity.config.sections import Data, Evaluation
from neural_similarity.data.registry import DATA_SETS

RECALL_AT = (1, 2, 4, 8, 10, 100, 1000)  # the K that a config may have
_FILES = tuple(n for n, entry in DATA_SETS.items() if "metric_learning" in entry.families and entry.image_size is None)
_SMALL = tuple(n for n, entry in DATA_SETS.items() if "metric_learning" in entry.families and entry.image_size)
Name = Annotated[Text, Field(min_length=1, description="the name of a network of keras.applications, as ResNet50")]
Weights = Annotated[Text, Field(min_length=1, description="`random`, `imagenet` or the path of a file")]
File = Annotated[Text, Field(min_length=1, description="the path of a file, as text")]
Real = Annotated[Number, Field(description="a number")]
ImageSize = Annotated[int, Field(ge=16, le=1024, description="an integer from 16 to 1024")]


class Images(Data):
    """The images. A batch has `classes_per_batch` classes and `images_per_class` images of each.

    `with_replacement` draws each class and each image anew, so that both may come twice, as the released code does.
    """

    classes_per_batch: AtLeastTwo
    images_per_class: AtLeastTwo
    with_replacement: Switch


class PhotoImages(Images):
    """The published sets of photos, `root` being the folder that holds the sets; they are read when they are needed.

    `validation_fraction` of the training classes are held out.
    """

    name: Literal[tuple(name for name in _FILES if name != "folder")]
    image_size: ImageSize
    augmentation: Literal["none", "resized_crop"]
    validation_fraction: Annotated[Number, Field(ge=0, le=0.5, description="a number from 0 to 0.5")]


class SmallImages(Images):
    """The sets of small images, which are read into memory."""

    name: Literal[_SMALL]
    augmentation: Literal["none", "flip", "crop_flip"]
    validation_fraction: Annotated[Number, Field(ge=0, le=0.5, description="a number from 0 to 0.5")]

    @property
    def image_size(self):
        """Height and width of the images in pixels."""
        return DATA_SETS[self.name].image_size


class FolderImages(Images):
    """Images of one's own in `root/CLASS`; `class_splits` says which classes a split has, as for few-shot learning."""

    root_is_the_set: ClassVar[bool] = True
    name: Literal["folder"]
    image_size: ImageSize
    augmentation: Literal["none", "resized_crop"]
    class_splits: ClassSplits


class Backbone(Section):
    """What the networks share. A linear layer on every pixel of the backbone's map makes `embedding_size` channels.

    `trained: head` trains this layer alone.
    """

    embedding_size: Count
    trained: Literal["all", "head"]


class Application(Backbone):
    """A network of keras.applications, as `application: ResNet50`. Batch norm keeps its averages.

    `weights`: `random`, `imagenet`, which Keras downloads, or the path of a file.
    """

    name: Literal["application"]
    application: Name
    weights: Weights


class MobileNet(Backbone):
    """MobileNet of keras.applications, whose widths `alpha` multiplies; else as `application`."""

    name: Literal["mobilenet"]
    alpha: Positive
    weights: Weights


class Cnn9(Backbone):
    """The network of image recognition up to its last map, with random weights. `widths` are those of its stages."""

    name: Literal["cnn9"]
    widths: list_of(tuple[Count, Count, Count], f"a list of three integers from 1 to {LARGEST}")
    batch_norm_decay: BelowOne


class KerasFile(Backbone):
    """A network in a `.keras` file for images of 0 to 255, whose output is a map. Batch norm keeps its averages."""

    name: Literal["keras_file"]
    path: File


class CosineDistance(Section):
    """The cosine of whole images; as a distance, that of the ends of two vectors of length one."""

    name: Literal["cosine"]


class EuclideanDistance(Section):
    """The Euclidean distance of whole images, whose vectors have any length."""

    name: Literal["euclidean"]


class Matching(Section):
    """Optimal transport between `cells`² cells of two images: `entropy` is ε, `sweeps` are of Sinkhorn's algorithm.

    `marginals` says how cells are weighted: by their `correlation` with the other image, or in a `uniform` way.
    """

    name: Literal["structural"]
    cells: Annotated[int, Field(ge=1, le=32, description="an integer from 1 to 32")]
    entropy: Positive
    sweeps: Count
    marginals: Literal["correlation", "uniform"]


class StructuralDistance(Matching):
    """Training with structural similarity.

    `gradient` is how the plan of transport counts in the gradient (docs/metric_learning.md). `swap_marginals` gives
    the cells of each image the other one's weights, as the released code does in training.
    """

    gradient: Literal["detached", "unrolled", "implicit"]
    swap_marginals: Switch


class StructuralDivergence(Matching, Divergence):
    """Training with structural similarity whose cost of transport is a divergence D that is trained with the network.

    Where `structural` takes the cosine of two cells, or of two images as a whole, this takes 1 − ½ D. `gradient` is as
    there. The other keys are those of the divergence.
    """

    gradient: Literal["detached", "unrolled", "implicit"]


class StructuralMahalanobis(StructuralDivergence, Mahalanobis):
    """See `StructuralDivergence`."""

    name: Literal["structural_mahalanobis"]


class StructuralMaxAffine(StructuralDivergence, MaxAffine):
    """See `StructuralDivergence`."""

    name: Literal["structural_max_affine"]


class StructuralInputConvex(StructuralDivergence, InputConvex):
    """See `StructuralDivergence`."""

    name: Literal["structural_input_convex"]


class DivergenceRanking(Section):
    """Ranks by the divergence that was trained."""

    name: Literal["divergence"]


class StructuralRanking(Matching):
    """Ranks by the cosine, and then the first `candidates` by cosine plus structural similarity."""

    candidates: Count


class StructuralDivergenceRanking(StructuralRanking):
    """As `structural`, with the trained divergence in the place of the cosine."""

    name: Literal["structural_divergence"]


class Loss(Section):
    """What the losses share: the penalty weight_decay · Σw²/2 on the network's weights.

    `compares` says what a loss needs of a distance: `pairs` of images; pairs with `similarities` from −1 to 1;
    or the `vectors` of images, which it compares with vectors that it learns.
    """

    compares: ClassVar[str] = "pairs"
    weight_decay: NonNegative


class MinedLoss(Loss):
    """A loss of triplets. `miner` chooses one positive and one negative image for each image of a batch.

    `semi_hard` takes the margin of the loss: `margin`, or `negative_margin` of the contrastive loss.
    """

    miner: Literal["random", "semi_hard", "distance_weighted"]


class Contrastive(MinedLoss):
    """Pulls images of a class nearer than `positive_margin`, and others further than `negative_margin`."""

    name: Literal["contrastive"]
    positive_margin: NonNegative
    negative_margin: Positive


class Triplet(MinedLoss):
    """Asks that another class is further than the own one, by `margin`; of squared distances if `squared`."""

    name: Literal["triplet"]
    margin: Positive
    squared: Switch


class Margin(MinedLoss):
    """Asks for distances below β − `margin` within a class, and above β + `margin` to others (Wu et al., ICCV 2017).

    β is learned for each class, from `beta` on and with `beta_learning_rate`. `nu` is the factor of Σ β over the
    triplets, which is added to the loss.
    `every_beta` compares every distance with the β of every image of the batch, as the released code does.
    """

    name: Literal["margin"]
    margin: Positive
    beta: Positive
    beta_learning_rate: Positive
    nu: NonNegative
    every_beta: Switch


class MultiSimilarity(Loss):
    """Weighs pairs by how similar they are among all pairs of the batch (Wang et al., CVPR 2019).

    `alpha` and `beta` are the slopes for positive and negative pairs, `base` is the similarity in the middle, λ there,
    and `epsilon` says how far from the hardest pair of the other kind a pair still counts.
    """

    compares: ClassVar[str] = "similarities"
    name: Literal["multi_similarity"]
    alpha: Positive
    beta: Positive
    base: Real
    epsilon: NonNegative


class NPair(Loss):
    """Asks that an image of the own class is nearest in the batch, in a softmax with this `temperature`."""

    name: Literal["n_pair"]
    temperature: Positive


class ProxyAnchor(Loss):
    """Compares images with one learned proxy for each class (Kim et al., CVPR 2020)."""

    compares: ClassVar[str] = "vectors"
    name: Literal["proxy_anchor"]
    alpha: Positive
    margin: NonNegative
    proxy_learning_rate: Positive


class NormalizedSoftmax(Loss):
    """Classifies by the cosine with one learned proxy for each class (Zhai and Wu, BMVC 2019)."""

    compares: ClassVar[str] = "vectors"
    name: Literal["normalized_softmax"]
    temperature: Positive
    proxy_learning_rate: Positive


class RetrievalEvaluation(Evaluation):
    """`recall_at` are the numbers K of Recall@K. `clustering` also measures NMI and F1, by k-means.

    `r_excludes_query: false` counts a query as one of the images that it should find, as the released code does.
    """

    recall_at: list_of(tuple[Literal[RECALL_AT], ...], f"a list with some of {', '.join(map(str, RECALL_AT))}")
    r_excludes_query: Switch
    clustering: Switch

    @pydantic.model_validator(mode="after")
    def _has_the_headline(self):
        if 1 not in self.recall_at:
            raise ValueError(f"`evaluation.recall_at` {list(self.recall_at)} lacks 1; the tables show Recall@1.")
        return self


class MetricLearning(Experiment):
    """One experiment of metric learning."""

    family: Literal["metric_learning"]
    data: PhotoImages | SmallImages | FolderImages = Field(discriminator="name")
    model: Application | MobileNet | Cnn9 | KerasFile = Field(discriminator="name")
    distance: (
        CosineDistance
        | EuclideanDistance
        | StructuralDistance
        | SquaredEuclidean
        | Mahalanobis
        | MaxAffine
        | InputConvex
        | StructuralMahalanobis
        | StructuralMaxAffine
        | StructuralInputConvex
    ) = Field(discriminator="name")
    loss: Contrastive | Triplet | Margin | NPair | MultiSimilarity | ProxyAnchor | NormalizedSoftmax = Field(
        discriminator="name"
    )
    ranking: (
        CosineDistance | EuclideanDistance | StructuralRanking | DivergenceRanking | StructuralDivergenceRanking
    ) = Field(discriminator="name")
    evaluation: RetrievalEvaluation
    further_scores: ClassVar[tuple[str, ...]] = (
        *("test/map_at_r", "test/r_precision"),
        *("test/cosine_recall_at_1", "test/divergence_recall_at_1"),
    )
    only_evaluation_reads: ClassVar[tuple[str, ...]] = (
        "ranking.name",
        "ranking.cells",
        "ranking.entropy",
        "ranking.sweeps",
        "ranking.marginals",
        "ranking.candidates",
        "evaluation.recall_at",
        "evaluation.r_excludes_query",
        "evaluation.clustering",
    )

    @pydantic.model_validator(mode="after")
    def _the_distance_gives_what_the_loss_compares(self):
        loss, distance = self.loss, self.distance.name
        if loss.compares == "vectors" and distance != "cosine":
            raise ValueError(
                f"`loss.name: {loss.name}` compares images with vectors that it learns, by their cosine. They have no "
                f"cells. Take `distance.name: cosine`; got `{distance}`. `ranking.name: structural` may stay."
            )
        if loss.compares == "similarities" and distance not in ("cosine", "structural"):
            raise ValueError(
                f"`loss.name: {loss.name}` compares similarities from −1 to 1, and `distance.name: {distance}` does "
                "not give such numbers. Take `cosine` or `structural`."
            )
        of_cells = isinstance(self.distance, StructuralDivergence)
        of_vectors = isinstance(self.distance, Divergence) and not of_cells
        if of_vectors and getattr(loss, "miner", None) == "distance_weighted":
            raise ValueError(
                f"`loss.miner: distance_weighted` chooses by distances on a sphere, and `distance.name: {distance}` is "
                "a divergence. Take `random` or `semi_hard`."
            )
        if self.ranking.name == "divergence" and not of_vectors:
            raise ValueError(
                "`ranking.name: divergence` compares whole images by a trained divergence, and `distance.name: "
                f"{distance}` trains none for whole images. Take another `ranking.name`, or a `distance.name` such as "
                "`input_convex`."
            )
        if self.ranking.name == "structural_divergence" and not of_cells:
            raise ValueError(
                "`ranking.name: structural_divergence` matches cells by a divergence that was trained for cells. Take "
                "`distance.name` `structural_mahalanobis`, `structural_max_affine` or `structural_input_convex`; got "
                f"`{distance}`."
            )
        return self

    @property
    def is_of_divergence(self):
        """Whether images are compared by a Bregman divergence in training."""
        return isinstance(self.distance, Divergence)

    @pydantic.model_validator(mode="after")
    def _rank_fits(self):
        check_rank(self.distance, "distance", self.model.embedding_size, "model.embedding_size")
        return self

    @pydantic.model_validator(mode="after")
    def _a_fixed_backbone_sees_fixed_images(self):
        if self.model.trained == "head" and self.data.augmentation != "none":
            raise ValueError(
                "`model.trained: head` computes the backbone's features once, so that the images cannot change: take "
                f"`data.augmentation: none`; got `{self.data.augmentation}`."
            )
        return self

    def global_batch_size(self) -> int:
        """See `Experiment.global_batch_size`."""
        return self.data.classes_per_batch * self.data.images_per_class

    def batch_size_key(self) -> str:
        """See `Experiment.batch_size_key`."""
        return "data.classes_per_batch"

    def protocol(self) -> str:
        """See `Experiment.protocol`: "ranked by cosine, the first 100 by cosine + structural similarity"."""
        ranking = self.ranking
        trained = "the trained divergence"
        by = {"structural": "cosine", "divergence": trained, "structural_divergence": trained}
        words = f"ranked by {by.get(ranking.name, ranking.name)}"
        if isinstance(ranking, StructuralRanking):
            uniform = " with uniform marginals" if ranking.marginals == "uniform" else ""
            first = "cosine + structural similarity" if ranking.name == "structural" else "it + structural similarity"
            words += f", the first {ranking.candidates} by {first}{uniform}"
        return words + ("" if self.evaluation.r_excludes_query else ", R with the query")

    def owner(self) -> str:
        """See `Experiment.owner`."""
        return f"metric_learning/{'bregman' if self.is_of_divergence else 'diml'}"
