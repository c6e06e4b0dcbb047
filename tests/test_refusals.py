"""What a train.py refuses, in one message: folders that are taken or damaged, other configs, and failed trainings."""

import contextlib
import shutil

import pytest
from digits_runs import digits, interrupt_at, refusal, run_main

from neural_similarity import config as configs
from neural_similarity.errors import UserError
from neural_similarity.families import image_recognition
from neural_similarity.training import runs
from neural_similarity.training.lock import locked


def test_a_finished_run_is_left_alone(finished_run, capsys):
    assert "this run is finished" in refusal(capsys, digits(finished_run))
    assert "this run is finished" in refusal(capsys, digits(finished_run, "--resume"))


def test_another_config_does_not_enter_a_run_folder(finished_run, capsys):
    for extra in ([], ["--resume"], ["--eval-only"]):
        said = refusal(capsys, digits(finished_run, "--set", "seed=1", *extra))
        assert f"{finished_run}: holds a run of another config; `seed` differs. Use " in said


def test_a_folder_that_is_no_run_is_not_written_to(tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("dear")
    assert "not a run" in refusal(capsys, digits(tmp_path))


def test_nothing_to_resume_names_the_other_runs(make_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runs, "REPOSITORY", tmp_path)
    (tmp_path / "runs/cifar10/static_dns").mkdir(parents=True)
    for name in ("s3-abc", "s3-bad"):
        make_run(f"runs/cifar10/static_dns/{name}", None, settings=["seed=3"])
    (tmp_path / "runs/cifar10/static_dns/s3-bad/config.yaml").unlink()
    said = refusal(capsys, ["--resume", "--set", "seed=4", "--run-dir", str(tmp_path / "new")])
    assert "nothing to resume here" in said
    assert "s3-abc (unfinished; differs in seed)" in said
    assert "s3-bad (damaged)" in said


def test_the_right_train_py_is_named(capsys):
    said = refusal(capsys, ["--config", "configs/cifar10/dynamic_dns.yaml"])
    assert "run python nsl_image_recog/dynamic_dns/train.py --config configs/cifar10/dynamic_dns.yaml" in said
    full = ["--config", "configs/cifar10/dynamic_dns.yaml", "--set", "similarity.normalization=full"]
    said = refusal(capsys, full, default="configs/cifar10/dynamic_dns.yaml")
    command = "nsl_fspherenet/train.py --config configs/cifar10/dynamic_dns.yaml --set similarity.normalization=full"
    assert command in said


def test_missing_data_names_the_command(tmp_path, capsys):
    said = refusal(capsys, ["--set", f"data.root={tmp_path}", "--run-dir", str(tmp_path / "r")])
    assert "./dataset_setup.sh cifar10" in said
    assert not (tmp_path / "r").exists()


@pytest.mark.slow  # TensorFlow waits for ten seconds before it gives up
def test_a_network_that_does_not_fit_gets_one_message(tmp_path, capsys):
    said = refusal(capsys, digits(tmp_path / "r", "--dry-run", "--set", "model.widths=[1, 1000000, 8]"))
    assert said.startswith("Out of memory. ")
    assert "smaller data.global_batch_size" in said


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, capsys):
    said = refusal(capsys, digits(tmp_path / "r", "--set", "optimizer.learning_rate=1e30"))
    assert "Training stopped: the loss of step" in said
    assert "optimizer.learning_rate" in said
    assert runs.Run(tmp_path / "r").checkpoints.steps() == [0]


def test_only_one_process_trains_in_a_folder(stopped_run, tmp_path, capsys):
    folder = shutil.copytree(stopped_run, tmp_path / "r")
    with locked(folder):
        assert "another process trains here" in refusal(capsys, digits(folder, "--resume"))


def test_a_run_that_appears_while_the_data_are_read_is_left_alone(tmp_path, monkeypatch, capsys):
    folder, load_data = tmp_path / "r", image_recognition.load_data

    def load_slowly(config):
        with monkeypatch.context() as patch:
            patch.setattr(image_recognition, "load_data", load_data)
            interrupt_at(3, patch)
            run_main(digits(folder))  # another process, meanwhile
        return load_data(config)

    monkeypatch.setattr(image_recognition, "load_data", load_slowly)
    assert "an unfinished run of this very config is here" in refusal(capsys, digits(folder))
    assert runs.Run(folder).checkpoints.steps() == [0, 3]


@pytest.mark.parametrize(
    ("file", "refused"), [("config.yaml", False), ("run.json.unfinished", False), ("notes.txt", True)]
)
def test_a_folder_where_a_start_was_cut_short_is_free(file, refused, tmp_path):
    (tmp_path / file).write_text("seed: 0\n")
    config = configs.load("configs/cifar10/static_dns.yaml", environment={})
    with pytest.raises(UserError, match="not empty, and not a run") if refused else contextlib.nullcontext():
        runs.Run(tmp_path).check_new(config)


def test_a_run_dir_that_cannot_be_one(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "a file, not a folder" in refusal(capsys, digits(tmp_path / "file"))
    assert "Not a directory" in refusal(capsys, digits(tmp_path / "file" / "r"))
