"""The schema of image recognition: networks that name what an image shows, under the similarities of the NSL paper.

No key but `data.image_size` has a default here, so a file is the whole recipe.
"""

from typing import Annotated, ClassVar, Literal

import pydantic
from pydantic import Field

from neural_similarity.config import similarity
from neural_similarity.config.experiment import Experiment
from neural_similarity.config.fields import (
    LARGEST,
    BelowOne,
    Count,
    NonNegative,
    Number,
    Section,
    Switch,
    list_of,
)
from neural_similarity.config.sections import Data
from neural_similarity.data.registry import DATA_SETS

_PUBLISHED = tuple(n for n, entry in DATA_SETS.items() if "image_recognition" in entry.families and entry.image_size)


class Images(Data):
    """The images, and what they go through.

    `augmentation` is of the training images. `input_scaling: centred` is (x − 127.5)/128, in training and in test.
    """

    global_batch_size: Count
    augmentation: Literal["none", "flip", "crop_flip"]
    input_scaling: Literal["none", "centred"]
    validation_fraction: Annotated[Number, Field(ge=0, le=0.5, description="a number from 0 to 0.5")]


class PublishedImages(Images):
    """The sets of the registry whose images have one size; `root` is the folder that holds the sets."""

    name: Literal[_PUBLISHED]

    @property
    def image_size(self):
        """Height and width of the images in pixels."""
        return DATA_SETS[self.name].image_size


class FolderImages(Images):
    """Images of one's own in `root/{train,val,test}/CLASS`, at any size that three poolings can halve.

    `image_size` has a default, so that `--set data.name=folder` works with every config.
    """

    name: Literal["folder"]
    root_is_the_set: ClassVar[bool] = True
    image_size: Annotated[int, Field(ge=8, le=4096, multiple_of=8, description="a multiple of 8 from 8 to 4096")] = 32


class Network(Section):
    """What the networks share. `widths`: the filters of their three stages."""

    owner: ClassVar[str]  # folder of the train.py that trains the network
    name: str  # which names there are, the subclasses say
    widths: list_of(tuple[Count, Count, Count], f"a list of three integers from 1 to {LARGEST}")


class Cnn9(Network):
    """The network of the similarity experiments. The similarity says which train.py owns a config with it."""

    name: Literal["cnn9"]


class SphereNet9(Network):
    """SphereConvs, with or without global similarity behind the first two stages.

    `operator` is what each SphereConv makes of the angle between patch and filter. `head_batch_norm` says whether batch
    normalisation follows the last SphereConv, "fc6". `query_relu` is a ReLU on the query of the attention, if there is
    attention. `orthogonality` is the factor of the penalty ‖WᵀW − I‖²/2.
    """

    owner: ClassVar[str] = "sa_spherenet"
    name: Literal["spherenet9"]
    operator: Literal["cosine", "linear", "sigmoid", "learnable_sigmoid"]
    head_batch_norm: Switch
    attention: Switch
    query_relu: Switch
    orthogonality: NonNegative

    @pydantic.model_validator(mode="after")
    def _wide_enough_for_attention(self):
        if self.attention and min(self.widths[:2]) < 8:
            raise ValueError(
                "`model.attention: true` needs 8 or more filters in the first two stages, as query and key have an "
                f"eighth of them; `model.widths` is {list(self.widths)}."
            )
        return self


class Cnn9Of128(Network):
    """The plain counterpart of SphereNet-9. `head_batch_norm` is as there."""

    owner: ClassVar[str] = "sa_spherenet"
    name: Literal["cnn9_128"]
    head_batch_norm: Switch


class NoSimilarity(similarity.NoSimilarity):
    """Plain convolutions."""

    owner: ClassVar[str] = "nsl_image_recog/baseline"


class StaticSimilarity(similarity.StaticSimilarity):
    """One learned M per layer.

    `initializer: identity` starts as a plain convolution. `flattened_eye` starts as the released code did: the 3×3
    identity, flattened, is the diagonal of M, so that six of nine taps start at zero. `penalty_target` is what the
    penalty on M pulls M towards, and `weight_decay` the penalty's factor.
    """

    owner: ClassVar[str] = "nsl_image_recog/static"
    initializer: Literal["identity", "flattened_eye"]
    penalty_target: Literal["zero", "identity"]
    weight_decay: NonNegative

    @pydantic.model_validator(mode="after")
    def _flattened_eye_is_a_diagonal(self):
        if (self.structure, self.initializer) == ("unconstrained", "flattened_eye"):
            raise ValueError(
                "`similarity.initializer: flattened_eye` goes with `similarity.structure: diagonal` only; "
                "set one of them to `identity` or `diagonal`."
            )
        return self


class DynamicSimilarity(similarity.DynamicSimilarity):
    """M is predicted for every pixel of the layer's input.

    `decay_multiplier` multiplies `loss.weight_decay` for the two convolutions of the predictor.
    """

    decay_multiplier: NonNegative

    @property
    def owner(self):
        """The folder of the train.py, by what is predicted and how."""
        if self.normalization == "full":
            return "nsl_image_recog/nsl_fspherenet"
        return {"diagonal": "nsl_image_recog/dynamic_dns", "unconstrained": "nsl_image_recog/dynamic_uns"}[
            self.structure
        ]


class BatchNorm(Section):
    """Moving averages. `decay` is what a step keeps of them; `debias` corrects them for their start at zero."""

    debias: Switch
    decay: BelowOne


class Loss(Section):
    """Smoothed cross-entropy plus weight_decay · Σw²/2."""

    label_smoothing: BelowOne
    weight_decay: NonNegative


class ImageRecognition(Experiment):
    """One image-recognition experiment."""

    family: Literal["image_recognition"]
    data: PublishedImages | FolderImages = Field(discriminator="name")
    model: Cnn9 | SphereNet9 | Cnn9Of128 = Field(discriminator="name")
    similarity: NoSimilarity | StaticSimilarity | DynamicSimilarity = Field(discriminator="kind")
    batch_norm: BatchNorm
    loss: Loss

    @pydantic.model_validator(mode="after")
    def _similarities_are_of_cnn9(self):
        if self.model.name != "cnn9" and self.similarity.kind != "none":
            raise ValueError(f"`model.name: {self.model.name}` goes with `similarity.kind: none` only.")
        return self

    def global_batch_size(self) -> int:
        """See `Experiment.global_batch_size`."""
        return self.data.global_batch_size

    def owner(self) -> str:
        """See `Experiment.owner`."""
        return self.similarity.owner if isinstance(self.model, Cnn9) else self.model.owner
