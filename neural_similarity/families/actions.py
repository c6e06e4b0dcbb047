"""What a train.py does with a config and a run folder: train, evaluate, or show what would be done."""

import contextlib
import dataclasses
import json
import logging
from collections.abc import Iterable

import yaml

from neural_similarity import config as configs
from neural_similarity.config import Experiment
from neural_similarity.errors import Interrupted, UserError
from neural_similarity.families import family_of
from neural_similarity.files import write_atomically
from neural_similarity.training.checkpoints import Checkpoints
from neural_similarity.training.details import Details
from neural_similarity.training.environment import environment
from neural_similarity.training.lock import locked
from neural_similarity.training.logs import log
from neural_similarity.training.loop import Loop
from neural_similarity.training.results import Result, build_result, percent
from neural_similarity.training.runs import Run
from neural_similarity.training.runtime import Runtime
from neural_similarity.training.workers import lost_worker_told
from neural_similarity.version import __version__


def train(
    config: Experiment, name: str, run: Run, overrides: Iterable[str] = (), resume: bool = False
) -> Result | None:
    """Trains a config in the folder of a run, from its last checkpoint with `resume`.

    Args:
        config: the config, a subclass of `Experiment`.
        name: the config's name.
        run: the `Run`.
        overrides: the texts of `--set`, for the record.
        resume: whether an unfinished run is taken up.

    Returns:
        The `Result`; None on a worker that is not the chief.

    Raises:
        UserError: a run may not start here, or not go on; the data are missing or others; the loss is not finite; of
            several workers, one is gone.
        Interrupted: on Ctrl-C, SIGTERM or SIGHUP, after saving.
    """
    family = family_of(config)

    def check():
        if resume:
            run.check_resumable(config, name)
        else:
            run.check_new(config)

    check()
    runtime = run.runtime if resume else Runtime.resolve(config.runtime)
    runtime.check_batch(config)
    replicas = runtime.start(
        {
            "the config": f"{config.identity()[:10]}, evaluated every {config.evaluation_every_steps()} steps",
            "--resume": "it" if resume else "it not",
            "the version of neural_similarity": __version__,
        }
    )
    with lost_worker_told(f"--resume and --run-dir {run.shown()}"):
        data = family.load_data(config)
        facts = data.facts()
        replicas.check_same(
            json.dumps(facts, sort_keys=True),
            "The data of worker {} are others than those of worker 0. Copy the data set of worker 0 to all machines, "
            "or name one folder on a disk that all of them see: --set data.root=DIR",
        )
        if not replicas.is_chief:
            log.setLevel(logging.WARNING)  # the chief tells how it goes
            # a new run's run.json may not be seen yet on another machine
            checkpoints = run.checkpoints if resume else Checkpoints(run.folder / "checkpoints")
            with _advised(run):
                _loop(config, run, checkpoints, replicas, data, facts, check_place=lambda: None).run()
                replicas.wait()  # until the chief has written: a cluster ends all once the first has ended
            return None
        run.folder.mkdir(parents=True, exist_ok=True)
        with locked(run.folder) as check_place:
            check()  # again, as another process may have trained here while the data were read
            if resume:
                run.check_facts(facts)
            else:
                details = Details(
                    config=name,
                    recipe=configs.recipe_of(config, name),
                    experiment=config.owner(),
                    overrides=[text for text in overrides if not _is_a_path(text)],
                    facts=facts,
                    runtime=runtime,
                    environment=environment(),
                )
                run.create(config, details)
            with _advised(run):
                result = _train(config, run, replicas, data, facts, check_place)
                replicas.wait()
                return result


@contextlib.contextmanager
def _advised(run):
    """Adds to an interruption how the run goes on."""
    try:
        yield
    except Interrupted as stop:
        raise Interrupted(stop.step, f"Go on: {run.resume_command()}") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Go on: {run.resume_command()}" if run.exists else "") from None


def _is_a_path(override):
    """Whether a text of `--set` names somebody's folder or file. The record is published, and leaves these out."""
    key, value = (word.strip() for word in override.partition("=")[::2])
    if key == "data.class_splits":
        return not value.startswith("[")
    if key == "model.weights":
        return value not in ("imagenet", "random")
    return key in ("data.root", "model.path")


def _loop(config, run, checkpoints, replicas, data, facts, check_place):
    """The `Loop` of a run, with network and data, ready to go on from its checkpoint or to begin."""
    family = family_of(config)
    with replicas.scope():
        model = family.build_model(config, facts)
        task = family.build_task(config, model, replicas, data)
    checkpoints.keep = config.checkpoint.keep
    loop = Loop(
        task,
        replicas,
        checkpoints,
        run.folder,
        train_steps=config.schedule.scaled_train_steps,
        evaluate_every_steps=config.evaluation_every_steps(),
        checkpoint_every_minutes=config.checkpoint.every_minutes,
        check_place=check_place,
        protocol=config.protocol(),
    )
    loop.restore()
    return loop


def _train(config, run, replicas, data, facts, check_place):
    """Trains in the folder of a run that is begun, and locked by this process; returns the `Result`."""
    family = family_of(config)
    loop = _loop(config, run, run.checkpoints, replicas, data, facts, check_place)
    here, began = environment(), run.details.environment
    data_set = f"the images of {config.data.root_path}" if config.data.root_is_the_set else config.data.name
    what = f"{run.details.config} with {data_set}"
    where = here["device"] + f"; {run.runtime.workers} workers" * (run.runtime.workers > 1)
    log.info("%s → %s, step %s, on %s", what, run.shown(), f"{loop.step:,}", where)
    if changed := [f"{key} {began[key]} → {here[key]}" for key in began if began[key] != here.get(key)]:
        log.info("Not as when the run began: %s", "; ".join(changed))
    rows = loop.run()
    result = build_result(run, loop.task.model, rows, loop.lost_rows, family.SCORES, family.headline(config))
    check_place()
    write_atomically(run.folder / "result.json", result.json_line() + "\n")
    return result


def say_result(result: Result, run: Run) -> None:
    """Logs what a finished run measured, its result line and its folder."""
    for line in result.in_words():
        log.info("%s", line)
    log.info("result: %s", result.json_line())
    log.info("run folder: %s", run.shown())


def evaluate(config: Experiment, run: Run) -> None:
    """Evaluates the newest checkpoint of a run and logs what is measured, a line for each split.

    Raises:
        UserError: no run of this config is here, or it has no checkpoint; the data are missing, or of other classes.
    """
    family = family_of(config)
    if not run.exists:
        raise UserError(
            f"{run.shown()}: not a run folder (no run.json). Name the run's own with --run-dir DIR: a config that "
            "--set changes has another one."
        )
    run.check_same(config, leave_out=config.only_evaluation_reads)
    data = family.load_data(config)
    run.check_facts(data.facts(), leave_out=("data_checksum",))  # other images of the same classes are welcome
    runtime = run.runtime.alone()
    runtime.check_batch(config)
    replicas = runtime.start()
    with replicas.scope():
        model = family.build_model(config, run.facts)
        step = run.load_weights(model)
        measured = family.evaluation(config, model, replicas, data)()
    if config.protocol():
        log.info("measured: %s", config.protocol())
    for split, values in measured.items():
        words = [
            f"{split} {name.replace('_', ' ')}: {percent(values, name)}" for name in family.SCORES if name in values
        ]
        told = {name + end for name in family.SCORES for end in ("", "_interval95", "_n")}
        words += [f"{name} {value:.6f}" for name, value in values.items() if name not in told]
        words[:0] = ["mean |M − I|:"] * (split == "similarity")
        log.info("step %s   %s", f"{step:,}", "   ".join(words))


def dry_run(config: Experiment, run: Run) -> None:
    """Logs the resolved config, where it would run and how, and what the family says of it."""
    runtime = Runtime.resolve(config.runtime)
    runtime.check_batch(config)
    described = family_of(config).describe(config)
    log.info("%s", yaml.safe_dump(config.to_dict(), sort_keys=False, default_flow_style=None).rstrip())
    log.info("run folder: %s (%s)", run.shown(), "exists" if run.exists else "new")
    log.info("runtime: %s", ", ".join(f"{key} {value}" for key, value in dataclasses.asdict(runtime).items()))
    schedule = config.schedule
    log.info(
        "steps: %s, of which %s of warm-up; the rate drops after: %s; evaluation every %s",
        f"{schedule.scaled_train_steps:,}",
        f"{schedule.scaled_warmup_steps:,}",
        ", ".join(f"{step:,}" for step in schedule.scaled_boundaries_steps) or "never",
        f"{config.evaluation_every_steps():,}",
    )
    for name, text in described.items():
        log.info("%s: %s", name, text)
