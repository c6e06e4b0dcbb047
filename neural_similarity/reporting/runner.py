"""Trains the runs of a table that have no result line yet, one after the other, each in a process of its own."""

import contextlib
import dataclasses
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from neural_similarity import config as configs
from neural_similarity.config import REPOSITORY
from neural_similarity.data.streams import say
from neural_similarity.errors import UserError
from neural_similarity.files import shown
from neural_similarity.reporting.costs import cost_of, in_words
from neural_similarity.reporting.plans import PlannedRun, key_of
from neural_similarity.reporting.record import read_all_results, record
from neural_similarity.training.runs import Run
from neural_similarity.training.stopping import StopAsked

_POLL_SECONDS = 0.5  # between two looks at whether a training ended or a stop was asked for
_WAIT_SECONDS = 5.0  # between two looks at a run that another process trains
_ROW_BYTES = 4_000  # more than a row of metrics has
_LINES_KEPT = 20  # of what a training printed, for the message of one that failed
_SAY_EVERY_SECONDS = 60.0


@dataclasses.dataclass
class Job:
    """One run that has no result line yet.

    Attributes:
        run: the `PlannedRun`.
        folder: its run folder.
        estimate: in seconds, for what is left of it; None if nobody knows.
    """

    run: PlannedRun
    folder: Path
    estimate: float | None

    def __str__(self):
        """ "Static DNS, seed 0"."""
        return f"{self.run.row.method}, seed {self.run.seed}"


class Runner:
    """Trains the missing runs of a table and records their result lines.

    Several runners can work at one table, on one machine or on several with a common file system: a run is trained by
    the runner that has locked its folder. A runner that was killed leaves whole checkpoints, and the next one goes on
    from them.

    Args:
        plan: the `Plan`.
        runs_folder: the folder of the run folders.
        results: the folder of the result lines.
        device: of this machine, as result lines name it, for the estimates; None if that is not known.
        measurements: what `costs.read_measurements` returns, for the estimates.
    """

    def __init__(self, plan, runs_folder: Path, results: Path, device: str | None, measurements: Sequence[dict]):
        self.plan = plan
        self.runs_folder = runs_folder
        self.results = results
        self.device = device
        self.measurements = measurements
        self.runs = plan.runs()
        self.failures = {}  # str of a job → the last lines of what it printed
        self._spent, self._foreseen = 0.0, 0.0  # seconds of what was trained here: in fact, and by the estimates
        self._at_work = None  # (job, since when) of the training that is going on

    def missing(self) -> list[Job]:
        """The runs without a result line, in the order in which they are trained."""
        lines = read_all_results(self.results)
        known = set(map(key_of, lines))
        return [self._job(run, lines) for run in self.runs if run.key not in known]

    def _job(self, run, lines):
        folder = self.runs_folder / run.row.config / f"s{run.seed}-{run.config.run_hash()}"
        cost = cost_of(run.row.config, run.config, self.device, lines, self.measurements)
        steps = run.config.schedule.scaled_train_steps
        estimate = cost and cost.seconds_per_step * max(0, steps - last_step(folder))
        return Job(run, folder, estimate)

    def work(self) -> None:
        """Trains whatever is missing. Runs that another process trains are waited for at the end.

        Raises:
            KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; the training that it stopped has saved first.
        """
        with StopAsked() as stop_asked:
            waiting_for = None
            while jobs := [job for job in self.missing() if str(job) not in self.failures]:
                elsewhere = None
                for number, job in enumerate(jobs):
                    with claimed(job.folder) as mine:
                        if mine:
                            self._one(job, jobs[number:], stop_asked)
                            break  # and look again at what is missing, as others may have trained it in the meantime
                    elsewhere = elsewhere or job
                else:
                    if str(elsewhere) != waiting_for:
                        waiting_for = str(elsewhere)
                        say(f"{elsewhere}: another process trains it in {shown(elsewhere.folder)}. Waiting for it.")
                    _sleep(_WAIT_SECONDS, stop_asked)

    def _one(self, job, left, stop_asked):
        """Trains one job, whose folder is locked, and records its line."""
        run = Run(job.folder)
        try:
            if not (run.exists and run.result):
                resume = run.exists
                say(f"\n{job}: {'goes on' if resume else 'begins'}. {self._how_far(left)}")
                code, last_lines = self._train(job, resume, left, stop_asked)
                if stop_asked():
                    raise KeyboardInterrupt
                if code:
                    self._failed(job, last_lines or [f"its process ended with code {code}"])
                    return
            path, result, _ = record(job.folder, self.results)
            say(f"{job}: {', '.join(result.in_words())}; recorded in {shown(path)}")
        except UserError as error:
            self._failed(job, [str(error)])

    def _failed(self, job, lines):
        self.failures[str(job)] = lines
        say(f"{job}: failed. Going on with the others.")

    def _train(self, job, resume, left, stop_asked):
        """(exit code, last lines of what it printed) of the training of one job, in a process of its own."""
        command = command_of(self.plan, job) + (["--resume"] if resume else [])
        last_lines = deque(maxlen=_LINES_KEPT)
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process:
            reader = threading.Thread(target=_pass_on, args=(process.stdout, last_lines), daemon=True)
            reader.start()
            asked, said_at = False, time.monotonic()
            self._at_work = job, said_at
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_SECONDS)
                if stop_asked() and not asked:
                    asked = True
                    process.terminate()  # it saves and ends; a Ctrl-C on a terminal has reached it, too
                if time.monotonic() - said_at > _SAY_EVERY_SECONDS and process.poll() is None:
                    said_at = time.monotonic()
                    say(f"  {job}: step {last_step(job.folder):,}. {self._how_far(left)}")
            self._spent, self._foreseen = self._so_far()
            self._at_work = None
            reader.join(timeout=5)
        return process.returncode, list(last_lines)

    def _how_far(self, left):
        """ "3 of 14 runs are done; about 2 h 5 min left."."""
        done = len(self.runs) - len(self.missing())
        lines = read_all_results(self.results)
        estimates = [self._job(job.run, lines).estimate for job in left]
        seconds, unknown = sum(filter(None, estimates)), estimates.count(None)
        spent, foreseen = self._so_far()
        if foreseen > _SAY_EVERY_SECONDS:  # long enough to tell how much slower or faster than foreseen it goes
            seconds *= spent / foreseen
        also = f", without {unknown} whose cost nobody has measured" * bool(unknown)
        return f"{done} of {len(self.runs)} runs are done; about {in_words(seconds)} left{also}."

    def _so_far(self):
        """Seconds of what was trained here, in fact and by the estimates, with what is being trained."""
        if self._at_work is None or self._at_work[0].estimate is None:
            return self._spent, self._foreseen
        job, since = self._at_work
        now = self._job(job.run, read_all_results(self.results)).estimate
        return self._spent + time.monotonic() - since, self._foreseen + job.estimate - now


def command_of(plan, job: Job) -> list[str]:
    """The command line that trains a job."""
    config = configs.CONFIGS / f"{job.run.row.config}.yaml"
    words = [sys.executable, str(REPOSITORY / job.run.config.owner() / "train.py"), "--config", str(config)]
    for text in plan.overrides(job.run.row, job.run.seed):
        words += ["--set", text]
    return [*words, "--run-dir", str(job.folder)]


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Locks a run folder for this runner, to the end of the `with` block; gives whether that was possible.

    The folder itself is locked, so that no file is added to it. The training in it locks its file `lock` besides, which
    also keeps away a train.py that somebody starts by hand. If the runner is killed, its lock ends with it; if its
    training lives on, that still holds `lock`, which is looked at, too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks: the training's own check has to do
            pass
        yield not _trains(folder)
    finally:
        os.close(descriptor)


def _trains(folder):
    """Whether a training holds the file `lock` of a run folder."""
    try:
        with open(folder / "lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is none
        return False
    return False


def last_step(folder: Path) -> int:
    """The step of the newest row of metrics in a run folder; 0 if there is none, or if it is being written."""
    try:
        with open(folder / "metrics.jsonl", "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _ROW_BYTES))
            lines = file.read().split(b"\n")
        return int(json.loads(lines[-2])["step"])
    except (OSError, ValueError, IndexError, KeyError, TypeError):
        return 0


def _pass_on(stream, last_lines):
    """Prints the lines of a stream but for the result line, and keeps the last of them."""
    for line in stream:
        last_lines.append(line.rstrip())
        if not line.startswith("result: {"):
            with contextlib.suppress(OSError):  # nobody reads: the training goes on
                say(f"  {line.rstrip()}")


def _sleep(seconds, stop_asked: Callable[[], bool]):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if stop_asked():
            raise KeyboardInterrupt
        time.sleep(_POLL_SECONDS)
