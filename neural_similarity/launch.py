"""Starts the workers of one run on this machine: `python -m neural_similarity launch`.

The workers import TensorFlow; this process does not.
"""

import collections
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
_SECONDS_TO_FOLLOW = 60  # without a word from the others, once a first worker has ended
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GO_ON = "What was saved stays. If the run has begun, the same command goes on with --resume."


def launch(workers: int, script: Path, arguments: Sequence[str]) -> int:
    """Runs a train.py in several processes, which train one run together, and waits for all of them.

    What a worker prints appears with its number in front, as `[0] step 10`. A line of the standard error that several
    workers print appears once. If a worker dies, the others are ended at once. Ctrl-C, SIGTERM and SIGHUP are passed
    on, so that the workers save and stop; the second time, they are ended at once.

    Args:
        workers: how many.
        script: the train.py.
        arguments: its arguments. `--set runtime.strategy=multi_worker` is added.

    Returns:
        The exit code: 0, 130 if the run was stopped, or that of the first worker that died, 1 for one that a signal
        ended.

    Raises:
        UserError: there is no such train.py, the arguments do not train, there are fewer than two workers, or the GPUs
            cannot be shared equally.
    """
    if script.name != "train.py" or not script.is_file():
        raise UserError(
            f"{script}: not a train.py. Example: python -m neural_similarity launch --workers 2 "
            "nsl_image_recog/static/train.py"
        )
    plain = ["python", str(script), *arguments]
    strategy = ["--set", "runtime.strategy=multi_worker"]
    if "--eval-only" in arguments:
        raise UserError(f"An evaluation takes one process: {shlex.join([*plain, *strategy])}")
    if "--dry-run" in arguments or workers < 2:
        raise UserError(f"This takes one process: {shlex.join(plain)}")
    environments = _environments(workers)
    with _Launch() as started:
        for environment in environments:
            started.start([sys.executable, str(script), *arguments, *strategy], environment)
        return started.wait()


def _environments(workers):
    """What each worker has in its environment beside what is there: TF_CONFIG, and its share of the GPUs."""
    gpus = _gpus()
    if len(gpus) % workers:
        raise UserError(
            f"{workers} workers cannot share {len(gpus)} GPUs equally. Name those to use, as "
            f"CUDA_VISIBLE_DEVICES={','.join(map(str, range(workers)))}, or none: CUDA_VISIBLE_DEVICES="
        )
    with contextlib.ExitStack() as stack:  # all at once, so that no port is given out twice
        doors = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(workers)]
        addresses = [f"127.0.0.1:{door.getsockname()[1]}" for door in doors]
    tasks = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}} for i in range(workers)]
    environments = [{"TF_CONFIG": json.dumps(task)} for task in tasks]
    share = len(gpus) // workers
    for i, environment in enumerate(environments if gpus else ()):
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[i * share :][:share])
    return environments


def _gpus():
    """The GPUs that `CUDA_VISIBLE_DEVICES` names, or else all of the machine, as texts."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [gpu for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if gpu]
    return sorted((path.name[len("nvidia") :] for path in Path("/dev").glob("nvidia[0-9]*")), key=int)


class _Launch:
    """The processes that were started, until all have ended.

    Threads read what the processes say and wait for their ends, and put both into a queue.
    """

    def __init__(self):
        self.processes = []
        self.events = queue.Queue()
        self.told = collections.Counter()  # how often each line of standard error was shown
        self.said = collections.Counter()  # and how often each worker said it
        self.signals = 0

    def __enter__(self):
        """Begins to pass signals on. Those that are ignored stay so, as SIGHUP under `nohup`."""
        now = {number: signal.getsignal(number) for number in _SIGNALS}
        self.before = {number: handler for number, handler in now.items() if handler != signal.SIG_IGN}
        for number in self.before:
            signal.signal(number, self._pass_on)
        return self

    def __exit__(self, *error):
        """Ends what still runs."""
        self._kill()
        for process in self.processes:
            process.wait()
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def start(self, command, environment):
        """Starts the next worker."""
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # so that Ctrl-C reaches a worker once, from here
        )
        threading.Thread(target=self._watch, args=(len(self.processes), process), daemon=True).start()
        self.processes.append(process)

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
        """Shows what the processes say until all have ended; returns the exit code."""
        codes = {}
        while len(codes) < len(self.processes):
            try:
                number, to, what = self.events.get(timeout=_SECONDS_TO_FOLLOW if codes else None)
            except queue.Empty:
                late = " and ".join(f"worker {n}" for n in range(len(self.processes)) if n not in codes)
                tell(
                    f"{late}: still running, and silent, {_SECONDS_TO_FOLLOW} seconds after another worker had ended, "
                    f"and so ended by force. {_GO_ON}",
                    sys.stderr,
                )
                return 1
            if to is None:
                codes[number] = _STOPPED if self.signals and what < 0 else what
                if codes[number] not in (0, _STOPPED):
                    return self._died(number, what)
            elif to is sys.stdout:
                tell(f"[{number}] {what}")
            else:
                self._show_error(number, what)
        return max(codes.values())

    def _show_error(self, number, line):
        self.said[number, line] += 1
        if self.said[number, line] > self.told[line]:
            self.told[line] += 1
            tell(f"[{number}] {line}", sys.stderr)

    def _died(self, number, code):
        if code == _MISTAKE and self.told:  # it is told
            return code
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with the code {code}"
        tell(f"Worker {number} {how}, and so the others were ended too. {_GO_ON}", sys.stderr)
        return code if code > 0 else 1

    def _pass_on(self, number, frame):
        self.signals += 1
        if self.signals > 1:
            self._kill()
        for process in self.processes:
            process.send_signal(number)  # does nothing if the process has ended

    def _kill(self):
        for process in self.processes:
            process.kill()  # likewise
