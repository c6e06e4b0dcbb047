"""On how many devices a step runs, in which precision, and whether XLA compiles it."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Literal

import tensorflow as tf
from pydantic import Field

from neural_similarity.errors import UserError


@dataclasses.dataclass(frozen=True)
class Runtime:
    """A config's section `runtime` with a decision for every `auto`.

    Attributes:
        strategy: `"none"` for one device, `"mirrored"` for several that share each batch.
        devices: how many devices share a batch.
        precision: a Keras dtype policy, `"float32"` or `"mixed_bfloat16"`.
        jit_compile: whether XLA compiles the whole step.
        deterministic: whether TensorFlow is asked for its deterministic kernels.
    """

    strategy: Literal["none", "mirrored"]
    devices: Annotated[int, Field(ge=1)]
    precision: Literal["float32", "mixed_bfloat16"]
    jit_compile: bool
    deterministic: bool

    @classmethod
    def resolve(cls, section):
        """The `Runtime` of a config's section `runtime` on this machine.

        `strategy: auto` becomes "mirrored" where TensorFlow sees two GPUs or more, and else "none". `jit_compile: auto`
        becomes False, because a step that XLA compiles as a whole was slower (docs/performance.md). Example: on a
        machine with four GPUs, `strategy: auto` and `jit_compile: auto` become
        `Runtime(strategy="mirrored", devices=4, jit_compile=False, …)`.

        Raises:
            UserError: the section asks for `mirrored` and for `jit_compile: true` at once.
        """
        several = len(tf.config.list_physical_devices("GPU")) > 1
        strategy = {"auto": "mirrored" if several else "none"}.get(section.strategy, section.strategy)
        jit_compile = False if section.jit_compile == "auto" else section.jit_compile
        if jit_compile and strategy == "mirrored":
            raise UserError(
                "`runtime.jit_compile: true` cannot go with `runtime.strategy: mirrored`: a compiled step cannot "
                "reach the other devices' variables. Try --set runtime.jit_compile=false, or runtime.strategy=none"
            )
        devices = len(_devices()) if strategy == "mirrored" else 1
        return cls(strategy, devices, section.precision, jit_compile, section.deterministic)

    def check_batch(self, config) -> None:
        """Raises a `UserError` unless each device gets the same number of examples of a batch of the config."""
        global_batch_size, key = config.global_batch_size(), config.batch_size_key()
        if global_batch_size % self.devices:
            raise UserError(
                f"`{key}` is {global_batch_size}, and {self.devices} devices cannot share it equally. "
                f"Try --set {key}={max(global_batch_size // self.devices, 1) * self.devices}, or "
                "--set runtime.strategy=none"
            )

    def start(self) -> "Replicas":
        """Changes TensorFlow's settings for this process; returns the `Replicas` under which the model is built.

        Raises:
            UserError: this machine has more or fewer devices than `devices`, the number when the run began.
        """
        if self.deterministic:
            tf.config.experimental.enable_op_determinism()
        if self.strategy == "none":
            return Replicas(tf.distribute.get_strategy(), self.jit_compile)
        if len(_devices()) != self.devices:
            raise UserError(
                f"This run began on {self.devices} devices, and here are {len(_devices())}: batch normalisation would "
                "see other parts of a batch. Go on where there are as many, or train anew with --run-dir DIR."
            )
        return Replicas(tf.distribute.MirroredStrategy(_devices()), self.jit_compile)


def _devices():
    """The names of the GPUs, or without a GPU of TensorFlow's CPU devices."""
    return [d.name for d in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")]


class Replicas:
    """The copies of a model that share each batch, one copy per device.

    Example: a global batch of 128 images on four devices. Each replica gets 32 images and runs the same function on
    them; the four results become one by their mean or sum.

    Args:
        strategy: a TensorFlow distribution strategy.
        jit_compile: whether XLA compiles the functions; with one replica only.
    """

    def __init__(self, strategy, jit_compile=False):
        self.strategy = strategy
        self.count = strategy.num_replicas_in_sync
        self.jit_compile = jit_compile

    def scope(self):
        """The scope in which models and optimisers must be built."""
        return self.strategy.scope()

    def compile(self, function: Callable, reduce: Literal["mean", "sum"]) -> Callable:
        """Makes a function of a part of a batch into a function of a global batch, and into a TensorFlow graph.

        Args:
            function: `function(batch)` returns `{name: scalar}`. Each replica calls it with its part of the batch.
            reduce: `"mean"` or `"sum"`: how the replicas' results become one.

        Returns:
            A function of a global batch, with tensors of static shapes, that returns `{name: scalar}`.
        """
        if self.count == 1:
            return tf.function(function, jit_compile=self.jit_compile)
        operation = {"mean": tf.distribute.ReduceOp.MEAN, "sum": tf.distribute.ReduceOp.SUM}[reduce]

        @tf.function
        def on_all(batch):
            results = self.strategy.run(function, (batch,))
            return {name: self.strategy.reduce(operation, value, axis=None) for name, value in results.items()}

        return lambda batch: on_all(self._split(batch))

    def _split(self, batch):
        """Gives each replica its part: of 128 images on four replicas, the images 0–31, 32–63, 64–95 and 96–127."""

        def part(context):
            def examples(x):
                assert x.shape[0] % self.count == 0, "Runtime.check_batch comes first"
                size = x.shape[0] // self.count
                return x[context.replica_id_in_sync_group * size :][:size]

            return tf.nest.map_structure(examples, batch)

        return self.strategy.experimental_distribute_values_from_function(part)
