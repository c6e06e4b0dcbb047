"""Runs in a process of their own that signals stop: at steps of the training, and at any instant."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_checks import assert_equal_runs

from neural_similarity.config import REPOSITORY
from neural_similarity.training.logs import read_rows

DIGITS = ["data.name=digits", "data.augmentation=none", "model.widths=[4, 6, 8]", "schedule.train_steps=70"]
FEW_SHOT = ["data.name=digits", "model.filters=8", "schedule.train_steps=200", "schedule.boundaries_steps=[100]"]
FEW_SHOT += ["method.training_n_way=5", "evaluation.episodes=8", "evaluation.validation_episodes=8"]
CIFAR = ["schedule.train_steps=450", "evaluation.every_steps=150"]


def start(folder, settings, *extra):
    """Starts static/train.py, or for FEW_SHOT the train.py of few-shot recognition."""
    script = "few_shot/cifar_fs/train.py" if settings is FEW_SHOT else "nsl_image_recog/static/train.py"
    settings = [*settings, "checkpoint.every_minutes=0.05"]  # so that there is a checkpoint to go on from
    command = [sys.executable, str(REPOSITORY / script), "--run-dir", str(folder), *extra]
    command += [word for setting in settings for word in ("--set", setting)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def train(folder, settings, *extra, kill_at=None):
    """Trains to the end, or kills the process once the row of step `kill_at` is there; returns the exit code."""
    process = start(folder, settings, *extra)
    while kill_at is not None and process.poll() is None:
        rows = read_rows(Path(folder) / "metrics.jsonl")
        if rows and rows[-1]["step"] >= kill_at:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.02)
    error = process.communicate()[1]
    assert process.returncode in (0, -signal.SIGKILL), error
    return process.returncode


def train_with_kills(folder, settings, kills):
    """One run that is killed at every step of `kills`, resumed each time, and at last trained to its end."""
    for number, step in enumerate(sorted(kills)):
        assert train(folder, settings, *["--resume"] * (number > 0), kill_at=step) == -signal.SIGKILL
    assert train(folder, settings, "--resume") == 0


@pytest.mark.parametrize(
    ("settings", "step"),
    [(DIGITS, 40), pytest.param(FEW_SHOT, 130, marks=pytest.mark.slow)],
    ids=["static", "few_shot"],
)
def test_a_killed_run_resumes_to_the_same_bytes(settings, step, tmp_path):
    assert train(tmp_path / "reference", settings) == 0
    train_with_kills(tmp_path / "killed", settings, kills=[step])
    assert_equal_runs(tmp_path / "killed", tmp_path / "reference")


@pytest.mark.slow
def test_signals_at_any_instant_cost_nothing(tmp_path):
    """Twenty signals at instants from the start of the process to the end of the run, each followed by a resume."""
    settings = [*DIGITS[:-1], "schedule.train_steps=300", "evaluation.every_steps=100"]
    began = time.monotonic()
    assert train(tmp_path / "reference", settings) == 0
    whole_seconds = time.monotonic() - began
    generator, table, runs = random.Random(0), [], 0
    folder = tmp_path / "stopped_0"
    for number in range(20):
        process = start(folder, settings, *["--resume"] * (folder / "run.json").exists())
        which = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)[number % 3]
        seconds = generator.uniform(0.05, whole_seconds) * (0.05 if number < 3 else 1)  # the first ones while it starts
        try:
            error = process.communicate(timeout=seconds)[1]
        except subprocess.TimeoutExpired:
            process.send_signal(which)
            error = process.communicate()[1]
        # Our own handling of Ctrl-C is not there yet while the process still imports.
        importing = which == signal.SIGINT and "KeyboardInterrupt" in error
        assert process.returncode in (0, 130, -which) or importing, error
        rows = read_rows(folder / "metrics.jsonl")
        table.append((which.name, f"{seconds:.1f} s", process.returncode, rows[-1]["step"] if rows else None))
        print(*table[-1])
        if (folder / "result.json").exists():
            assert_equal_runs(folder, tmp_path / "reference")
            runs += 1
            folder = tmp_path / f"stopped_{runs}"
    if (folder / "run.json").exists():
        assert train(folder, settings, "--resume") == 0
        assert_equal_runs(folder, tmp_path / "reference")
    stopped = [(name, step) for name, _, code, step in table if code]
    assert {name for name, _ in stopped} == {"SIGINT", "SIGTERM", "SIGKILL"}
    assert None in {step for _, step in stopped}  # before the first row
    assert any(step for _, step in stopped)


@pytest.mark.slow
@pytest.mark.parametrize("jit", ["false", "true"])
def test_real_cifar_killed_past_the_first_epoch(tmp_path, jit):
    """450 steps of static DNS: two uninterrupted runs are equal, and so is one that was killed three times."""
    root = Path(os.environ.get("NEURAL_SIMILARITY_DATA", REPOSITORY / "data"))
    if not (root / "cifar-10-batches-bin").is_dir():
        pytest.skip(f"no CIFAR-10 in {root}; ./dataset_setup.sh cifar10")
    settings = [*CIFAR, f"runtime.jit_compile={jit}", f"data.root={root}"]
    kills = random.sample(range(395, 440), 3)
    print(f"{tmp_path}: kills at steps {sorted(kills)}")
    assert train(tmp_path / "reference", settings) == 0
    assert train(tmp_path / "again", settings) == 0
    assert_equal_runs(tmp_path / "again", tmp_path / "reference")
    train_with_kills(tmp_path / "killed", settings, kills)
    assert_equal_runs(tmp_path / "killed", tmp_path / "reference")
