"""The training loop of every experiment: steps, evaluations, checkpoints, and how a stopped run goes on."""

import dataclasses
import math
import shlex
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from neural_similarity.errors import Interrupted, UserError, mistake_in
from neural_similarity.files import free_name
from neural_similarity.training.checkpoints import collect, restore
from neural_similarity.training.logs import LOG_EVERY_STEPS, Metrics, as_today, first_lost_step, log, rows_of_older_run
from neural_similarity.training.progress import Progress
from neural_similarity.training.stopping import StopAsked


@dataclasses.dataclass(frozen=True)
class Task:
    """What an experiment gives the loop.

    Attributes:
        model: holds every weight. A checkpoint keeps its variables and those of the optimiser.
        optimizer: built on the model's trainable variables.
        batch: `batch(step)` returns the global batch of a step, an int64 scalar that counts from 0. The batch depends
            on nothing else, its shapes are static, and `tf.data` can trace the function.
        step: `step(batch)` makes one update with one replica's part of a batch, and returns `{name: scalar}`. `loss`
            must be among the names. `learning_rate`, if it is there, is logged as it was in the last step; everything
            else is logged as the mean over the steps since the last row.
        evaluate: `evaluate()` returns `{split: {name: float}}`.
        scores: the names, in what `evaluate` and perhaps `step` return, that are shown during the training, in percent.
            Their values are fractions.
        begin: `begin(resumed)` is called once, before the first step. If the run is resumed, the model has the weights
            of its checkpoint by then; if not, this may give it others than those that were drawn at random.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    batch: Callable
    step: Callable
    evaluate: Callable
    scores: tuple[str, ...]
    begin: Callable = lambda resumed: None


def gradient_step(model, optimizer, loss):
    """The usual `Task.step`: computes the gradient of the loss once, and updates the model once.

    The optimiser adds up the gradients of all replicas. Each replica therefore divides its loss by their number, so
    that the sum is the gradient of the mean loss: with two replicas, half of the one plus half of the other.

    Args:
        model: its trainable variables are updated.
        optimizer: built on these variables.
        loss: `loss(batch)` returns the scalar to minimise and the scalars to log beside it, `{name: scalar}`.
    """

    def step(batch):
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        with tf.GradientTape() as tape:
            total, metrics = loss(batch)
            share = total / replicas
        rate = tf.identity(optimizer.learning_rate)  # read before the update, after which it is that of the next one
        optimizer.apply(tape.gradient(share, model.trainable_variables))
        return {"loss": total, **metrics, "learning_rate": rate}

    return step


def batches(batch, first, last):
    """Yields the batches of the steps `first`, …, `last` − 1. Two of them are prepared while the step before them runs.

    Raises:
        UserError: a batch cannot be made, as when an image in a file turns out to be damaged.
    """
    try:
        yield from tf.data.Dataset.range(first, last).map(batch).prefetch(2)
    except tf.errors.OpError as error:
        mistake = mistake_in(error)
        if mistake is None:
            raise
        raise UserError(
            f"{mistake}. What was saved stays: --resume goes on with the same set, and --run-dir DIR begins anew with "
            "another."
        ) from None


class Loop:
    """Trains from the newest checkpoint, or from the start, to the last step.

    A row of metrics is written every `LOG_EVERY_STEPS` steps and at each evaluation. It holds means over the steps
    since the row before it. `pending` keeps the measures of those steps, and goes into every checkpoint. Example: a run
    is stopped after step 14, when `pending` holds the steps 11 to 14. The run that goes on from there adds the steps 15
    to 20. Its row of step 20 then has the same means as if the run had never been stopped.

    Of several workers only the chief writes. All of them do the same otherwise, in the same order, as each one's
    computations wait for the others'.

    Args:
        task: the `Task`.
        replicas: the `Replicas` to run it on.
        checkpoints: the run's `Checkpoints`.
        folder: the run folder, for the metrics.
        train_steps: the last step.
        evaluate_every_steps: steps between two evaluations. A checkpoint follows each evaluation.
        checkpoint_every_minutes: minutes after which a checkpoint is saved in between.
        check_place: called before anything is written. It raises a `UserError` if the folder is no longer the one that
            the run began in.
        protocol: how the scores are measured, in words; told with them.
    """

    def __init__(
        self,
        task,
        replicas,
        checkpoints,
        folder,
        *,
        train_steps,
        evaluate_every_steps,
        checkpoint_every_minutes,
        check_place,
        protocol=None,
    ):
        self.task = task
        self.replicas = replicas
        self.checkpoints = checkpoints
        self.folder = Path(folder)
        self.train_steps = train_steps
        self.evaluate_every_steps = evaluate_every_steps
        self.checkpoint_every_seconds = 60 * checkpoint_every_minutes
        self.check_place = check_place
        self.protocol = protocol
        self.step = 0
        self.rows = []  # of metrics, up to `step`
        self.lost_rows = False  # whether some of them are missing
        self.pending = []  # {name: number} of each step since the last row of metrics

    def restore(self):
        """Takes weights, optimiser, step, metrics and `pending` from the newest whole checkpoint; or begins the task.

        Of several workers the chief does it first, since it renames damaged files.

        Raises:
            UserError: there are rows of metrics and no checkpoint, what is there cannot be used, or another worker
                found another checkpoint.
        """
        if not self.replicas.is_chief:
            self.replicas.wait()
        self._restore()
        if self.replicas.is_chief:
            self.replicas.wait()
        self.replicas.check_same(
            f"step {self.step}",
            "Worker {} would go on from another step than worker 0. --run-dir must be the same folder for all of them, "
            "on a disk that all see.",
        )

    def _restore(self):
        newest = self.checkpoints.load_newest(rename_damaged=self.replicas.is_chief)
        if newest is None:
            self._check_nothing_is_lost()
            self.task.begin(resumed=False)
            return
        arrays, state = newest
        if state.step > self.train_steps:
            raise UserError(
                f"{self.checkpoints.path(state.step)}: the checkpoint of step {state.step:,} of a run that has "
                f"{self.train_steps:,} steps. Move it to another folder."
            )
        path = self.checkpoints.path(state.step)
        restore(arrays, path, model=self.task.model.variables, optimizer=self.task.optimizer.variables)
        self.step = state.step
        self.pending = [as_today(measures) for measures in state.pending]
        if state.rows is not None:
            self.rows, self.lost_rows = [as_today(row) for row in state.rows], state.lost_rows
        else:  # an older checkpoint
            self._take_rows_of_older_run()
        self.task.begin(resumed=True)

    def _check_nothing_is_lost(self):
        """Refuses to begin a run that has metrics: it was trained, and so its checkpoints are gone."""
        files = (self.folder / "metrics.jsonl", self.folder / "metrics.csv")
        written = [file for file in files if file.exists() and file.stat().st_size > 1]  # an empty table has a line end
        if not written:
            return
        moves = [shlex.join(["mv", str(file), str(free_name(file, "earlier"))]) for file in written]
        raise UserError(
            f"{written[0]}: holds metrics, but there is no checkpoint in {self.checkpoints.folder}. If the checkpoints "
            "were moved, or their disk is not there, put them back. Otherwise the run can only begin again: "
            f"{' && '.join(moves)}, then --resume."
        )

    def _take_rows_of_older_run(self):
        """Takes the rows from `metrics.jsonl`, and says if some are missing."""
        rows = [row for row in rows_of_older_run(self.folder / "metrics.jsonl") if row["step"] <= self.step]
        if self.step == self.train_steps:  # only the result is missing: the last evaluation is done again
            rows = [row for row in rows if row["step"] < self.step or row["split"] == "train"]
        self.rows = rows
        lost = first_lost_step(rows, self.step, self.evaluate_every_steps, self.train_steps)
        self.lost_rows = lost is not None
        if self.lost_rows:
            log.warning(
                "metrics.jsonl lacks rows; the first that is missing is of step %s. Training goes on without them. The "
                "result will name no selected step.",
                f"{lost:,}",
            )

    def run(self):
        """Trains to the last step and returns all rows of metrics.

        Raises:
            Interrupted: on Ctrl-C, SIGTERM or SIGHUP, once the current step is done and saved; of several workers, the
                next step that writes a row.
            UserError: the loss or a weight is not finite, a checkpoint cannot be saved, or the run folder is gone.
        """
        self.check_place()
        metrics = Metrics(self.folder if self.replicas.is_chief else None, self.rows)
        if self.replicas.is_chief and not self.checkpoints.steps():
            self._save(metrics)  # so that rows without a checkpoint always mean that something was lost
        compiled = self.replicas.compile(self.task.step, reduce="mean")
        started = time.monotonic()
        saved_at, first = started, self.step
        unfetched = []
        with (
            StopAsked() as stop_asked,
            Progress(self.train_steps, self.step, self.task.scores, self.protocol) as progress,
        ):
            stopwatch = _Stopwatch(self.step)
            for batch in batches(self.task.batch, self.step, self.train_steps):
                unfetched.append(compiled(batch))
                self.step += 1
                evaluate = self.step == self.train_steps or self.step % self.evaluate_every_steps == 0
                write_row = evaluate or self.step % LOG_EVERY_STEPS == 0
                # Several workers must stop at the same step. They agree where they wait for results in any case.
                stop = (write_row or not self.replicas.are_of_several_workers) and self.replicas.any(stop_asked())
                save = evaluate or stop or time.monotonic() - saved_at > self.checkpoint_every_seconds
                if not (write_row or save):
                    continue
                self._fetch(unfetched)
                self.check_place()
                if write_row:
                    self._add_row(metrics, stopwatch.lap(self.step))
                    progress.advance(self.step, metrics.rows[-1]["loss"])
                unfetched = []
                if evaluate:
                    self._evaluate(metrics)
                    pace = (time.monotonic() - started) / (self.step - first)
                    progress.say(self.step, metrics.rows, seconds_left=pace * (self.train_steps - self.step))
                if save:
                    if self.replicas.is_chief:
                        self._save(metrics)
                    saved_at = time.monotonic()
                stopwatch.restart(self.step)
                if stop and self.step < self.train_steps:
                    self.replicas.wait()  # as a cluster ends all workers once the first of them has ended
                    raise Interrupted(self.step)
        if not any(row["step"] == self.step and row["split"] != "train" for row in metrics.rows):
            self._evaluate(metrics)  # the last step was saved by an older version, and its rows were lost
        return metrics.rows

    def _evaluate(self, metrics):
        measured = self.task.evaluate()
        self.check_place()  # an evaluation may have taken long
        for split, values in measured.items():
            metrics.add(self.step, split, **values)

    def _fetch(self, unfetched):
        """Copies what the latest steps measured from the device to `pending`.

        Raises:
            UserError: a loss is not finite; the message names the first such step.
        """
        first = self.step - len(unfetched) + 1
        for step, values in enumerate(unfetched, start=first):
            values = {name: float(value) for name, value in values.items()}
            if not math.isfinite(values["loss"]):
                raise self._diverged(f"the loss of step {step} is {values['loss']}")
            self.pending.append(values)

    def _add_row(self, metrics, seconds_per_step):
        """Writes the means over `pending` as a row of training, and empties `pending`."""
        means = {name: statistics.fmean(v[name] for v in self.pending) for name in self.pending[0]}
        if "learning_rate" in means:
            means["learning_rate"] = self.pending[-1]["learning_rate"]
        metrics.add(self.step, "train", **means, seconds_per_step=seconds_per_step)
        self.pending = []

    def _save(self, metrics):
        """Saves a checkpoint; before it the metrics, so that no row from before the checkpoint can be missing."""
        arrays = collect(model=self.task.model.variables, optimizer=self.task.optimizer.variables)
        not_finite = [name for name, array in arrays.items() if not np.isfinite(array).all()]
        if not_finite:
            raise self._diverged(f"after step {self.step}, {not_finite[0]} is not finite")
        self.check_place()
        metrics.save()
        self.checkpoints.save(self.step, arrays, self.pending, metrics.rows, self.lost_rows)

    def _diverged(self, what):
        """The `UserError` of a training that cannot go on; `what` is what was found."""
        saved = [step for step in self.checkpoints.steps() if 0 < step < self.step]
        last = f"The last good checkpoint is {self.checkpoints.path(saved[-1])}." if saved else "None was saved yet."
        return UserError(
            f"Training stopped: {what}. {last} "
            "Try a lower rate or a longer warm-up: --set optimizer.learning_rate=… --set schedule.warmup_steps=…"
        )


class _Stopwatch:
    """Measures the seconds per step between two rows. It restarts after each evaluation and checkpoint."""

    def __init__(self, step):
        self.restart(step)

    def restart(self, step):
        self.step, self.since = step, time.monotonic()

    def lap(self, step):
        """Seconds per step since the last restart."""
        return (time.monotonic() - self.since) / (step - self.step)
