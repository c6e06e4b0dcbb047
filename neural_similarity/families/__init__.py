"""The families of experiments: from a config to its data, its network, its training and its evaluation.

A family is a module here, called like its key in the configs. Everything else, from the command line to the tables,
knows the module by these names alone:

    SCORES                      the measures that are scores, in every split: ("accuracy",). Scores are fractions
    TRAINING_LOSS               the measure of a training step that is drawn: the loss without penalties
    headline(config)            the score that a table shows: "test/accuracy"
    describe(config)            {name: text} for a dry run; reads no data
    check_data(config)          raises a UserError if the data are not there; reads no images
    num_classes(config)         of the training images; only the user's own images are looked at for it
    network(config, num_classes, dtype)  the Keras model; `dtype`, if given, replaces the config's precision
    load_data(config)           the data; their `facts()` are what a run must find again when it is resumed
    build_model(config, facts)  the Keras model, with the initial weights that belong to the config's seed
    build_task(config, model, replicas, data)  the `training.loop.Task`
    evaluation(config, model, replicas, data)  the task's `evaluate` alone
"""

import importlib
from pathlib import Path
from types import ModuleType

from neural_similarity.config import Experiment
from neural_similarity.families.main import main
from neural_similarity.quiet import import_tensorflow

__all__ = ["family_of", "load_run", "main"]


def family_of(config: Experiment) -> ModuleType:
    """The module of a config's family."""
    import_tensorflow()  # first, and without its start-up notes
    return importlib.import_module(f"neural_similarity.families.{config.family}")


def load_run(folder: str | Path):
    """The trained network of a run: a Keras model with the weights of the newest checkpoint.

    Of a few-shot run with `method.name: maml` it is where adaptation starts. Its batch normalisation has no averages;
    `predict.FewShotClassifier` adapts it.

    Raises:
        UserError: there is no run in `folder`, or it has no checkpoint yet.
    """
    from neural_similarity.training.runs import open_run

    run = open_run(folder)
    model = family_of(run.config).build_model(run.config, run.facts)
    run.load_weights(model)
    return model
