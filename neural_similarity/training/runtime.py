"""On how many devices a step runs, in which precision, and whether XLA compiles it."""

import dataclasses
import zlib
from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import tensorflow as tf
from pydantic import Field

from neural_similarity.errors import UserError
from neural_similarity.training.workers import Workers


@dataclasses.dataclass(frozen=True)
class Runtime:
    """A config's section `runtime` with a decision for every `auto`.

    Attributes:
        strategy: `"none"` for one device, `"mirrored"` for several that share each batch, `"multi_worker"` for those of
            several processes, as on several machines.
        devices: how many devices share a batch, those of all workers.
        precision: a Keras dtype policy, `"float32"` or `"mixed_bfloat16"`.
        jit_compile: whether XLA compiles the whole step.
        deterministic: whether TensorFlow is asked for its deterministic kernels.
        workers: how many processes train together; 1 unless the strategy is `"multi_worker"`.
    """

    strategy: Literal["none", "mirrored", "multi_worker"]
    devices: Annotated[int, Field(ge=1)]
    precision: Literal["float32", "mixed_bfloat16"]
    jit_compile: bool
    deterministic: bool
    workers: Annotated[int, Field(ge=1)] = 1

    @classmethod
    def resolve(cls, section):
        """The `Runtime` of a config's section `runtime` on this machine.

        `strategy: auto` becomes "mirrored" where TensorFlow sees two GPUs or more, and else "none". `jit_compile: auto`
        becomes False, because a step that XLA compiles as a whole was slower (docs/performance.md). Example: on a
        machine with four GPUs, `strategy: auto` and `jit_compile: auto` become
        `Runtime(strategy="mirrored", devices=4, jit_compile=False, …)`.

        Raises:
            UserError: the section asks for several devices and for `jit_compile: true` at once, or for workers that
                are not to be found.
        """
        several = len(tf.config.list_physical_devices("GPU")) > 1
        strategy = {"auto": "mirrored" if several else "none"}.get(section.strategy, section.strategy)
        jit_compile = False if section.jit_compile == "auto" else section.jit_compile
        if jit_compile and strategy != "none":
            raise UserError(
                f"`runtime.jit_compile: true` cannot go with `runtime.strategy: {strategy}`: a compiled step cannot "
                "reach the other devices' variables. Try --set runtime.jit_compile=false, or runtime.strategy=none"
            )
        workers, devices = 1, 1
        if strategy == "mirrored":
            devices = len(_devices())
        elif strategy == "multi_worker":
            workers = len(Workers.found().addresses)
            devices = workers * _of_a_worker()
        return cls(strategy, devices, section.precision, jit_compile, section.deterministic, workers)

    def alone(self) -> "Runtime":
        """The same for a process that evaluates by itself: several workers only train together."""
        return dataclasses.replace(self, strategy="none", devices=1, workers=1) if self.workers > 1 else self

    def check_batch(self, config) -> None:
        """Raises a `UserError` unless each device gets the same number of examples of a batch of the config."""
        global_batch_size, key = config.global_batch_size(), config.batch_size_key()
        if global_batch_size % self.devices:
            raise UserError(
                f"`{key}` is {global_batch_size}, and {self.devices} devices cannot share it equally. "
                f"Try --set {key}={max(global_batch_size // self.devices, 1) * self.devices}, or "
                "--set runtime.strategy=none"
            )

    def start(self, statement: dict[str, str] | None = None) -> "Replicas":
        """Changes TensorFlow's settings for this process; returns the `Replicas` under which the model is built.

        It comes before everything else that TensorFlow computes, and waits for all workers.

        Args:
            statement: what must be the same on all workers (`Workers.meet`).

        Raises:
            UserError: here are more or fewer devices or workers than when the run began, a worker does not come, or is
                about to train something else.
        """
        if self.deterministic:
            tf.config.experimental.enable_op_determinism()
        if self.strategy == "none":
            return Replicas(tf.distribute.get_strategy(), self.jit_compile)
        if self.strategy == "multi_worker":
            return self._start_with_others(statement or {})
        if len(_devices()) != self.devices:
            raise UserError(
                f"This run began on {self.devices} devices, and here are {len(_devices())}: batch normalisation would "
                "see other parts of a batch. Go on where there are as many, or train anew with --run-dir DIR."
            )
        return Replicas(tf.distribute.MirroredStrategy(_devices()), self.jit_compile)

    def _start_with_others(self, statement):
        workers = Workers.found()
        here = len(workers.addresses), len(workers.addresses) * _of_a_worker()
        if here != (self.workers, self.devices):
            raise UserError(
                f"This run began with {self.workers} workers and {self.devices} devices in all. Here are {here[0]} "
                f"workers and {here[1]} devices: batch normalisation would see other parts of a batch. Start "
                f"{self.workers} workers with {self.devices} devices in all, or train anew with --run-dir DIR."
            )
        devices, version = f"{self.devices // self.workers}", tf.__version__
        workers.meet({**statement, "the number of devices": devices, "the version of TensorFlow": version})
        return Replicas(workers.strategy(), workers=workers)


def _devices():
    """The names of the GPUs, or without a GPU of TensorFlow's CPU devices."""
    return [d.name for d in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")]


def _of_a_worker():
    """How many devices a worker of `MultiWorkerMirroredStrategy` takes: all GPUs, or else one CPU device."""
    return len(tf.config.list_physical_devices("GPU")) or 1


class Replicas:
    """The copies of a model that share each batch, one copy per device.

    Example: a global batch of 128 images on four devices. Each replica gets 32 images and runs the same function on
    them; the four results become one by their mean or sum.

    Args:
        strategy: a TensorFlow distribution strategy.
        jit_compile: whether XLA compiles the functions; with one replica only.
        workers: the `Workers`, if the replicas are those of several processes. Every process calls the same methods in
            the same order.
    """

    def __init__(self, strategy, jit_compile=False, workers=None):
        self.strategy = strategy
        self.count = strategy.num_replicas_in_sync
        self.jit_compile = jit_compile
        self.are_of_several_workers = workers is not None
        self._worker = workers.index if workers else 0
        self.is_chief = self._worker == 0
        self._gather = tf.function(lambda values: strategy.gather(values, axis=0))

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

    def own_part(self, size: int) -> slice:
        """Which examples of a global batch of `size` the replicas of this process take."""
        here = len(self.strategy.extended.worker_devices) if self.are_of_several_workers else self.count
        own = size // self.count * here
        return slice(self._worker * own, (self._worker + 1) * own)

    def any(self, flag: bool) -> bool:
        """Whether the flag is true on any of the workers. Each waits here for all others."""
        return bool(self._of_all_workers([flag]).any())

    def wait(self) -> None:
        """Waits until all workers are here."""
        self.any(False)

    def check_same(self, text: str, mistake: str) -> None:
        """Waits for all workers, and raises a `UserError` on each of them unless all have the same text.

        Args:
            text: it is compared by its checksum.
            mistake: the message, with `{}` for the number of the first worker that has another text than the chief.
        """
        checksums = self._of_all_workers([zlib.crc32(text.encode())])
        for number, checksum in enumerate(checksums):
            if checksum != checksums[0]:
                raise UserError(mistake.format(number))

    def _of_all_workers(self, numbers):
        """What all workers pass: int64, one number of each."""
        if not self.are_of_several_workers:
            return np.array(numbers, np.int64)
        local = self.strategy.experimental_distribute_values_from_function(lambda _: tf.constant(numbers, tf.int64))
        return self._gather(local).numpy()[:: len(self.strategy.extended.worker_devices)]
