"""The command line of every train.py."""

import argparse
import dataclasses
import shlex
import sys
import textwrap
from pathlib import Path
from typing import Protocol

import yaml

from neural_similarity import config as configs
from neural_similarity.command import add_config_arguments, guarded
from neural_similarity.data.images import DataMissing
from neural_similarity.errors import UserError
from neural_similarity.files import write_atomically
from neural_similarity.training import runs
from neural_similarity.training.logs import log
from neural_similarity.training.loop import Loop
from neural_similarity.training.results import build_result
from neural_similarity.training.runtime import Runtime, environment


class Kind(Protocol):
    """What tells one kind of experiment from another; a module can be one."""

    def class_names(self, config):
        """The names of the classes, without reading any data; `DataMissing` where only the data could tell."""

    def count_images(self, config):
        """The number of images in each split, `{"train": n, …}`, for a dry run."""

    def load_data(self, config):
        """The images, as `data.Splits`."""

    def build_model(self, config, num_classes):
        """The Keras model, with the initial weights that belong to the config's seed."""

    def build_task(self, config, model, replicas, splits):
        """The loop's `Task`."""

    def evaluation(self, config, model, replicas, splits):
        """The `Task.evaluate` alone."""


def main(experiment, default_config, kind, arguments=None):
    """Runs a train.py: reads the command line, trains or evaluates, and exits with 0, 2 (a mistake) or 130 (Ctrl-C).

    Args:
        experiment: the train.py's folder from the repository's root, e.g. `"nsl_image_recog/static"`.
        default_config: the config that is trained without `--config`.
        kind: the `Kind` of the experiment: the module `training.image_recognition`, or another with its functions.
        arguments: instead of the command line's, for tests.
    """
    options = _parser(experiment, default_config).parse_args(arguments)
    sys.exit(guarded(lambda: _main(experiment, kind, options), "Go on: the same command and --resume."))


def _parser(experiment, default_config):
    parser = argparse.ArgumentParser(prog=f"python {experiment}/train.py", allow_abbrev=False)
    add_config_arguments(parser, default_config)
    parser.add_argument("--run-dir", type=Path, help="run folder (default: runs/<config's path>/s<seed>-<hash>)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--resume", action="store_true", help="go on with an unfinished run")
    what.add_argument("--eval-only", action="store_true", help="evaluate the run's newest checkpoint")
    what.add_argument("--dry-run", action="store_true", help="show what would be run, and whether the data are there")
    return parser


def _main(experiment, kind, options):
    config = configs.load(options.config, options.set)
    name = configs.name_of(options.config)
    owner = configs.experiment_of(config)
    if owner != experiment:
        settings = [word for text in options.set for word in ("--set", text)]
        command = shlex.join(["python", f"{owner}/train.py", "--config", str(options.config), *settings])
        raise UserError(f"{options.config}: a config of another experiment. From {configs.REPOSITORY}, run {command}")
    run = runs.Run(options.run_dir or configs.run_folder(config, name))
    if options.dry_run:
        _dry_run(kind, config, run)
    elif options.eval_only:
        _evaluate(kind, config, run)
    else:
        result = train(experiment, kind, config, name, run, overrides=options.set, resume=options.resume)
        log.info("test accuracy: %.2f %%", 100 * result.final_test_accuracy)
        log.info("result: %s", result.line())
        log.info("run folder: %s", run.shown())


def train(experiment, kind, config, name, run, overrides=(), resume=False):
    """Trains `config` in the folder of `run`, from its last checkpoint with `resume`; returns the `Result`."""

    def check():
        if resume:
            run.check_resumable(config, name)
        else:
            run.check_new(config)

    check()
    runtime = run.runtime if resume else Runtime.resolve(config.runtime)
    runtime.check_batch(config.data.global_batch_size)
    splits = kind.load_data(config)
    replicas = runtime.start()
    run.folder.mkdir(parents=True, exist_ok=True)
    with run.lock():
        check()  # again, as another process may have trained here while the data were read
        if resume:
            _check_data(run, splits)
        else:
            details = {
                "config": name,
                "recipe": configs.recipe_of(config, name),
                "experiment": experiment,
                "overrides": list(overrides),
                "classes": list(splits.classes),
                "data_checksum": splits.checksum(),
                "runtime": dataclasses.asdict(runtime),
                "environment": environment(),
            }
            run.create(config, details)
        return _train(kind, config, run, runtime, replicas, splits)


def _train(kind, config, run, runtime, replicas, splits):
    with replicas.scope():
        model = kind.build_model(config, len(splits.classes))
        task = kind.build_task(config, model, replicas, splits)
    write_atomically(run.folder / "model.json", model.to_json())
    run.checkpoints.keep = config.checkpoint.keep
    loop = Loop(
        task,
        replicas,
        run.checkpoints,
        run.folder,
        train_steps=config.schedule.scaled_train_steps,
        evaluate_every_steps=config.evaluation_every_steps(),
        checkpoint_every_minutes=config.checkpoint.every_minutes,
    )
    loop.restore()
    here, began = environment(), run.details["environment"]
    log.info("%s → %s, step %s, on %s", run.details["config"], run.shown(), f"{loop.step:,}", here["device"])
    if changed := [f"{key} {began[key]} → {here[key]}" for key in began if began[key] != here.get(key)]:
        log.info("Not as when the run began: %s", "; ".join(changed))
    rows = loop.run()
    result = build_result(run, config, model, rows, runtime)
    write_atomically(run.folder / "result.json", result.line() + "\n")
    return result


def _evaluate(kind, config, run):
    runs.open_run(run.folder).check_same(config)
    splits = kind.load_data(config)
    _check_classes(run, splits)
    run.runtime.check_batch(config.data.global_batch_size)
    replicas = run.runtime.start()
    with replicas.scope():
        model = kind.build_model(config, len(splits.classes))
        step = run.load_weights(model)
        results = kind.evaluation(config, model, replicas, splits)()
    for split, values in results.items():
        words = "   ".join(f"{name} {value:.6f}" for name, value in values.items() if name != "accuracy")
        log.info("step %s   %s accuracy: %.2f %%   %s", f"{step:,}", split, 100 * values["accuracy"], words)


def _check_data(run, splits):
    """Raises a `UserError` unless the data are those that the run began with."""
    _check_classes(run, splits)
    if run.details["data_checksum"] != splits.checksum():
        raise UserError(
            f"{run.shown()}: the images or labels are not those that this run began with. "
            "Put them back, or train anew with --run-dir DIR."
        )


def _check_classes(run, splits):
    """Raises a `UserError` unless the data have the classes that the run began with."""
    began, now = run.details["classes"], list(splits.classes)
    if began != now:
        gone, new = sorted(set(began) - set(now)), sorted(set(now) - set(began))
        raise UserError(
            f"{run.shown()}: the classes of the data are not those that this run began with: {len(now):,}, not "
            f"{len(began):,}; gone: {', '.join(gone) or 'none'}; new: {', '.join(new) or 'none'}. "
            "Put the folders back, or train anew with --run-dir DIR."
        )


def _dry_run(kind, config, run):
    runtime = Runtime.resolve(config.runtime)
    runtime.check_batch(config.data.global_batch_size)
    classes, parameters = _classes_and_parameters(kind, config)
    log.info("%s", yaml.safe_dump(config.to_dict(), sort_keys=False, default_flow_style=None).rstrip())
    log.info("run folder: %s (%s)", run.shown(), "exists" if run.exists else "new")
    log.info("runtime: %s", ", ".join(f"{key} {value}" for key, value in dataclasses.asdict(runtime).items()))
    log.info("classes: %s", classes)
    log.info("parameters: %s", parameters)
    schedule = config.schedule
    log.info(
        "steps: %s, the rate drops at %s, evaluation every %s",
        f"{schedule.scaled_train_steps:,}",
        schedule.scaled_boundaries_steps,
        f"{config.evaluation_every_steps():,}",
    )
    try:
        log.info("data: %s", ", ".join(f"{n:,} {split}" for split, n in kind.count_images(config).items()))
    except DataMissing as missing:
        log.info("data: missing. %s", missing)


def _classes_and_parameters(kind, config):
    """The classes, and how many numbers are trained, in words."""
    try:
        classes = kind.class_names(config)
    except DataMissing:
        return ("unknown until the data are there",) * 2
    model = kind.build_model(config, len(classes))
    parameters = sum(int(v.shape.num_elements()) for v in model.trainable_variables)
    return f"{len(classes):,} ({textwrap.shorten(', '.join(classes), 80, placeholder=' …')})", f"{parameters:,}"
