"""Folders of metric-learning runs on the digits, without training: their weights come from `look_trained`."""

import functools

import numpy as np
from conftest import look_trained
from PIL import Image

from neural_similarity import config as configs
from neural_similarity.data.retrieval_sets import load_retrieval_set
from neural_similarity.families import metric_learning
from neural_similarity.training import runs
from neural_similarity.training.checkpoints import collect
from neural_similarity.training.details import Details
from neural_similarity.training.environment import environment
from neural_similarity.training.runtime import Runtime

TINY = ["model.widths=[2, 3, 4]", "model.embedding_size=5"]


def metric_run(folder, *settings, name="quickstart/diml", weights=0):
    """Makes the folder of a run of configs/NAME.yaml on the digits, with a checkpoint of step 5; returns `folder`.

    `name` may also be the `Path` of a config. `settings` are texts as of `--set`, and `weights` is the seed of what the
    weights look like.
    """
    overrides = [*TINY, *settings]
    file = f"configs/{name}.yaml" if isinstance(name, str) else name
    config = configs.load(file, overrides, environment={})
    run = runs.Run(folder)
    folder.mkdir()
    details = {"config": str(name), "recipe": "custom", "experiment": config.owner(), "overrides": overrides}
    details |= {"facts": _splits().facts(), "environment": environment()}
    run.create(config, Details(**details, runtime=Runtime.resolve(config.runtime)))
    model = look_trained(metric_learning.build_model(config, run.facts), weights)
    run.checkpoints.save(5, collect(model=model.variables))
    return folder


@functools.cache
def _splits():
    return load_retrieval_set("digits_unseen", "data")


def digits_of_classes(count):
    """{class: `(count, 32, 32, 3)` uint8} of the test classes, "5" to "9"."""
    test = _splits().test
    return {name: test.images[rows[:count]] for name, rows in zip(test.classes, test.rows, strict=True)}


def write_gallery(folder, count=4):
    """Writes digits as FOLDER/CLASS/NUMBER.png; returns `folder`."""
    for name, images in digits_of_classes(count).items():
        (folder / name).mkdir(parents=True)
        for i, image in enumerate(images):
            Image.fromarray(np.asarray(image)).save(folder / name / f"{i}.png")
    return folder
