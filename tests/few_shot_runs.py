"""Folders of few-shot runs on the digits, without training: their weights come from `look_trained`."""

import functools

import keras
from conftest import look_trained

from neural_similarity import config as configs
from neural_similarity.data.few_shot_sets import load_class_splits
from neural_similarity.families import few_shot
from neural_similarity.layers import InnerRates
from neural_similarity.training import runs
from neural_similarity.training.checkpoints import collect
from neural_similarity.training.details import Details
from neural_similarity.training.environment import environment
from neural_similarity.training.runtime import Runtime

TINY = ["data.name=digits", "data.augmentation=none", "model.filters=4", "episode.n_query=3", "evaluation.episodes=4"]
FEW_STEPS = ["method.test_inner_steps=1"]  # for `method.name: maml`


def few_shot_run(folder, *settings, name="quickstart/few_shot", weights=0, facts=()):
    """Makes the folder of a run of configs/NAME.yaml on the digits, with a checkpoint of step 5; returns `folder`.

    `settings` are texts as of `--set`, `weights` is the seed of what the weights look like, and `facts` are changes.
    """
    overrides = [*TINY, *settings]
    config = configs.load(f"configs/{name}.yaml", overrides, environment={})
    facts = {**_facts(), **dict(facts)}
    run = runs.Run(folder)
    folder.mkdir()
    details = {"config": name, "recipe": "custom", "experiment": config.owner(), "overrides": overrides, "facts": facts}
    run.create(config, Details(**details, runtime=Runtime.resolve(config.runtime), environment=environment()))
    model = look_trained(few_shot.build_model(config, facts), weights)
    for layer in model.layers:
        if isinstance(layer, InnerRates):
            layer.rates.assign(keras.ops.full(layer.rates.shape, 0.05))  # at other rates the head would diverge
    run.checkpoints.save(5, collect(model=model.variables))
    return folder


@functools.cache
def _facts():
    return load_class_splits("digits", "data").facts()
