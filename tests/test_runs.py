"""A run from end to end: what it leaves in its folder, and what the other switches of a train.py do."""

import numpy as np
import pytest
from digits_runs import digits, run_main
from small_tasks import one_replica, train_steps

from neural_similarity import config as configs
from neural_similarity import load_run
from neural_similarity.families import image_recognition
from neural_similarity.training import runs
from neural_similarity.training.logs import read_rows


def last_accuracy(folder):
    return [row for row in read_rows(folder / "metrics.jsonl") if row["split"] == "test"][-1]["accuracy"]


def test_a_run_leaves_what_it_promises(finished_run):
    names = {path.name for path in finished_run.iterdir()} - {"tensorboard"}
    files = {"config.yaml", "run.json", "metrics.jsonl", "metrics.csv", "result.json", "lock"}
    assert names == {*files, "checkpoints"}
    rows = read_rows(finished_run / "metrics.jsonl")
    splits = ("train", "test", "similarity")
    assert [(r["step"], r["split"]) for r in rows] == [(step, split) for step in (10, 20, 25) for split in splits]
    assert rows[0]["loss"] == pytest.approx(rows[0]["cross_entropy"] + rows[0]["penalty"])
    assert [r["learning_rate"] for r in rows if r["split"] == "train"] == pytest.approx([0.1] * 3)
    assert runs.Run(finished_run).checkpoints.steps() == [10, 20, 25]
    header, *lines = (finished_run / "metrics.csv").read_text().splitlines()
    assert header.startswith("step,split,loss")
    assert len(lines) == len(rows)
    result = runs.Run(finished_run).result
    assert result.scores["test/accuracy"].value == last_accuracy(finished_run)
    assert (result.steps, result.recipe, result.config) == (25, "custom", "cifar10/static_dns")
    assert "schedule.train_steps=25" in result.overrides


def test_load_run_gives_the_trained_network(finished_run):
    model = load_run(finished_run)
    splits = image_recognition.load_data(runs.Run(finished_run).config)
    logits = model.predict(splits.test.images.astype(np.float32), verbose=0)
    accuracy = np.mean(logits.argmax(-1) == splits.test.labels)
    assert accuracy == pytest.approx(last_accuracy(finished_run))


def test_eval_only_repeats_the_last_evaluation(finished_run, capsys):
    assert run_main(digits(finished_run, "--eval-only")) == 0
    out = capsys.readouterr().out
    assert f"step 25   test accuracy: {100 * last_accuracy(finished_run):.2f} %" in out
    similarity = read_rows(finished_run / "metrics.jsonl")[-1]
    assert f"step 25   mean |M − I|:   conv1_0 {similarity['conv1_0']:.6f}   conv1_1 " in out


def test_dry_run_says_everything_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("NEURAL_SIMILARITY_DATA", raising=False)
    missing = ["--dry-run", "--run-dir", str(tmp_path / "r"), "--set", f"data.root={tmp_path}"]
    assert run_main(missing) == 0
    out = capsys.readouterr().out
    for words in ("parameters: 511,281", "steps: 42,500", "data: missing", "./dataset_setup.sh cifar10", "r (new)"):
        assert words in out
    assert not (tmp_path / "r").exists()


def test_validation_selects_beside_the_last_step(tmp_path):
    assert run_main(digits(tmp_path / "r", "--set", "data.validation_fraction=0.2")) == 0
    rows = read_rows(tmp_path / "r" / "metrics.jsonl")
    result = runs.Run(tmp_path / "r").result
    validation = {r["step"]: r["accuracy"] for r in rows if r["split"] == "validation"}
    test = {r["step"]: r["accuracy"] for r in rows if r["split"] == "test"}
    assert result.scores["test/accuracy"].value == test[25]
    assert result.scores["validation/accuracy"].value == validation[25]
    assert validation[result.selected.step] == max(validation.values())
    assert result.selected.scores["test/accuracy"].value == test[result.selected.step]


@pytest.mark.slow
def test_test_accuracy_tells_the_truth_while_the_rate_is_high():
    """Both trainings are the same; the averages by which they are evaluated differ (DEVIATION D12)."""
    accuracy = {}
    for decay in ("shipped", "0.999"):
        overrides = ["data.name=digits", "data.augmentation=none", "data.global_batch_size=32"]
        overrides += ["model.widths=[8, 8, 8]"]
        overrides += [] if decay == "shipped" else [f"batch_norm.decay={decay}"]
        config = configs.load("configs/cifar10/baseline.yaml", overrides, environment={})
        replicas = one_replica()
        task = image_recognition.build_task(
            config, image_recognition.network(config, 10), replicas, image_recognition.load_data(config)
        )
        trained = train_steps(task, replicas, 240)[-1]
        assert trained["accuracy"] > 0.9
        accuracy[decay] = task.evaluate()["test"]["accuracy"]
    assert accuracy["shipped"] > accuracy["0.999"] + 0.05
