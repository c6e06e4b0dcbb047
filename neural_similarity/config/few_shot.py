"""The schema of few-shot recognition: a network is trained on some classes and tested on others, in episodes.

An episode shows a few labelled images of each of some classes, the support images, and asks for the classes of other
images, the queries. No key has a default here, so a file is the whole recipe.
"""

from typing import Annotated, ClassVar, Literal

import pydantic
from pydantic import Field

from neural_similarity.config import divergences
from neural_similarity.config.experiment import Experiment
from neural_similarity.config.fields import AtLeastTwo, BelowOne, ClassSplits, Count, Positive, Section, Switch
from neural_similarity.config.sections import Data, Evaluation
from neural_similarity.config.similarity import DynamicSimilarity, NoSimilarity, StaticSimilarity
from neural_similarity.data.registry import DATA_SETS

_PUBLISHED = tuple(name for name, entry in DATA_SETS.items() if entry.image_size and "few_shot" in entry.families)


class Images(Data):
    """The images. `augmentation` is of the training images."""

    augmentation: Literal["none", "flip", "crop_flip"]


class PublishedClasses(Images):
    """The published sets, with their published splits of the classes; `root` is the folder that holds the sets."""

    name: Literal[_PUBLISHED]

    @property
    def image_size(self):
        """Height and width of the images in pixels."""
        return DATA_SETS[self.name].image_size

    @property
    def owner(self):
        """The folder of the train.py: one for Mini-ImageNet, one for the sets of small images."""
        return "few_shot/mini_imagenet" if self.name == "mini_imagenet" else "few_shot/cifar_fs"


class FolderClasses(Images):
    """Images of one's own in `root/CLASS`.

    `class_splits` says which classes are for training, validation and test: three fractions of their number, or the
    path of a file that lists them (data/class_folder_sets.py).
    """

    owner: ClassVar[str] = "few_shot/mini_imagenet"
    root_is_the_set: ClassVar[bool] = True
    name: Literal["folder"]
    image_size: Annotated[int, Field(ge=16, le=1024, description="an integer from 16 to 1024")]
    class_splits: ClassSplits


class Episode(Section):
    """The episodes of every evaluation: `n_way` classes, and of each `k_shot` support images and `n_query` queries.

    Training episodes have as many images of a class; with `method.name: maml` also as many classes.
    """

    n_way: AtLeastTwo
    k_shot: Count
    n_query: Count


class Conv4(Section):
    """Four convolutions; `filters` of each."""

    name: Literal["conv4"]
    filters: Count


class ProtoNet(Section):
    """Prototypical networks (Snell et al., 2017): a query belongs to the class with the nearest mean feature.

    A training step takes `tasks` episodes of `training_n_way` classes.
    """

    name: Literal["protonet"]
    training_n_way: AtLeastTwo
    tasks: Count
    shared: ClassVar[str] = "tasks"  # the key that says how many of them a step takes, on all devices together


class BregmanProtoNet(ProtoNet, divergences.Divergence):
    """Prototypical networks under a divergence D that is trained with the network.

    With `direction: forward`, a query x gets the class whose mean feature y has the smallest D(x, y). If D were
    ‖x − y‖², this would be `protonet`. The further keys are those of the divergence.
    """


class MahalanobisProtoNet(BregmanProtoNet, divergences.Mahalanobis):
    """See `BregmanProtoNet`."""

    name: Literal["protonet_mahalanobis"]


class MaxAffineProtoNet(BregmanProtoNet, divergences.MaxAffine):
    """See `BregmanProtoNet`."""

    name: Literal["protonet_max_affine"]


class InputConvexProtoNet(BregmanProtoNet, divergences.InputConvex):
    """See `BregmanProtoNet`."""

    name: Literal["protonet_input_convex"]


class _Classifier(Section):
    """Training by classifying all training classes. An episode trains a new head for its own, on fixed features.

    The head takes `fine_tune_steps` of gradient descent on all support images at once.
    """

    global_batch_size: Count
    fine_tune_steps: Count
    fine_tune_learning_rate: Positive
    shared: ClassVar[str] = "global_batch_size"


class Baseline(_Classifier):
    """A linear head (Chen et al., 2019)."""

    name: Literal["baseline"]


class BaselinePlusPlus(_Classifier):
    """A head whose logits are `cosine_scale` times the cosines of features and class weights (Chen et al., 2019)."""

    name: Literal["baseline_pp"]
    cosine_scale: Positive


class Maml(Section):
    """Learning weights from which a few steps of gradient descent adapt to a task (Finn et al., 2017).

    `adapt` says what these steps change: all weights (MAML); the linear head (ANIL); the head and the similarity
    matrices (static NSN). The training steps take `tasks` tasks each, with `inner_steps` of adaptation, and clip every
    number of the gradient at ±`gradient_clip`; tests adapt by `test_inner_steps`. With `learn_inner_rates` every
    adapted weight has a rate of its own, which is learned and starts at `inner_learning_rate`. Without `second_order`
    the inner gradients count as constants.
    """

    name: Literal["maml"]
    adapt: Literal["all", "head", "similarity"]
    tasks: Count
    inner_learning_rate: Positive
    inner_steps: Count
    test_inner_steps: Count
    learn_inner_rates: Switch
    second_order: Switch
    gradient_clip: Positive
    shared: ClassVar[str] = "tasks"


class BatchNorm(Section):
    """`mode` is what normalises an episode's images in a test; training always takes the statistics of the batch.

    `running`: moving averages over the training images; `decay` is what a step keeps of them. `support`: the statistics
    of the episode's support images. `batch`: those of the images that are passed together, queries included, so that
    the answer to one query depends on the other queries (transductive).
    """

    mode: Literal["running", "support", "batch"]
    decay: BelowOne


class EpisodeEvaluation(Evaluation):
    """`episodes` of the test classes, and `validation_episodes` of the validation classes, if there are any.

    One episode alone would have no interval.
    """

    episodes: AtLeastTwo
    validation_episodes: AtLeastTwo


class FewShot(Experiment):
    """One few-shot experiment."""

    family: Literal["few_shot"]
    data: PublishedClasses | FolderClasses = Field(discriminator="name")
    episode: Episode
    model: Conv4
    similarity: NoSimilarity | StaticSimilarity | DynamicSimilarity = Field(discriminator="kind")
    method: (
        ProtoNet | Baseline | BaselinePlusPlus | Maml | MahalanobisProtoNet | MaxAffineProtoNet | InputConvexProtoNet
    ) = Field(discriminator="name")
    batch_norm: BatchNorm
    evaluation: EpisodeEvaluation
    only_evaluation_reads: ClassVar[tuple[str, ...]] = (
        "method.test_inner_steps",
        "method.fine_tune_steps",
        "method.fine_tune_learning_rate",
        "batch_norm.mode",
        "evaluation.episodes",
        "evaluation.validation_episodes",
    )

    @pydantic.model_validator(mode="after")
    def _matrices_to_adapt(self):
        if self.method.name == "maml" and self.method.adapt == "similarity" and self.similarity.kind != "static":
            raise ValueError(
                "`method.adapt: similarity` goes with `similarity.kind: static` only, which has matrices to adapt; got "
                f"`similarity.kind: {self.similarity.kind}`."
            )
        return self

    @pydantic.model_validator(mode="after")
    def _rank_fits(self):
        features = self.model.filters * (self.data.image_size // 16) ** 2
        divergences.check_rank(self.method, "method", features, "model.filters")
        return self

    @pydantic.model_validator(mode="after")
    def _averages_to_use(self):
        if self.method.name == "maml" and self.batch_norm.mode == "running":
            raise ValueError(
                "`batch_norm.mode: running` does not go with `method.name: maml`: moving averages are over many tasks, "
                "and fit none of the networks that adapted to one. Take `support` or `batch`."
            )
        return self

    def global_batch_size(self) -> int:
        """See `Experiment.global_batch_size`."""
        return getattr(self.method, self.method.shared)

    def batch_size_key(self) -> str:
        """See `Experiment.batch_size_key`."""
        return f"method.{self.method.shared}"

    def images_per_step(self) -> int:
        """See `Experiment.images_per_step`."""
        method, episode = self.method, self.episode
        if method.name in ("baseline", "baseline_pp"):
            return method.global_batch_size
        n_way = method.training_n_way if isinstance(method, ProtoNet) else episode.n_way
        return method.tasks * n_way * (episode.k_shot + episode.n_query)

    def tested_on(self) -> str:
        """See `Experiment.tested_on`: "cifar_fs, 5-way 5-shot, 15 queries"."""
        return f"{self.data.name}, {self._test_episodes()}"

    def protocol(self) -> str:
        """See `Experiment.protocol`: "5-way 5-shot, 15 queries, batch norm: running"."""
        mode = self.batch_norm.mode + (" (transductive)" if self.batch_norm.mode == "batch" else "")
        return f"{self._test_episodes()}, batch norm: {mode}"

    def _test_episodes(self):
        episode = self.episode
        return f"{episode.n_way}-way {episode.k_shot}-shot, {episode.n_query} queries"

    def owner(self) -> str:
        """See `Experiment.owner`."""
        return self.data.owner
