"""A run that was stopped, killed or damaged goes on, and ends with the bytes of an uninterrupted run."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import yaml
from digits_runs import digits, interrupt_at, run_main
from run_checks import assert_equal_runs

from neural_similarity import load_run
from neural_similarity.training import runs


@pytest.fixture
def stopped(stopped_run, tmp_path):
    """A copy of the run that was stopped after step 14: its folder."""
    return shutil.copytree(stopped_run, tmp_path / "stopped")


def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(finished_run, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "early"
    with monkeypatch.context() as patch:
        interrupt_at(3, patch)
        assert run_main(digits(folder)) == 130
    assert "Stopped after step 3" in capsys.readouterr().err
    assert run_main(digits(folder)) == 2  # nothing resumes unasked
    assert "--resume" in capsys.readouterr().err
    assert run_main(digits(folder, "--resume")) == 0
    assert_equal_runs(folder, finished_run)


def test_a_run_that_was_stopped_between_two_rows_equals_an_uninterrupted_one(finished_run, stopped):
    assert runs.Run(stopped).checkpoints.steps() == [0, 10, 14]
    assert len(runs.Run(stopped).checkpoints.load(14)[1].pending) == 4
    assert run_main(digits(stopped, "--resume")) == 0
    assert_equal_runs(stopped, finished_run)


def test_what_was_logged_after_the_last_checkpoint_is_done_again(finished_run, stopped):
    runs.Run(stopped).checkpoints.path(14).unlink()  # as if it had been killed before it could save
    with open(stopped / "metrics.jsonl", "a") as file:
        file.write('{"step": 20, "split": "train", "loss": 1.0}\n{"step": 20, "spl')
    assert run_main(digits(stopped, "--resume")) == 0
    assert_equal_runs(stopped, finished_run)


def test_a_damaged_newest_checkpoint_costs_the_steps_since_the_one_before(finished_run, stopped, capsys):
    checkpoints = runs.Run(stopped).checkpoints
    newest = checkpoints.path(14)
    newest.write_bytes(newest.read_bytes()[:-1])
    before = checkpoints.load(10)[0]
    for variable in load_run(stopped).variables:
        np.testing.assert_array_equal(variable.numpy(), before[f"model/{variable.path}"])
    assert run_main(digits(stopped, "--resume")) == 0
    out = capsys.readouterr().out
    assert f"{newest}: damaged (" in out
    assert "step 10, on" in out
    assert_equal_runs(stopped, finished_run)


def test_the_hash_of_a_run_from_before_there_were_workers(stopped):
    details = json.loads((stopped / "run.json").read_text())
    del details["runtime"]["workers"]
    (stopped / "run.json").write_text(json.dumps(details))
    assert runs.Run(stopped).details.hash == details["hash"]
    several = runs.Run(stopped).details
    several = several.model_copy(update={"runtime": dataclasses.replace(several.runtime, workers=2)})
    assert several.with_hash(runs.Run(stopped).config).hash != details["hash"]


def test_a_run_of_an_earlier_version_goes_on(finished_run, stopped):
    """Its config, run.json, metrics and checkpoint have the names that they had then."""
    run = runs.Run(stopped)
    document = yaml.safe_load((stopped / "config.yaml").read_text())
    del document["family"], document["data"]["input_scaling"]
    document["batch_norm"] = {"moving_average": "debiased", "decay": document["batch_norm"]["decay"]}
    (stopped / "config.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    arrays, state = run.checkpoints.load(14)
    details = json.loads((stopped / "run.json").read_text())
    facts = details.pop("facts")
    del details["hash"]
    (stopped / "run.json").write_text(json.dumps({**details, **facts}))
    for path in (stopped / "metrics.jsonl", stopped / "metrics.csv"):
        path.write_text(path.read_text().replace("cross_entropy", "fit"))
    pending = [{"fit" if k == "cross_entropy" else k: v for k, v in step.items()} for step in state.pending]
    assert "fit" in pending[0]
    encoded = np.frombuffer(json.dumps({"pending": pending, "step": 14}).encode(), np.uint8)
    np.savez(run.checkpoints.path(14), **arrays, state=encoded)

    assert run.config == runs.Run(finished_run).config
    assert run_main(["--config", str(stopped / "config.yaml"), "--run-dir", str(stopped), "--resume"]) == 0
    assert_equal_runs(stopped, finished_run)
    for one, other in zip(load_run(stopped).weights, load_run(finished_run).weights, strict=True):
        np.testing.assert_array_equal(one, other)
