"""Trains the runs of a table that have no result line yet, one after the other, each in a process of its own."""

import contextlib
import dataclasses
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
from neural_similarity.data.streams import tell
from neural_similarity.errors import UserError
from neural_similarity.files import held, shown
from neural_similarity.reporting.costs import Estimate, cost_of
from neural_similarity.reporting.plans import PlannedRun, key_of
from neural_similarity.reporting.record import read_all_results, record
from neural_similarity.training.runs import Run
from neural_similarity.training.stopping import StopAsked

_POLL_SECONDS = 0.5  # between two looks at whether a training ended or a stop was asked for
_WAIT_SECONDS = 5.0  # between two looks at a run that another process trains
_ROWS_BYTES = 8_000  # of metrics.jsonl: the last rows
_LINES_KEPT = 20  # of what a training printed, for the message of one that failed
_SAY_EVERY_SECONDS = 60.0


@dataclasses.dataclass
class Job:
    """One run that has no result line yet.

    Attributes:
        run: the `PlannedRun`.
        folder: its run folder.
        first_step: the step that it goes on from.
        estimate: in seconds, for what is left of it; None if nobody knows.
        measured_on: the device that the estimate is from; None if that is not known.
    """

    run: PlannedRun
    folder: Path
    first_step: int
    estimate: float | None
    measured_on: str | None

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
        folder = configs.run_folder(run.config, run.row.config, self.runs_folder)
        cost = cost_of(run.row.config, run.config, self.device, lines, self.measurements)
        step = last_step(folder)
        seconds_per_step = cost.seconds_per_step if cost else _logged_seconds_per_step(folder)
        estimate = seconds_per_step and seconds_per_step * max(0, run.config.schedule.scaled_train_steps - step)
        return Job(run, folder, step, estimate, cost and cost.device)

    def work(self) -> None:
        """Trains whatever is missing. Runs that another process trains are waited for at the end.

        Raises:
            KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; the training that it stopped has saved first.
        """
        with StopAsked() as stop_asked:
            waiting_for = None
            while jobs := [job for job in self.missing() if str(job) not in self.failures]:
                if stop_asked():
                    raise KeyboardInterrupt
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
                        tell(f"{elsewhere}: another process trains it in {shown(elsewhere.folder)}. Waiting for it.")
                    _sleep(_WAIT_SECONDS, stop_asked)

    def _one(self, job, left, stop_asked):
        """Trains one job, whose folder is claimed, and records its line."""
        run = Run(job.folder)
        try:
            if not (run.exists and run.result):
                resume = run.exists
                tell(f"\n{job}: {'goes on' if resume else 'begins'}. {self._how_far(left)}")
                code, last_lines = self._train(job, resume, left, stop_asked)
                if stop_asked():
                    raise KeyboardInterrupt
                if code and trains(job.folder):
                    return  # somebody started the same run by hand meanwhile: it is waited for
                if code:
                    self._failed(job, [*last_lines, _how_it_ended(code)])
                    return
            path, result, _ = record(job.folder, self.results)
            if key_of(result) != job.run.key:
                raise UserError(
                    f"{shown(job.folder)}: has another recipe than the row. configs/{job.run.row.config}.yaml was "
                    "changed meanwhile. Next: call again"
                )
            tell(f"{job}: {result.in_words()[0]}; recorded in {shown(path)}")
        except UserError as error:
            self._failed(job, [str(error)])

    def _failed(self, job, lines):
        self.failures[str(job)] = lines
        tell(f"{job}: failed. Going on with the others.")

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
            self._at_work = job, time.monotonic()
            try:
                self._wait(process, job, left, stop_asked)
            except BaseException:
                process.terminate()  # else the end of `with` would wait for the training's last step
                raise
            self._spent, self._foreseen = self._so_far()
            self._at_work = None
            reader.join(timeout=5)
        return process.returncode, list(last_lines)

    def _wait(self, process, job, left, stop_asked):
        """Waits for the end of a training, tells how far it is, and stops it if that is asked for."""
        asked, said_at = False, time.monotonic()
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_SECONDS)
            if stop_asked() and not asked:
                asked = True
                process.terminate()  # it saves and ends; a Ctrl-C on a terminal has reached it, too
            if time.monotonic() - said_at > _SAY_EVERY_SECONDS and process.poll() is None:
                said_at = time.monotonic()
                with contextlib.suppress(UserError):  # result lines that somebody edits at this moment
                    tell(f"  {job}: step {last_step(job.folder):,}. {self._how_far(left)}")

    def _how_far(self, left):
        """ "3 of 14 runs are done; about 2 h 5 min left."."""
        done = len(self.runs) - len(self.missing())
        lines = read_all_results(self.results)
        estimates = [self._job(job.run, lines).estimate for job in left]
        left_over = Estimate.of(estimates)
        seconds = left_over.seconds
        spent, foreseen = self._so_far()
        if foreseen > _SAY_EVERY_SECONDS:  # long enough to tell how much slower or faster than foreseen it goes
            seconds *= spent / foreseen
        return f"{done} of {len(self.runs)} runs are done; left: {Estimate(seconds, left_over.unknown)}."

    def _so_far(self):
        """Seconds of what was trained here, in fact and by the estimates, with what is being trained."""
        if self._at_work is None or self._at_work[0].estimate is None:
            return self._spent, self._foreseen
        job, since = self._at_work
        done = last_step(job.folder) - job.first_step
        foreseen = job.estimate * done / max(1, job.run.config.schedule.scaled_train_steps - job.first_step)
        return self._spent + time.monotonic() - since, self._foreseen + foreseen


def command_of(plan, job: Job) -> list[str]:
    """The command line that trains a job."""
    config = configs.CONFIGS / f"{job.run.row.config}.yaml"
    words = [sys.executable, str(REPOSITORY / job.run.config.owner() / "train.py"), "--config", str(config)]
    for text in plan.overrides(job.run.row, job.run.seed):
        words += ["--set", text]
    return [*words, "--run-dir", str(job.folder)]


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Claims a run folder for this runner, to the end of the `with` block; gives whether that was possible.

    The file `claim` in the folder is locked. The training in it locks the file `lock` besides, which also keeps away a
    train.py that somebody starts by hand. If a runner is killed and its training lives on, its claim is gone, but the
    training still holds `lock`. Such a folder is not given either.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder / "claim", wait=False) as mine:
        yield mine and not trains(folder)


def trains(folder: Path) -> bool:
    """Whether a training holds the file `lock` of a run folder."""
    if not (folder / "lock").is_file():
        return False
    try:
        with held(folder / "lock", wait=False) as free:
            return not free
    except OSError:
        return False


def last_step(folder: Path) -> int:
    """The step of the newest row of metrics in a run folder; 0 if there is none."""
    return _newest(folder, "step") or 0


def _logged_seconds_per_step(folder):
    """What the newest row of metrics says that a step takes; None if it says nothing."""
    return _newest(folder, "seconds_per_step")


def _newest(folder, name):
    """A number of the newest row of metrics that has it, among the last rows; None if there is none."""
    try:
        with open(folder / "metrics.jsonl", "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _ROWS_BYTES))
            lines = file.read().split(b"\n")[:-1]  # the last is empty, or is being written
    except OSError:
        return None
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get(name), int | float):
            return row[name]
    return None


def _how_it_ended(code):
    """How a process that failed ended, in words."""
    if code >= 0:
        return f"Its process ended with code {code}."
    return f"Its process was killed by signal {-code}{', perhaps as memory was short' * (code == -9)}."


def _pass_on(stream, last_lines):
    """Prints the lines of a stream but for the result line, and keeps the last of them."""
    for line in stream:
        last_lines.append(line.rstrip())
        if not line.startswith("result: {"):
            with contextlib.suppress(OSError):  # nobody reads: the training goes on
                tell(f"  {line.rstrip()}")


def _sleep(seconds, stop_asked: Callable[[], bool]):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if stop_asked():
            raise KeyboardInterrupt
        time.sleep(_POLL_SECONDS)
