"""Starts the workers of one run on this machine: `python -m neural_similarity launch`.

The workers import TensorFlow; this process does not.
"""

import contextlib
import json
import os
import queue
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from neural_similarity.data.streams import tell
from neural_similarity.errors import UserError

_MISTAKE, _STOPPED = 2, 130  # codes of `command.guarded`
_SECONDS_TO_FOLLOW = 60  # for the others, once the first has ended well or was asked to stop
_NOT_TRAINING = ("--eval-only", "--dry-run")


def launch(workers: int, script: Path, arguments: Sequence[str]) -> int:
    """Runs a train.py in several processes, which train one run together, and waits for all of them.

    What a worker prints is passed on behind its number, as `[0] `. A line of its standard error is passed on once, even
    if all workers say it. If a worker dies, the others are ended at once. Ctrl-C and SIGTERM are passed on, so that the
    workers save and stop; the second time, they are ended at once.

    Args:
        workers: how many.
        script: the train.py.
        arguments: its arguments. `--set runtime.strategy=multi_worker` is added.

    Returns:
        The exit code: 0, 130 if the run was stopped, or that of the first worker that died, 1 for one that a signal
        ended.

    Raises:
        UserError: there is no such train.py, or the arguments do not train.
    """
    if script.name != "train.py" or not script.is_file():
        raise UserError(f"{script}: not a train.py. As an example: launch --workers 2 nsl_image_recog/static/train.py")
    if no := [word for word in arguments if word in _NOT_TRAINING]:
        raise UserError(f"{no[0]} needs no other workers: {shlex.join(['python', str(script), *arguments])}")
    command = [sys.executable, str(script), *arguments, "--set", "runtime.strategy=multi_worker"]
    return _Launch([_start(command, environment) for environment in _environments(workers)]).wait()


def _environments(workers):
    """What each worker has in its environment beside what is there: TF_CONFIG, and its share of the GPUs."""
    with contextlib.ExitStack() as stack:  # all at once, so that no port is given out twice
        doors = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(workers)]
        addresses = [f"127.0.0.1:{door.getsockname()[1]}" for door in doors]
    gpus = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    for index in range(workers):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {"TF_CONFIG": json.dumps(task)}
        if gpus:
            share = len(gpus) // workers
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[index * share :][:share])
        yield environment


def _start(command, environment):
    return subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # so that Ctrl-C reaches a worker once, from here
    )


class _Launch:
    """The processes that were started, until all have ended.

    Threads read what the processes say and wait for their ends, and put both into a queue.
    """

    def __init__(self, processes):
        self.processes = processes
        self.events = queue.Queue()
        self.said = set()  # the lines of standard error
        self.signals = 0
        for number, process in enumerate(processes):
            threading.Thread(target=self._watch, args=(number, process), daemon=True).start()

    def _watch(self, number, process):
        """Reads both streams to their ends, then waits for the process."""
        error = threading.Thread(target=self._read, args=(number, process.stderr, sys.stderr), daemon=True)
        error.start()
        self._read(number, process.stdout, sys.stdout)
        error.join()
        self.events.put((number, None, process.wait()))

    def _read(self, number, stream, to):
        with stream:
            for line in stream:
                self.events.put((number, to, line.rstrip("\n")))

    def wait(self):
        """Passes everything on until all processes have ended; returns the exit code."""
        before = {number: signal.signal(number, self._pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            return self._wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._kill()

    def _wait(self):
        codes = {}  # of the processes that have ended, in that order
        while len(codes) < len(self.processes):
            try:
                number, to, what = self.events.get(timeout=_SECONDS_TO_FOLLOW if codes else None)
            except queue.Empty:
                tell(f"{self._those_without(codes)} did not end within {_SECONDS_TO_FOLLOW} seconds.", sys.stderr)
                return 1
            if to is None:
                codes[number] = what
                if what not in (0, _STOPPED):
                    return self._died(number, what)
            elif to is sys.stdout:
                tell(f"[{number}] {what}")
            elif what not in self.said:
                self.said.add(what)
                tell(f"[{number}] {what}", sys.stderr)
        return max(codes.values())

    def _died(self, number, code):
        self._kill()
        if code == _MISTAKE and self.said:  # it is told
            return code
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with the code {code}"
        tell(
            f"Worker {number} {how}, and so the others were ended too. What was saved stays: to go on, add --resume to "
            "the same command.",
            sys.stderr,
        )
        return code if code > 0 else 1

    def _those_without(self, codes):
        return " and ".join(f"worker {number}" for number in range(len(self.processes)) if number not in codes)

    def _pass_on(self, number, frame):
        self.signals += 1
        if self.signals > 1:
            self._kill()
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    def _kill(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
