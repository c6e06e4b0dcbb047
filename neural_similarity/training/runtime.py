"""Where and how a step runs: devices, precision, compilation."""

import dataclasses

import tensorflow as tf

from neural_similarity.errors import UserError


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
