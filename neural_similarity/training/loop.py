"""The training loop of every experiment: steps, evaluations, checkpoints, and the way back into a run."""

import dataclasses
import math
import signal
import statistics
import sys
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from neural_similarity.errors import Interrupted, UserError
from neural_similarity.training.checkpoints import collect, restore
from neural_similarity.training.logs import Metrics, as_today, log
from neural_similarity.training.results import percent

LOG_EVERY_STEPS = 10


@dataclasses.dataclass(frozen=True)
class Task:
    """What an experiment gives the loop.

    Attributes:
        model: holds every weight; what a checkpoint keeps beside the optimiser's slots.
        optimizer: built on the model's trainable variables.
        batch: `batch(step) → global batch`, a pure function that `tf.data` can trace; static shapes.
        step: `step(batch) → {name: scalar}`, one update on one replica's part of a batch. `loss` is among the names;
            `learning_rate`, where it is, is logged as the last step's, everything else as a mean.
        evaluate: `evaluate() → {split: {name: float}}`.
        scores: the names in `evaluate`'s results, and maybe in `step`'s, that are fractions and shown in percent.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    batch: Callable
    step: Callable
    evaluate: Callable
    scores: tuple[str, ...]


def gradient_step(model, optimizer, loss):
    """The usual `Task.step`: one gradient of `loss(batch) → (scalar, {name: scalar})`, one update.

    The optimiser adds the replicas' gradients up, so each contributes its share of their mean.
    """

    def step(batch):
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        with tf.GradientTape() as tape:
            total, metrics = loss(batch)
            share = total / replicas
        rate = tf.identity(optimizer.learning_rate)  # of this update; the next one's may differ
        optimizer.apply(tape.gradient(share, model.trainable_variables))
        return {"loss": total, **metrics, "learning_rate": rate}

    return step


def batches(batch, first, last):
    """The batches `batch(step)` of the steps from `first` to before `last`, two of them made ahead."""
    return tf.data.Dataset.range(first, last).map(batch).prefetch(2)


class Loop:
    """Runs a task to its last step, from wherever its last checkpoint stands.

    Args:
        task: the `Task`.
        replicas: the `Replicas` to run it on.
        checkpoints: the run's `Checkpoints`.
        folder: the run folder, for the metrics.
        train_steps, evaluate_every_steps, checkpoint_every_minutes: when to end, to evaluate and to save.
    """

    def __init__(
        self, task, replicas, checkpoints, folder, *, train_steps, evaluate_every_steps, checkpoint_every_minutes
    ):
        self.task = task
        self.replicas = replicas
        self.checkpoints = checkpoints
        self.folder = folder
        self.train_steps = train_steps
        self.evaluate_every_steps = evaluate_every_steps
        self.checkpoint_every_seconds = 60 * checkpoint_every_minutes
        self.step = 0
        self.pending = []  # the steps' metrics since the last row; a checkpoint carries them

    def restore(self):
        """Takes up the newest checkpoint that is whole, if any was saved."""
        newest = self.checkpoints.load_newest(set_aside=True)
        if newest:
            self.step, arrays, state = newest
            restore(arrays, model=self.task.model.variables, optimizer=self.task.optimizer.variables)
            self.pending = [as_today(measures) for measures in state["pending"]]

    def run(self):
        """Trains to the end and returns the metrics' rows.

        Raises:
            Interrupted: on SIGINT or SIGTERM, after saving.
            UserError: the loss is not finite, or nothing can be saved.
        """
        metrics = Metrics(self.folder, self.step)
        compiled = self.replicas.compile(self.task.step, reduce="mean")
        started = time.monotonic()
        saved_at, first = started, self.step
        unfetched = []
        with _StopAsked() as stop_asked, _Progress(self.train_steps, self.step, self.task.scores) as progress:
            stopwatch = _Stopwatch(self.step)
            for batch in batches(self.task.batch, self.step, self.train_steps):
                unfetched.append(compiled(batch))
                self.step += 1
                stop = stop_asked()
                evaluate = self.step == self.train_steps or self.step % self.evaluate_every_steps == 0
                row = evaluate or self.step % LOG_EVERY_STEPS == 0
                save = evaluate or stop or time.monotonic() - saved_at > self.checkpoint_every_seconds
                if not (row or save):
                    continue
                self._fetch(unfetched)
                if row:
                    self._add_row(metrics, stopwatch.lap(self.step))
                    progress.advance(self.step, metrics.rows[-1]["loss"])
                unfetched = []
                if evaluate:
                    for split, values in self.task.evaluate().items():
                        metrics.add(self.step, split, **values)
                    pace = (time.monotonic() - started) / (self.step - first)
                    progress.say(self.step, metrics.rows, seconds_left=pace * (self.train_steps - self.step))
                if save:
                    self._save(metrics)
                    saved_at = time.monotonic()
                stopwatch.restart(self.step)
                if stop and self.step < self.train_steps:
                    raise Interrupted(self.step)
        return metrics.rows

    def _fetch(self, unfetched):
        """Moves the steps' metrics from the device, and stops at the first loss that is not finite."""
        first = self.step - len(unfetched) + 1
        for step, values in enumerate(unfetched, start=first):
            values = {name: float(value) for name, value in values.items()}
            if not math.isfinite(values["loss"]):
                raise self._not_finite(f"the loss of step {step} is {values['loss']}")
            self.pending.append(values)

    def _add_row(self, metrics, seconds_per_step):
        means = {name: statistics.fmean(v[name] for v in self.pending) for name in self.pending[0]}
        if "learning_rate" in means:
            means["learning_rate"] = self.pending[-1]["learning_rate"]
        metrics.add(self.step, "train", **means, seconds_per_step=seconds_per_step)
        self.pending = []

    def _save(self, metrics):
        arrays = collect(model=self.task.model.variables, optimizer=self.task.optimizer.variables)
        odd = [name for name, array in arrays.items() if not np.isfinite(array).all()]
        if odd:
            raise self._not_finite(f"after step {self.step}, {odd[0]} is not finite")
        metrics.write_csv()
        metrics.sync()
        self.checkpoints.save(self.step, arrays, {"pending": self.pending})

    def _not_finite(self, what):
        saved = [step for step in self.checkpoints.steps() if step < self.step]
        last = f"The last good checkpoint is {self.checkpoints.path(saved[-1])}." if saved else "None was saved yet."
        return UserError(
            f"Training stopped: {what}. {last} "
            "Try a lower rate or a longer warm-up: --set optimizer.learning_rate=… --set schedule.warmup_steps=…"
        )


class _Stopwatch:
    """Seconds a step, between rows; evaluations and checkpoints do not count."""

    def __init__(self, step):
        self.restart(step)

    def restart(self, step):
        self.step, self.since = step, time.monotonic()

    def lap(self, step):
        return (time.monotonic() - self.since) / (step - self.step)


class _Progress:
    """A bar on a terminal, a line an evaluation otherwise."""

    def __init__(self, total, initial, scores):
        self.scores = scores
        self.bar = tqdm(total=total, initial=initial, unit="step", disable=not sys.stderr.isatty(), dynamic_ncols=True)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.bar.close()

    def advance(self, step, loss):
        self.bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
        self.bar.update(step - self.bar.n)

    def say(self, step, rows, seconds_left):
        last = {row["split"]: row for row in rows[-8:] if row["step"] == step}
        words = [f"step {step:,}/{self.bar.total:,}"]
        numbers = ("loss", "learning_rate", "seconds_per_step")
        words += [f"{name} {last['train'][name]:.4g}" for name in numbers if name in last["train"]]
        for split, row in last.items():
            words += [f"{split} {name} {percent(row, name)}" for name in self.scores if name in row]
        words += [f"{seconds_left / 60:.0f} min left"] if seconds_left else []
        with tqdm.external_write_mode():
            log.info("   ".join(words))


class _StopAsked:
    """Becomes true on SIGINT or SIGTERM; a second SIGINT is Python's own."""

    def __enter__(self):
        self.asked = False
        self.before = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}
        return lambda: self.asked

    def _note(self, number, frame):
        self.asked = True
        signal.signal(number, self.before[number])

    def __exit__(self, *error):
        for number, handler in self.before.items():
            signal.signal(number, handler)
