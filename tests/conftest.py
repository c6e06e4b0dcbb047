"""Fixtures of several test files: networks that look trained, run folders, and compiled and plain forms of the ops."""

import json
import logging
import math
import os
import signal

import numpy as np
import pytest
import tensorflow as tf
from commands import run_tool
from digits_runs import digits, interrupt_at, run_main
from result_lines import LINE, result, rows_of

from configs import TEXT
from neural_similarity import config as configs
from neural_similarity import ops
from neural_similarity.config import REPOSITORY
from neural_similarity.data import class_names
from neural_similarity.families import image_recognition
from neural_similarity.training import runs
from neural_similarity.training.checkpoints import collect
from neural_similarity.training.details import Details
from neural_similarity.training.environment import environment
from neural_similarity.training.results import what_ran
from neural_similarity.training.runtime import Runtime

# Where the tests run in the background, Ctrl-C is ignored. Some tests send it, and what they start inherits this.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Two CPU devices for the tests of several replicas. TensorFlow takes this setting only before it starts.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


def look_trained(model, seed=0):
    """Moves every weight away from its initial value, averages included, as if after 700 updates; returns the model."""
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
    """The folder of a run of configs/cifar10/static_uns with widths 4, or of the config that `param` names.

    No step was trained: the weights in its checkpoint, of step 5, come from `look_trained`. Tests only read it.
    """
    name = getattr(request, "param", "static_uns")
    config = configs.load(f"configs/cifar10/{name}.yaml", ["model.widths=[4, 4, 4]"], environment={})
    classes = list(class_names(config.data.name))
    model = look_trained(image_recognition.network(config, len(classes)))
    run = runs.Run(tmp_path_factory.mktemp(name))
    details = Details(
        config=f"cifar10/{name}",
        recipe="custom",
        experiment=config.owner(),
        overrides=["model.widths=[4, 4, 4]"],
        facts={"classes": classes, "data_checksum": "00000000"},
        runtime=Runtime.resolve(config.runtime),
        environment=environment(),
    )
    run.create(config, details)
    run.checkpoints.save(5, collect(model=model.variables))
    return run.folder


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """The folder of a finished run of 25 steps on the digits. Tests only read it."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    assert run_main(digits(folder)) == 0
    return folder


@pytest.fixture(scope="session")
def stopped_run(tmp_path_factory):
    """The folder of the same run, stopped after step 14. Tests only read it, or copy it first."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(14, patch)
        assert run_main(digits(folder)) == 130
    return folder


@pytest.fixture
def make_run(tmp_path):
    """Makes a run folder without training: `make_run(name, line, rows, settings)`.

    `line` is what `result.json` holds: changes to the line that belongs to the run, bytes, or None for an unfinished
    run. `rows` are those of `metrics.jsonl`, by default what the line says, and `settings` are texts as of `--set`.
    """

    def make(name="run", line=(), rows=(), settings=()):
        run = runs.Run(tmp_path / name)
        run.folder.mkdir()
        changes = dict(line) if isinstance(line, dict) else {}
        values = {**LINE, **changes}
        rows = rows or rows_of(values)
        shipped = REPOSITORY / "configs" / f"{values['config']}.yaml"
        path = shipped if shipped.is_file() else REPOSITORY / "configs/cifar10/static_dns.yaml"
        config = configs.load(path, [f"seed={values['seed']}", *settings], environment={})
        details = {key: values[key] for key in ("config", "recipe", "experiment", "overrides")}
        details |= {"facts": {"classes": []}, "environment": environment()}
        run.create(config, Details(**details, runtime=Runtime("none", 1, "float32", False, False)))
        (run.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if line is not None:
            text = line if isinstance(line, bytes) else result(**{**what_ran(run), **changes}).json_line().encode()
            (run.folder / "result.json").write_bytes(text)
        return run.folder

    return make


@pytest.fixture
def command(capsys):
    """Runs a tool; returns its exit code, what it printed, and what it said on the standard error."""

    def call(*words):
        code = run_tool(*words)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def list_backwards(monkeypatch):
    """Called, it lets `os.scandir` name what is in a folder in the reverse order of the names."""
    scan = os.scandir

    class Backwards:
        def __init__(self, folder):
            with scan(folder) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *error):
            pass

    return lambda: monkeypatch.setattr(os, "scandir", Backwards)


@pytest.fixture
def logged(caplog, monkeypatch):
    """pytest's `caplog`, which hears the project's log as it is before a command line takes it over."""
    log = logging.getLogger("neural_similarity")
    monkeypatch.setattr(log, "handlers", [])
    monkeypatch.setattr(log, "propagate", True)
    caplog.set_level(logging.INFO)
    return caplog


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
    """Makes the functions of `ops.fused` run as TensorFlow runs them, or compiled by XLA, whatever their size.

    A test that asks for it runs twice, once in each way. One that parametrizes it with `indirect` chooses the way.
    """
    monkeypatch.setattr(ops.fused, "_COMPILED", {})  # so that no limit is reached
    monkeypatch.setattr(ops.fused, "_LARGE", {"plain": math.inf, "compiled": 0}[request.param])
