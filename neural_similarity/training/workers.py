"""The processes that train one run together (`runtime.strategy: multi_worker`): who they are, and how they meet.

TensorFlow's `MultiWorkerMirroredStrategy` waits for the other processes when it is built. Ctrl-C does not end that
wait, and the strategy does not compare what the processes are about to train. So the workers meet before, in
`Workers.meet`, which does both.
"""

import contextlib
import dataclasses
import json
import os
import re
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
_NOBODY = (OSError, ValueError, KeyError, TypeError)  # not there yet, gone again, or some other program
_NUMBERS = re.compile("([0-9]+)")
_NONE_FOUND = (
    "`runtime.strategy: multi_worker` needs to know its workers, from TF_CONFIG or from the variables that SLURM's "
    "srun sets, and neither is set here. To start two workers on this machine: python -m neural_similarity launch "
    "--workers 2 TRAIN.py …. To train in one process: --set runtime.strategy=auto"
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
        for address in workers.addresses:
            _host_and_port(address)
        if len(set(workers.addresses)) < len(workers.addresses):
            raise UserError(f"Two workers have one address among {', '.join(workers.addresses)}. Each needs its own.")
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
        chief, others = jobs.get("chief", []), jobs.get("worker", [])
        if kind not in ("chief", "worker") or index not in range(len(jobs.get(kind, []))):
            raise UserError(f"{what}its task is not one of the chief and the workers of its cluster. {expected}")
        return cls(tuple(map(str, (*chief, *others))), index if kind == "chief" else index + len(chief))

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
        # SLURM counts its tasks from node to node, gpu9 before gpu10. The resolver sorts the names as texts.
        addresses.sort(
            key=lambda address: [int(part) if part.isdecimal() else part for part in _NUMBERS.split(address)]
        )
        index, node = int(os.environ["SLURM_PROCID"]), os.environ.get("SLURMD_NODENAME")
        if node and _host_and_port(addresses[index])[0] != node:
            raise UserError(
                f"SLURM's task {index} runs on {node}, and by the order of SLURM_STEP_NODELIST it should run on "
                f"{addresses[index]}. Start the tasks in that order: srun --distribution=block"
            )
        return cls(tuple(addresses), index)

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
        statement = {**statement, "the workers": ", ".join(self.addresses)}
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
            door = stack.enter_context(self._door())
            door.settimeout(_RETRY_SECONDS)
            told = time.monotonic()
            while missing and time.monotonic() < until:
                if time.monotonic() - told > _TELL_EVERY_SECONDS:
                    log.info("Worker 0 is waiting for %s.", _listed(missing))
                    told = time.monotonic()
                with contextlib.suppress(*_NOBODY):
                    connection = stack.enter_context(door.accept()[0])
                    connection.settimeout(10)
                    said = _read(connection)
                    number = said["worker"]
                    if number in missing or number in statements:
                        statements[number], connections[number] = said["statement"], connection
                        missing.pop(number, None)
                if not missing:  # are those who came first still there?
                    gone = [number for number, connection in connections.items() if not _answers(connection)]
                    missing = {number: self.addresses[number] for number in gone}
            mistake = self._of_missing(missing) if missing else self._difference(statement, statements)
            for connection in connections.values():
                with contextlib.suppress(OSError):
                    _send(connection, {"mistake": mistake})
        return mistake

    def _door(self):
        """This worker's own port, opened."""
        host, port = _host_and_port(self.addresses[self.index])
        try:
            return socket.create_server(("", port))
        except OSError as error:
            raise UserError(
                f"Worker {self.index} cannot listen on port {port} of {host} ({error.strerror}). If TF_CONFIG names "
                "the port, name a free one there; under SLURM, wait until no other job trains on this machine; under "
                "launch, start the command again."
            ) from None

    def _of_missing(self, missing):
        return (
            f"Not all of the {len(self.addresses)} workers came in time. Missing: {_listed(missing)}. Look at what was "
            "printed there, and start all workers again with the same command."
        )

    def _difference(self, statement, statements):
        """The message about the first worker that has another statement than the chief, or None."""
        for number, other in sorted(statements.items()):
            for name in statement.keys() | other.keys():
                own, theirs = statement.get(name), other.get(name)
                if own != theirs:
                    return (
                        f"Worker {number} ({self.addresses[number]}) differs from worker 0 in {name}: worker {number} "
                        f"has {theirs}, worker 0 has {own}. Start all workers with the same --config, --set, --run-dir "
                        "and --resume, and with the same versions."
                    )
        return None

    def _report(self, statement, until):
        """Another worker's part of `meet`: returns the mistake that the chief tells, or None."""
        where, why = self.addresses[0], "nobody was there"
        self._door().close()  # only to see whether it is free
        while time.monotonic() < until:
            try:
                with socket.create_connection(_host_and_port(where), timeout=10) as connection:
                    _send(connection, {"worker": self.index, "statement": statement})
                    connection.settimeout(until - time.monotonic() + 10)  # as the chief tells its mistake at the end
                    while "mistake" not in (said := _read(connection)):
                        _send(connection, {"here": True})
                    return said["mistake"]
            except _NOBODY as error:
                why = getattr(error, "strerror", None) or str(error)
                time.sleep(_RETRY_SECONDS)
        raise UserError(
            f"Worker {self.index} did not reach worker 0, the chief, at {where} in time ({why}). Look at what worker 0 "
            "printed, and start all workers again with the same command."
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
        reason = re.search("Collective ops is aborted by: (.*)", str(error))
        if not reason:
            raise
        raise UserError(
            "Another worker has ended, or cannot be reached any more, and the others cannot go on without it. What was "
            "saved stays. Look at what the other workers printed, and start all of them again with the same command; "
            f"if the run has begun, with {options}. TensorFlow's reason: {reason[1]}"
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


def _answers(connection):
    """Whether a worker that has come before is still there."""
    try:
        _send(connection, {"all": "here"})
        return "here" in _read(connection)
    except _NOBODY:
        return False


def _read(connection):
    """The JSON document of one line. Raises a ValueError if there is none."""
    received = b""
    while not received.endswith(b"\n"):
        piece = connection.recv(4096)
        received += piece
        if not piece or len(received) > _MOST_BYTES:
            raise ValueError("the connection ended early")
    return json.loads(received)
