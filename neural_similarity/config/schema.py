"""What a config says: one model per section, strict and frozen.

No key but `data.image_size` has a default here, so a file is the whole recipe. A field's `description` is the phrase
that the loader's messages use: "`loss.weight_decay` must be a number, at least 0".
"""

import hashlib
import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pydantic
from pydantic import Field

from neural_similarity.config.paths import REPOSITORY
from neural_similarity.errors import UserError

LARGEST = 2**31 - 1  # step counters and seeds go through int32
NOT_OF_A_RECIPE = ("seed", "schedule.scale", "data.root", "runtime", "evaluation", "checkpoint")
# These change where and when a run reads and writes, not its numbers.
NOT_OF_A_RUN = ("data.root", "evaluation", "checkpoint")
# Keys that are younger than recorded results: at these values a config has the hash that it had without them.
AS_BEFORE = {"data.input_scaling": "none"}

Index = Annotated[int, Field(ge=0, le=LARGEST, description=f"an integer from 0 to {LARGEST}")]
Count = Annotated[int, Field(ge=1, le=LARGEST, description=f"an integer from 1 to {LARGEST}")]
Positive = Annotated[float, Field(gt=0, description="a number greater than 0")]
NonNegative = Annotated[float, Field(ge=0, description="a number, at least 0")]
BelowOne = Annotated[float, Field(ge=0, lt=1, description="a number, at least 0 and less than 1")]
Switch = Annotated[bool, Field(description="`true` or `false`")]
Structure = Literal["diagonal", "unconstrained"]


def _printable(text):
    if not text.isprintable():
        raise ValueError("control characters")
    return text


def _increasing(steps):
    if any(later <= earlier for earlier, later in pairwise(steps)):
        raise ValueError("not increasing")
    return steps


class Section(pydantic.BaseModel):
    """What all sections share: no unknown keys, no conversions, no NaN, no changes afterwards."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Data(Section):
    """The data set, and what its images go through. A relative `root` starts at the repository's root.

    `augmentation` is of the training images; `input_scaling: centred` is (x − 127.5)/128 in training and test.
    """

    name: str  # which values, the two kinds below say
    root: Annotated[
        str, Field(min_length=1, description="the path of a folder, as text"), pydantic.AfterValidator(_printable)
    ]
    global_batch_size: Count
    augmentation: Literal["none", "flip", "crop_flip"]
    input_scaling: Literal["none", "centred"]
    validation_fraction: Annotated[float, Field(ge=0, le=0.5, description="a number from 0 to 0.5")]


class PublishedData(Data):
    """Sets of 32×32 images; `root` is the folder that holds them."""

    name: Literal["cifar10", "cifar100", "digits"]
    image_size: ClassVar[int] = 32


class FolderData(Data):
    """Images of one's own in `root/{train,val,test}/CLASS`, at any size that three poolings can halve.

    `image_size` has a default, so that `--set data.name=folder` works with every config.
    """

    name: Literal["folder"]
    image_size: Annotated[int, Field(ge=8, le=4096, multiple_of=8, description="a multiple of 8 from 8 to 4096")] = 32


class Network(Section):
    """What the networks share. `widths`: the filters of their three stages."""

    name: str  # which values, the three kinds below say
    # Lists become tuples, so that a loaded config cannot change; that takes strict=False, for the outer shell alone.
    widths: Annotated[
        tuple[Count, Count, Count], Field(strict=False, description=f"a list of three integers from 1 to {LARGEST}")
    ]


class Cnn9(Network):
    """The network of the similarity experiments."""

    name: Literal["cnn9"]


class WithHead(Network):
    """Networks whose last stage ends in "fc6"; `head_batch_norm`: whether its batches are normalised."""

    head_batch_norm: Switch


class SphereNet9(WithHead):
    """SphereConvs. `operator`: what each makes of the angle between patch and filter."""

    name: Literal["spherenet9"]
    operator: Literal["cosine", "linear", "sigmoid", "learnable_sigmoid"]


class WideCnn9(WithHead):
    """The plain counterpart of SphereNet-9."""

    name: Literal["cnn9_128"]


class Attention(Section):
    """Global similarity behind the first two stages of SphereNet-9. `query_relu`: a ReLU on its query, if enabled."""

    enabled: Switch
    query_relu: Switch


class NoSimilarity(Section):
    """Plain convolutions."""

    kind: Literal["none"]


class StaticSimilarity(Section):
    """One learned M per layer.

    `initializer: identity` starts as a plain convolution. `released` starts as the published code did: the flattened
    3×3 identity as the diagonal, which leaves six of nine taps at zero, or, unconstrained, the 9×9 identity; there the
    two initializers coincide.
    """

    kind: Literal["static"]
    structure: Structure
    initializer: Literal["identity", "released"]
    penalty_target: Literal["zero", "identity"]
    weight_decay: NonNegative


class DynamicSimilarity(Section):
    """M predicted from the layer's input, per pixel. The section `predictor` says how."""

    kind: Literal["dynamic"]
    structure: Structure


class Predictor(Section):
    """The two convolutions that predict a dynamic M. `decay_multiplier` multiplies `loss.weight_decay` for them.

    `initializer: identity` starts as a plain convolution, the last batch normalisation's γ at 0; `released` starts γ
    at 1. Without batch normalisation the two coincide.
    """

    normalization: Literal["partial", "full"]
    initializer: Literal["identity", "released"]
    filters: Count
    init_scales: Annotated[
        tuple[Positive, Positive], Field(strict=False, description="a list of two numbers greater than 0")
    ]
    batch_norm: Switch
    decay_multiplier: NonNegative


class BatchNorm(Section):
    """Moving averages: `debiased` as in Adam, or from zeros as `released`. `decay` is what a step keeps of them."""

    moving_average: Literal["debiased", "released"]
    decay: BelowOne


class Loss(Section):
    """Smoothed cross-entropy plus weight_decay · Σw²/2, and in SphereNet-9 plus orthogonality · ‖WᵀW − I‖²/2."""

    label_smoothing: BelowOne
    weight_decay: NonNegative
    orthogonality: NonNegative | None = Field(default=None, description="a number, at least 0")


class Sgd(Section):
    """Gradient descent with momentum."""

    name: Literal["sgd"]
    learning_rate: Positive
    momentum: BelowOne


class Adam(Section):
    """Adam."""

    name: Literal["adam"]
    learning_rate: Positive
    beta_1: BelowOne
    beta_2: BelowOne
    epsilon: Positive


class Schedule(Section):
    """The length of training and its drops of the learning rate, all in steps.

    The keys are the recipe; `scale` shrinks or stretches it as a whole, and what runs are the `scaled_…` numbers.
    Boundaries past the end are legal and never reached; scaled ones may fall onto each other.
    """

    train_steps: Count
    boundaries_steps: Annotated[
        tuple[Count, ...],
        Field(strict=False, description=f"a list of integers from 1 to {LARGEST}, each larger than the one before"),
        pydantic.AfterValidator(_increasing),
    ]
    factor: Annotated[float, Field(gt=0, le=1, description="a number greater than 0 and at most 1")]
    warmup_steps: Index
    scale: Positive

    @property
    def scaled_train_steps(self):
        """Steps to train."""
        return round(self.train_steps * self.scale)

    @property
    def scaled_boundaries_steps(self):
        """Steps after which the learning rate is multiplied by `factor`."""
        return tuple(round(step * self.scale) for step in self.boundaries_steps)

    @property
    def scaled_warmup_steps(self):
        """Steps over which the learning rate grows to its value."""
        return round(self.warmup_steps * self.scale)

    @pydantic.model_validator(mode="after")
    def _can_be_scaled(self):
        if max(self.train_steps, self.warmup_steps, *self.boundaries_steps) * self.scale > LARGEST:
            raise ValueError(f"`schedule.scale` {self.scale:g} makes more than {LARGEST} steps; take a smaller one.")
        if self.scaled_train_steps == 0:
            raise ValueError(
                f"`schedule.train_steps` {self.train_steps} × `schedule.scale` {self.scale:g} rounds to 0 steps; "
                "take a larger scale."
            )
        if 0 in self.scaled_boundaries_steps:
            raise ValueError(
                f"the boundary {self.boundaries_steps[0]} of `schedule.boundaries_steps` × `schedule.scale` "
                f"{self.scale:g} rounds to step 0; take a larger scale."
            )
        return self


class Evaluation(Section):
    """How often to evaluate. `auto` is twenty times in a run."""

    every_steps: Annotated[Count | Literal["auto"], Field(description=f"`auto` or an integer from 1 to {LARGEST}")]


class Checkpoint(Section):
    """How often to save, and how many of the last checkpoints to keep."""

    every_minutes: Positive
    keep: Count


class Runtime(Section):
    """How the same numbers are computed; no part of the recipe."""

    strategy: Literal["auto", "none", "mirrored"]
    precision: Literal["float32", "mixed_bfloat16"]
    # Not Literal["auto", True, False]: that takes 1 for true.
    jit_compile: Annotated[bool | Literal["auto"], Field(description="`auto`, `true` or `false`")]
    deterministic: Switch

    @pydantic.model_validator(mode="after")
    def _deterministic_is_not_xla(self):
        if self.deterministic and self.jit_compile is True:
            raise ValueError(
                "`runtime.deterministic: true` cannot go with `runtime.jit_compile: true`, since TensorFlow's switch "
                "for determinism does not reach XLA's kernels; set one of them to false."
            )
        return self


def _check_presence(name, section, value, owner, needed):
    """Raises a `ValueError` unless the section `name` is there just if its `owner`, a key and its value, needs it."""
    if needed and value is None:
        raise ValueError(f"`{owner}` needs the section `{name}` ({', '.join(sorted(section.model_fields))}).")
    if not needed and value is not None:
        raise ValueError(f"`{owner}` has no `{name}`; leave that section out.")


class Config(Section):
    """One experiment, completely: its sections in the order of the files."""

    seed: Index
    data: PublishedData | FolderData = Field(discriminator="name")
    model: Cnn9 | SphereNet9 | WideCnn9 = Field(discriminator="name")
    attention: Attention | None = Field(default=None, validate_default=True)
    similarity: NoSimilarity | StaticSimilarity | DynamicSimilarity = Field(discriminator="kind")
    # May be absent, and has to be unless the similarity is dynamic; so may `attention`, which is SphereNet-9's.
    predictor: Predictor | None = Field(default=None, validate_default=True)
    batch_norm: BatchNorm
    loss: Loss
    optimizer: Sgd | Adam = Field(discriminator="name")
    schedule: Schedule
    evaluation: Evaluation
    checkpoint: Checkpoint
    runtime: Runtime

    @pydantic.field_validator("attention", mode="wrap")
    @classmethod
    def _attention_fits_model(cls, value, check, info):
        model = info.data.get("model")  # None if that section is wrong itself
        if model is not None:
            _check_presence("attention", Attention, value, f"model.name: {model.name}", isinstance(model, SphereNet9))
        attention = check(value)
        if attention and attention.enabled and model and min(model.widths[:2]) < 8:
            raise ValueError(
                "`attention.enabled: true` needs 8 or more filters in the first two stages, as query and key have an "
                f"eighth of them; `model.widths` is {list(model.widths)}."
            )
        return attention

    @pydantic.field_validator("similarity", mode="after")
    @classmethod
    def _similarity_fits_model(cls, value, info):
        model = info.data.get("model")
        if model and model.name != "cnn9" and value.kind != "none":
            raise ValueError(f"`model.name: {model.name}` goes with `similarity.kind: none` only.")
        return value

    @pydantic.field_validator("loss", mode="after")
    @classmethod
    def _loss_fits_model(cls, value, info):
        model = info.data.get("model")
        if isinstance(model, SphereNet9) and value.orthogonality is None:
            raise ValueError("`model.name: spherenet9` needs the key `loss.orthogonality` (a number, at least 0).")
        if model and not isinstance(model, SphereNet9) and "orthogonality" in value.model_fields_set:
            raise ValueError(f"`model.name: {model.name}` has no `loss.orthogonality`; leave it out.")
        return value

    @pydantic.field_validator("predictor", mode="wrap")
    @classmethod
    def _predictor_fits_similarity(cls, value, check, info):
        similarity = info.data.get("similarity")
        if similarity is not None:
            dynamic = isinstance(similarity, DynamicSimilarity)
            _check_presence("predictor", Predictor, value, f"similarity.kind: {similarity.kind}", dynamic)
        predictor = check(value)
        # Written as what is refused, since (unconstrained, full) is the one pair that no published network has.
        if predictor and similarity and (similarity.structure, predictor.normalization) == ("unconstrained", "full"):
            raise ValueError(
                "`predictor.normalization: full` goes with `similarity.structure: diagonal` only; "
                "set one of them to `partial` or `diagonal`."
            )
        return predictor

    @pydantic.model_validator(mode="after")
    def _no_section_is_null(self):
        for name in ("attention", "predictor"):
            if getattr(self, name) is None and name in self.model_fields_set:
                raise ValueError(f"the section `{name}` is empty; leave it out.")
        return self

    def evaluation_every_steps(self):
        """Steps between evaluations, with `auto` resolved."""
        if self.evaluation.every_steps == "auto":
            return max(1, round(self.schedule.train_steps * self.schedule.scale / 20))
        return self.evaluation.every_steps

    def data_root(self):
        """`data.root` as an absolute path: `~` expanded, relative ones from the repository's root."""
        try:
            return REPOSITORY / Path(self.data.root).expanduser()
        except RuntimeError:  # ~somebody who has no account here
            raise UserError(f"`data.root` is `{self.data.root}`, and that home does not exist. Set another.") from None

    @property
    def root_is_the_set(self):
        """Whether another `data.root` means other images, and so another run, not the same ones elsewhere."""
        return self.data.name == "folder"

    def to_dict(self):
        """The config as plain dictionaries, lists and scalars, in the order of the files."""
        return self.model_dump(mode="json", exclude_none=True)

    def config_hash(self):
        """12 hex digits of the recipe: what seeds, scaled-down runs, machines and intervals have in common."""
        return self._hash(*NOT_OF_A_RECIPE)[:12]

    def run_hash(self):
        """6 hex digits of the run: all that can change its numbers."""
        return self._hash(*NOT_OF_A_RUN)[:6]

    def _hash(self, *left_out):
        document = self.to_dict()
        if self.root_is_the_set:
            left_out = [path for path in left_out if path != "data.root"]
            document["data"]["root"] = os.path.normpath(os.path.expanduser(self.data.root))  # `photos/` is `photos`
        flat = _flat(document)
        left_out = [*left_out, *(path for path, value in AS_BEFORE.items() if flat.get(path) == value)]
        for path in left_out:
            section, _, key = path.partition(".")
            if key:
                del document[section][key]
            else:
                del document[section]
        canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


# (model.name, similarity.kind, similarity.structure, predictor.normalization) → the folder of its train.py
_EXPERIMENTS = {
    ("cnn9", "none", None, None): "nsl_image_recog/baseline",
    ("cnn9", "static", "diagonal", None): "nsl_image_recog/static",
    ("cnn9", "static", "unconstrained", None): "nsl_image_recog/static",
    ("cnn9", "dynamic", "diagonal", "partial"): "nsl_image_recog/dynamic_dns",
    ("cnn9", "dynamic", "unconstrained", "partial"): "nsl_image_recog/dynamic_uns",
    ("cnn9", "dynamic", "diagonal", "full"): "nsl_image_recog/nsl_fspherenet",
    ("spherenet9", "none", None, None): "sa_spherenet",
    ("cnn9_128", "none", None, None): "sa_spherenet",
}


def experiment_of(config):
    """Returns the folder whose train.py owns `config`, as `nsl_image_recog/dynamic_dns`."""
    structure = getattr(config.similarity, "structure", None)
    normalization = config.predictor.normalization if config.predictor else None
    return _EXPERIMENTS[config.model.name, config.similarity.kind, structure, normalization]


def differing_keys(a, b, of_runs=False):
    """Returns the dotted paths at which two configs differ, in the order of the files; absent counts as different.

    With `of_runs`, only those that make another run of it.
    """
    left_out = [path for path in NOT_OF_A_RUN if of_runs and not (path == "data.root" and b.root_is_the_set)]
    a, b = _flat(a.to_dict()), _flat(b.to_dict())
    paths = [path for path in {**a, **b} if path not in a or path not in b or a[path] != b[path]]
    return [path for path in paths if not path.startswith(tuple(left_out))]


def _flat(document):
    """{section: {key: value}} → {"section.key": value}."""
    flat = {}
    for name, section in document.items():
        if isinstance(section, dict):
            flat |= {f"{name}.{key}": value for key, value in section.items()}
        else:
            flat[name] = section
    return flat
