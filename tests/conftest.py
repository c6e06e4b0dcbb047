"""What several test files build on: networks that look trained, a run folder, compiled and plain forms of the ops."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from configs import TEXT
from neural_similarity import config as configs
from neural_similarity import ops
from neural_similarity.families import image_recognition
from neural_similarity.training import runs
from neural_similarity.training.checkpoints import collect
from neural_similarity.training.environment import environment
from neural_similarity.training.runtime import Runtime

# Two devices for the tests of several replicas; it has to be said before TensorFlow starts.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


def look_trained(model, seed=0):
    """Moves every weight away from where it started, and the averages of 700 updates; returns the model."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.name == "updates":
            variable.assign(700.0)
        elif variable.name == "moving_variance":
            variable.assign(rng.uniform(0.2, 2.0, variable.shape))
        else:
            variable.assign(variable + 0.2 * rng.standard_normal(variable.shape))
    return model


@pytest.fixture(scope="session", name="look_trained")
def look_trained_fixture():
    return look_trained


@pytest.fixture(scope="session")
def run_folder(request, tmp_path_factory):
    """The folder of a run of configs/cifar10/static_uns with widths 4, or of the config that `param` names; read-only.

    No step was trained: its checkpoint, of step 5, is `look_trained`.
    """
    name = getattr(request, "param", "static_uns")
    config = configs.load(f"configs/cifar10/{name}.yaml", ["model.widths=[4, 4, 4]"], environment={})
    classes = list(image_recognition.class_names(config))
    model = look_trained(image_recognition.network(config, len(classes)))
    run = runs.Run(tmp_path_factory.mktemp(name))
    details = {
        "config": f"cifar10/{name}",
        "recipe": "custom",
        "experiment": config.owner(),
        "overrides": ["model.widths=[4, 4, 4]"],
        "facts": {"classes": classes, "data_checksum": "00000000"},
        "runtime": dataclasses.asdict(Runtime.resolve(config.runtime)),
        "environment": environment(),
    }
    run.create(config, details)
    run.checkpoints.save(5, collect(model=model.variables), {})
    return run.folder


@pytest.fixture
def edited(tmp_path):
    """Writes the dynamic DNS config with one piece of text replaced; returns the path."""

    def edit(old, new):
        assert TEXT.count(old) == 1
        (tmp_path / "x.yaml").write_text(TEXT.replace(old, new), encoding="utf-8")
        return tmp_path / "x.yaml"

    return edit


@pytest.fixture(params=["plain", "compiled"])
def fused_functions(request, monkeypatch):
    """How the functions of `ops.fused` run, whatever their size: as TensorFlow runs them, or compiled by XLA.

    A test that uses it runs in both ways; one that parametrizes it with `indirect` chooses.
    """
    monkeypatch.setattr(ops.fused, "_LARGE", {"plain": math.inf, "compiled": 0}[request.param])
