"""What the families have in common whose splits have different classes: few-shot recognition and metric learning."""

from pathlib import Path

from neural_similarity.data.images import DataMissing
from neural_similarity.errors import UserError
from neural_similarity.training.runs import Run, open_run


def describe(config, counts, network) -> dict[str, str]:
    """Says in words how the run is measured, how many numbers are trained, and what each split has.

    Args:
        config: the config.
        counts: `counts(config)` returns `{split: (number of classes, number of images)}`.
        network: `network(config, number of training classes)` returns the model.
    """
    words = {"measured": config.protocol()}
    try:
        found = counts(config)
        weights = network(config, found["train"][0]).trainable_variables
        words["parameters"] = f"{sum(int(v.shape.num_elements()) for v in weights):,}"
        words["data"] = ", ".join(
            f"{classes:,} {split} classes ({images:,} images)" for split, (classes, images) in found.items()
        )
    except DataMissing as missing:
        words |= {"parameters": "unknown until the data are there", "data": f"missing. {missing}"}
    return words


def training_classes(facts: dict) -> list[str]:
    """The training classes that the facts of a run name.

    Raises:
        UserError: they name none.
    """
    classes = facts.get("train_classes")
    if not classes or not isinstance(classes, list):
        raise UserError(
            "run.json: damaged (`facts` have no list of `train_classes`). Train anew with another --run-dir."
        )
    return classes


def open_run_of(family: str, what: str, command: str, folder: str | Path) -> Run:
    """The `Run` in a folder.

    Args:
        family: the family that it must have.
        what: the kind of run, in words, for the message.
        command: trains one.
        folder: the run's.

    Raises:
        UserError: there is no run, or it is of another family.
    """
    run = open_run(folder)
    if run.config.family != family:
        raise UserError(
            f"{run.shown()}: a run of {run.config.family.replace('_', ' ')} ({run.details.config}); expected a run of "
            f"{what}. One is trained by: {command}"
        )
    return run
