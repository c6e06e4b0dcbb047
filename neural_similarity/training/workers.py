"""The processes that train one run together (`runtime.strategy: multi_worker`): which there are, and how they begin.

The training itself is TensorFlow's `MultiWorkerMirroredStrategy`. While that waits for the other processes, nothing
stops it, Ctrl-C included, and it does not ask what they are about to train. So the workers meet before they call it, as
`Workers.meet` describes.
"""

import contextlib
import dataclasses
import json
import os
import socket
import time
from collections.abc import Iterator

import tensorflow as tf

from neural_similarity.errors import UserError
from neural_similarity.training.logs import log

MEETING_SECONDS = 600  # clusters start their workers within minutes of each other
_TELL_EVERY_SECONDS = 30
_RETRY_SECONDS = 0.3
_MOST_BYTES = 100_000  # of what one worker says to another
_NONE_FOUND = (
    "`runtime.strategy: multi_worker` needs to know its workers, from TF_CONFIG or from the variables of a SLURM step, "
    "and neither is set here. To start two workers on this machine: python -m neural_similarity launch --workers 2 "
    "TRAIN.py …. To train without others: --set runtime.strategy=auto"
)


@dataclasses.dataclass(frozen=True)
class Workers:
    """The workers of a run.

    Attributes:
        addresses: "host:port" of each. The first one is the chief, which alone writes.
        index: which of them this process is.
    """

    addresses: tuple[str, ...]
    index: int

    @classmethod
    def found(cls) -> "Workers":
        """The workers that the environment names: `TF_CONFIG`, as Kubernetes' training operator sets it, or else SLURM.

        Raises:
            UserError: it names none, or fewer than two, or it cannot be understood.
        """
        if os.environ.get("TF_CONFIG"):
            workers = cls._of_tf_config()
        elif "SLURM_STEP_NUM_TASKS" in os.environ:
            workers = cls._of_slurm()
        else:
            raise UserError(_NONE_FOUND)
        if len(workers.addresses) < 2:
            raise UserError(
                f"`runtime.strategy: multi_worker` needs two workers or more, and here is only "
                f"{', '.join(workers.addresses)}. To train on one machine: --set runtime.strategy=auto"
            )
        return workers

    @classmethod
    def _of_tf_config(cls):
        what = f"The environment variable TF_CONFIG is {os.environ['TF_CONFIG'][:500]!r}, and "
        expected = 'Expected {"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}.'
        try:
            resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
            jobs, kind, index = resolver.cluster_spec().as_dict(), resolver.task_type, resolver.task_id
        except Exception as error:
            raise UserError(f"{what}cannot be understood ({type(error).__name__}: {error}). {expected}") from None
        addresses = [*jobs.get("chief", []), *jobs.get("worker", [])]
        number = index if kind == "chief" or index is None else index + len(jobs.get("chief", []))
        if kind not in ("chief", "worker") or number is None or not number < len(addresses):
            raise UserError(f"{what}its task is not one of the chief and the workers of its cluster. {expected}")
        return cls(tuple(map(str, addresses)), number)

    @classmethod
    def _of_slurm(cls):
        try:
            # One GPU a task keeps the resolver from looking for GPUs itself: which of them a task may see is for SLURM.
            tasks = int(os.environ["SLURM_STEP_NUM_TASKS"])
            resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
                gpus_per_node=tasks, gpus_per_task=1, auto_set_gpu=False
            )
            addresses = resolver.cluster_spec().as_dict()["worker"]
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"SLURM's variables do not name the workers: {error} Start every worker by srun, as docs/scaling.md "
                "shows."
            ) from None
        return cls(tuple(addresses), resolver.task_id)

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.index == 0

    def strategy(self) -> tf.distribute.Strategy:
        """TensorFlow's strategy. It returns when all workers have called it; `meet` comes before."""
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": list(self.addresses)}),
            task_type="worker",
            task_id=self.index,
            num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
            rpc_layer="grpc",
        )
        return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)

    def meet(self, statement: dict[str, str], seconds: float = MEETING_SECONDS) -> None:
        """Waits until all workers are here, and makes sure that all are about to train the same.

        Every worker tells the chief its statement, at the address that the chief will have in the training. The chief
        compares the statements with its own, and tells all of them the outcome.

        Args:
            statement: what must be the same on all workers, by a name that the message uses.
            seconds: how long to wait.

        Raises:
            UserError: a worker did not come in time, or has another statement than the chief.
        """
        until = time.monotonic() + seconds
        mistake = self._receive(statement, until) if self.is_chief else self._report(statement, until)
        if mistake:
            raise UserError(mistake)

    def _receive(self, statement, until):
        """The chief's part of `meet`: returns the mistake that it has told all others, or None."""
        missing = dict(enumerate(self.addresses))
        del missing[self.index]
        statements, connections = {}, {}
        with contextlib.ExitStack() as stack:
            host, port = _host_and_port(self.addresses[0])
            try:
                door = stack.enter_context(socket.create_server(("", port)))
            except OSError as error:
                raise UserError(
                    f"The chief's address {host}:{port} cannot be opened ({error.strerror}). Name another port."
                ) from None
            door.settimeout(_RETRY_SECONDS)
            told = time.monotonic()
            while missing:
                if time.monotonic() > until:
                    raise UserError(
                        f"Worker 0 has waited in vain for {_listed(missing)}. Look at what that worker said, and start "
                        "all workers anew."
                    )
                if time.monotonic() - told > _TELL_EVERY_SECONDS:
                    log.info("Worker 0 is waiting for %s.", _listed(missing))
                    told = time.monotonic()
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # nobody came, or a stranger
                    connection = stack.enter_context(door.accept()[0])
                    connection.settimeout(10)
                    said = _read(connection)
                    number = said["worker"]
                    if number in missing or number in statements:
                        statements[number], connections[number] = said["statement"], connection
                        missing.pop(number, None)
            mistake = self._difference(statement, statements)
            for connection in connections.values():
                with contextlib.suppress(OSError):
                    _send(connection, {"mistake": mistake})
        return mistake

    def _difference(self, statement, statements):
        """The message about the first worker that has another statement than the chief, or None."""
        for number, other in sorted(statements.items()):
            for name in statement.keys() | other.keys():
                own, theirs = statement.get(name), other.get(name)
                if own != theirs:
                    return (
                        f"Worker {number} ({self.addresses[number]}) and worker 0 have not the same {name}: {theirs} "
                        f"and {own}. All workers need one config, one version, and a run folder on a disk that all see."
                    )
        return None

    def _report(self, statement, until):
        """Another worker's part of `meet`: returns the mistake that the chief tells, or None."""
        where, why = self.addresses[0], "nobody was there"
        while time.monotonic() < until:
            try:
                with socket.create_connection(_host_and_port(where), timeout=10) as connection:
                    _send(connection, {"worker": self.index, "statement": statement})
                    connection.settimeout(max(until - time.monotonic(), 1))
                    return _read(connection)["mistake"]
            except (OSError, ValueError, KeyError, TypeError) as error:  # not there yet, gone again, or another program
                why = getattr(error, "strerror", None) or str(error)
                time.sleep(_RETRY_SECONDS)
        raise UserError(
            f"Worker {self.index} has tried in vain to reach worker 0, the chief, at {where} ({why}). Look at what "
            "worker 0 said, and start all workers anew."
        )


@contextlib.contextmanager
def lost_worker_told(options: str) -> Iterator[None]:
    """Turns what TensorFlow says when another worker ended, or cannot be reached any more, into a message.

    Args:
        options: those with which the run goes on, for the message.

    Raises:
        UserError: that happened in the `with` block.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if "Collective ops is aborted" not in str(error):
            raise
        raise UserError(
            "Another worker has ended, or cannot be reached any more, and the others cannot go on without it. What was "
            f"saved stays: look at what that worker said, and start all of them again with {options}"
        ) from None


def _host_and_port(address):
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdecimal() and int(port) < 65536):
        raise UserError(f"{address!r}: not the address of a worker, which is host:port.")
    return host.strip("[]"), int(port)


def _listed(workers):
    return ", ".join(f"worker {number} ({address})" for number, address in workers.items())


def _send(connection, document):
    connection.sendall(json.dumps(document).encode() + b"\n")


def _read(connection):
    """The JSON document of one line. Raises a ValueError if there is none."""
    received = b""
    while not received.endswith(b"\n"):
        piece = connection.recv(4096)
        received += piece
        if not piece or len(received) > _MOST_BYTES:
            raise ValueError("the connection ended early")
    return json.loads(received)
