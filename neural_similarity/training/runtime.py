"""Where and how a step runs: devices, precision, compilation."""

import dataclasses
import os
import platform
import resource
import subprocess
import sys

import keras
import numpy as np
import tensorflow as tf

from neural_similarity.config import REPOSITORY
from neural_similarity.errors import UserError
from neural_similarity.version import __version__


@dataclasses.dataclass(frozen=True)
class Runtime:
    """A config's `runtime` section with nothing left open.

    Attributes:
        strategy: `"none"` or `"mirrored"`.
        devices: how many share a batch.
        precision: a Keras dtype policy, `"float32"` or `"mixed_bfloat16"`.
        jit_compile: whether XLA compiles the whole step.
        deterministic: whether TensorFlow's deterministic kernels are asked for.
    """

    strategy: str
    devices: int
    precision: str
    jit_compile: bool
    deterministic: bool

    @classmethod
    def resolve(cls, section):
        """Decides what a config leaves to `auto`: mirrored with several GPUs; XLA off (measured: docs/performance.md).

        Raises:
            UserError: mirrored and compiled at once.
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

    def check_batch(self, global_batch_size):
        """Raises a `UserError` unless every device gets the same number of examples."""
        if global_batch_size % self.devices:
            raise UserError(
                f"`data.global_batch_size` is {global_batch_size}, and {self.devices} devices cannot share it equally. "
                f"Try --set data.global_batch_size={max(global_batch_size // self.devices, 1) * self.devices}, or "
                "--set runtime.strategy=none"
            )

    def start(self):
        """Makes the process-wide settings and returns the `Replicas` to build the model under.

        Raises:
            UserError: the devices are not as many as they were when the run began.
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
    return [d.name for d in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")]


class Replicas:
    """Runs a function on every replica's part of a global batch."""

    def __init__(self, strategy, jit_compile=False):
        self.strategy = strategy
        self.count = strategy.num_replicas_in_sync
        self.jit_compile = jit_compile

    def scope(self):
        """The scope in which models and optimisers are built."""
        return self.strategy.scope()

    def compile(self, function, reduce):
        """Compiles `function(batch) → dict of scalars` into one that takes a global batch.

        Args:
            function: runs on each replica with its rows of the batch.
            reduce: `"mean"` or `"sum"`, over the replicas.
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
        def part(context):
            def rows(x):
                assert x.shape[0] % self.count == 0, "Runtime.check_batch comes first"
                size = x.shape[0] // self.count
                return x[context.replica_id_in_sync_group * size :][:size]

            return tf.nest.map_structure(rows, batch)

        return self.strategy.experimental_distribute_values_from_function(part)


def environment():
    """Versions, devices and commit: what a result needs beside its config."""
    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    gpus = [device.get("device_name", "GPU") for device in details]
    return {
        "neural_similarity": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": " + ".join(gpus) if gpus else f"CPU, {_processor()}, {len(_cores())} cores",
    }


def commit():
    """The repository's commit, with `+` when the tree has changes; None outside git."""

    def git(*words):
        done = subprocess.run(["git", "-C", str(REPOSITORY), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        head = git("rev-parse", "--short=10", "HEAD")
        return head and head + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except OSError:  # no git here
        return None


def peak_memory_bytes():
    """The most memory this process has held: of the first GPU where there is one, resident otherwise."""
    if tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    try:  # the other count also holds what the process was before exec, as large as whoever started it
        with open("/proc/self/status") as file:
            return 1024 * next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kibibytes * (1 if sys.platform == "darwin" else 1024)


def _cores():
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _processor():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
