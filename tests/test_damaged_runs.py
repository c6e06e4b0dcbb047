"""Run folders in which something is missing, changed, or of another run: what is refused, and what goes on."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest
from digits_runs import digits, interrupt_at, refusal, run_main
from run_checks import assert_equal_runs

from neural_similarity import load_run
from neural_similarity.errors import UserError
from neural_similarity.training import checkpoints, runs
from neural_similarity.training.checkpoints import Checkpoints
from neural_similarity.training.logs import Metrics, read_rows


@pytest.fixture
def stopped(stopped_run, tmp_path):
    """A copy of the run that was stopped after step 14: its folder."""
    return shutil.copytree(stopped_run, tmp_path / "stopped")


@pytest.fixture
def finished(finished_run, tmp_path):
    """A copy of the finished run: its folder."""
    return shutil.copytree(finished_run, tmp_path / "finished")


def changed_json(path, **changes):
    """Writes a JSON file anew with changes; None takes a name out."""
    document = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in document.items() if value is not None}))


# run.json, config.yaml, result.json


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("run.json", "{}", r"run.json: damaged \(`config`: Field required"),
        ("run.json", "{", "run.json: damaged"),
        ("run.json", "[1]", "run.json: damaged"),
        ("run.json", "[" * 100_000, "run.json: damaged"),
        ("run.json", b"\xff\xfe", "run.json: damaged"),
        ("config.yaml", None, "config.yaml is missing"),
        ("result.json", "{", r"result.json: damaged .* Delete it and let the run write it again: python nsl"),
        ("result.json", "[1]", "result.json: damaged"),
    ],
)
def test_a_damaged_file_is_named(finished, name, text, said):
    path = finished / name
    path.unlink() if text is None else path.write_bytes(text if isinstance(text, bytes) else text.encode())
    run = runs.open_run(finished)
    with pytest.raises(UserError, match=said):
        (run.details, run.config, run.result, load_run(finished))


WRONG_PARTS = {
    "runtime": [{}, 5, {"strategy": "none", "devices": 0, "precision": "float32"}, []],
    "environment": [{}, "x", {"commit": 5}],
    "facts": [5, {}, {"classes": 5}, {"classes": [1, 2]}, "abc"],
    "config": [5, [], {}],
    "overrides": ["x", [5], {}],
    "recipe": ["best", 1],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG_PARTS.items() for value in values], ids=str
)
def test_a_part_of_run_json_of_the_wrong_type_is_named(finished, name, value):
    changed_json(finished / "run.json", **{name: value})
    with pytest.raises(UserError, match=rf"run\.json: damaged \(`{name}"):
        load_run(finished)


@pytest.mark.parametrize("classes", ["abc", []])
def test_an_older_run_without_a_list_of_classes(finished, classes):
    changed_json(finished / "run.json", facts={"classes": classes, "data_checksum": "0"}, hash=None)
    with pytest.raises(UserError, match="`facts` have no list of `classes`"):
        load_run(finished)


def test_what_cannot_be_read_is_not_called_damaged(finished, monkeypatch):
    def read_at_most(path, most_bytes):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(runs, "read_at_most", read_at_most)
    with pytest.raises(UserError, match=r"run\.json: cannot be read \(Permission denied\)\.$"):
        load_run(finished)


@pytest.mark.parametrize(
    ("name", "code"),
    [("run.json", 2), ("result.json", 2), ("lock", 2), ("metrics.jsonl", 0), ("checkpoints/step-000014.npz", 0)],
)
def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(stopped, capsys, name, code):
    """What can be done without goes on: metrics are in the checkpoint, and there is an older checkpoint."""
    (stopped / name).unlink(missing_ok=True)
    os.mkfifo(stopped / name)
    assert run_main(digits(stopped, "--resume")) == code
    assert f"{stopped / name}: " in "".join(capsys.readouterr())


EDITS = [
    ("config.yaml", "learning_rate: 0.1", "learning_rate: 0.01"),
    ("config.yaml", "seed: 0", "seed: 1"),
    ("config.yaml", "precision: float32", "precision: mixed_bfloat16"),
    ("run.json", '"recipe": "custom"', '"recipe": "ours"'),
    ("run.json", '"config": "cifar10/static_dns"', '"config": "cifar10/baseline"'),
    ("run.json", '"jit_compile": false', '"jit_compile": true'),
    ("run.json", "schedule.train_steps=25", "schedule.train_steps=26"),
]


@pytest.mark.parametrize(("name", "old", "new"), EDITS)
def test_a_run_does_not_go_on_under_an_edited_name(stopped, capsys, name, old, new):
    text = (stopped / name).read_text()
    assert text.count(old) == 1
    (stopped / name).write_text(text.replace(old, new))
    said = refusal(capsys, ["--config", str(stopped / "config.yaml"), "--run-dir", str(stopped), "--resume"])
    assert "config.yaml or run.json was changed since the run began" in said


def test_where_and_how_often_may_be_edited(stopped, finished_run):
    text = (stopped / "config.yaml").read_text()
    edits = [("keep: 3", "keep: 5"), ("root: data", "root: elsewhere"), ("every_minutes: 10", "every_minutes: 9")]
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    (stopped / "config.yaml").write_text(text)
    assert run_main(["--config", str(stopped / "config.yaml"), "--run-dir", str(stopped), "--resume"]) == 0
    assert_equal_runs(stopped, finished_run)


def test_classes_in_another_order_are_said_to_be_so(finished_run):
    run = runs.Run(finished_run)
    facts = {**run.facts, "classes": run.facts["classes"][::-1]}
    with pytest.raises(UserError, match=r"classes of the data stand in another order .* number 1 was 0, and is 9\."):
        run.check_facts(facts)


# Checkpoints


def test_a_checkpoint_of_another_run_is_refused(stopped, capsys):
    own = runs.Run(stopped).checkpoints
    Checkpoints(own.folder, run="0" * 64, keep=9).save(20, own.load(14)[0])
    assert "step-000020.npz: a checkpoint of another run than run.json tells of." in refusal(
        capsys, digits(stopped, "--resume")
    )
    with pytest.raises(UserError, match=r"of another run than run\.json tells of"):
        load_run(stopped)


@pytest.mark.parametrize("name", ["step-000020.npz", "step-999999.npz"])
def test_a_renamed_checkpoint_is_refused(stopped, capsys, name):
    path = runs.Run(stopped).checkpoints.path(14)
    path.rename(path.with_name(name))
    said = refusal(capsys, digits(stopped, "--resume"))
    assert f"{name}: holds the checkpoint of step 14, which was called step-000014.npz." in said


@pytest.mark.parametrize("name", ["step-14.npz", "step-.npz", "step-١٤.npz", "step-000014 (1).npz"])
def test_what_is_only_called_like_a_checkpoint_is_refused(stopped, capsys, name):
    path = runs.Run(stopped).checkpoints.path(14)
    path.rename(path.with_name(name))
    assert f"{name}: not the name of a checkpoint, which is step-NNNNNN.npz" in refusal(
        capsys, digits(stopped, "--resume")
    )


def test_a_checkpoint_beyond_the_last_step_is_refused(stopped, capsys):
    run = runs.Run(stopped)
    run.checkpoints.save(26, run.checkpoints.load(14)[0])
    assert "the checkpoint of step 26 of a run that has 25 steps" in refusal(capsys, digits(stopped, "--resume"))


STATES = [b"5", b"{}", b'{"step": "14"}', b'{"step": 14, "rows": [5]}', b'{"step": 14, "pending": 5}', b"[" * 10_000]
STATES += [b'{"step": 14, "pending": [{}]}', b'{"step": 14, "rows": [{"step": 15, "split": "test"}]}']


@pytest.mark.parametrize("state", STATES)
def test_a_state_of_the_wrong_type_is_damage(stopped, state):
    store = runs.Run(stopped).checkpoints
    np.savez(store.path(14), **store.load(14)[0], state=np.frombuffer(state, np.uint8))
    with pytest.raises(UserError, match=r"step-000014\.npz: damaged"):
        store.load(14)


def test_metrics_without_a_checkpoint_are_not_emptied(stopped, finished_run, tmp_path, capsys):
    """As when a disk is not mounted: the folder is gone, or empty."""
    before = (stopped / "metrics.jsonl").read_bytes()
    shutil.move(stopped / "checkpoints", tmp_path / "away")
    for make_empty in (False, True):
        if make_empty:
            (stopped / "checkpoints").mkdir()
        said = refusal(capsys, digits(stopped, "--resume"))
        assert "holds metrics, but there is no checkpoint in" in said
        assert (stopped / "metrics.jsonl").read_bytes() == before
    (stopped / "checkpoints").rmdir()
    begun_again = shutil.copytree(stopped, tmp_path / "again")
    advised = said.partition("begin again: ")[2].partition(", then --resume")[0]
    subprocess.run(advised.replace(str(stopped), str(begun_again)), shell=True, check=True)
    shutil.move(tmp_path / "away", stopped / "checkpoints")
    for folder in (stopped, begun_again):
        assert run_main(digits(folder, "--resume")) == 0
        assert_equal_runs(folder, finished_run)


def test_an_untrained_network_is_not_taken_for_a_trained_one(stopped, capsys):
    for step in (10, 14):
        runs.Run(stopped).checkpoints.path(step).unlink()
    assert "no checkpoint yet" in refusal(capsys, digits(stopped, "--eval-only"))


# metrics.jsonl


def test_changed_metrics_are_written_anew(stopped, finished_run, capsys):
    path = stopped / "metrics.jsonl"
    before = path.read_bytes()
    path.write_bytes(before.replace(b'"loss": ', b'"loss": 1'))
    assert run_main(digits(stopped, "--resume")) == 0
    assert_equal_runs(stopped, finished_run)
    assert path.read_bytes().startswith(before)
    assert f"{path}: not as this run wrote it, from step 10 on." in capsys.readouterr().out


ROWS = [{"step": step, "split": split, "loss": 0.5, "n": 3} for step in (10, 20) for split in ("train", "test")]
LINES = [json.dumps(row) + "\n" for row in ROWS]
UNCHANGED = {
    "as it was": LINES,
    "a torn line": [*LINES, '{"step": 30, "spl'],
}
CHANGED = {
    "rows of later steps": (
        [*LINES, '{"step": 30, "split": "train", "loss": 1}\n'],
        "goes further than the checkpoint",
    ),
    "doubled": (LINES * 2, "goes further than the checkpoint"),
    "a note at its end": ([*LINES, "my best run\n"], "goes further than the checkpoint"),
    "missing": (None, "missing"),
    "empty": ([], "from step 10 on"),
    "cut": (LINES[:3], "from step 20 on"),
    "cut in a line": ([*LINES[:3], LINES[3][:-9]], "from step 20 on"),
    "a line less": (LINES[:2] + LINES[3:], "from step 20 on"),
    "edited": ([*LINES[:3], LINES[3].replace("0.5", "0.4")], "from step 20 on"),
    "another order": (LINES[::-1], "from step 10 on"),
    "a number": (["5\n", *LINES], "from step 10 on"),
    "an empty mapping": ([LINES[0], "{}\n", *LINES[1:]], "from step 10 on"),
    "a step as a text": ([*LINES[:2], LINES[2].replace("20", '"20"'), LINES[3]], "from step 20 on"),
}


@pytest.mark.parametrize("name", [*UNCHANGED, *CHANGED])
def test_the_file_holds_the_rows_of_the_checkpoint_again(tmp_path, caplog, name):
    path = tmp_path / "metrics.jsonl"
    lines, said = CHANGED.get(name) or (UNCHANGED[name], None)
    if lines is not None:
        path.write_text("".join(lines))
    Metrics(tmp_path, ROWS)
    assert path.read_text() == "".join(LINES)
    assert (said in caplog.text) if said else not caplog.text
    aside = tmp_path / "metrics.jsonl.earlier"
    assert aside.exists() == bool(said and lines is not None)
    if aside.exists():
        assert aside.read_text() == "".join(lines)
        path.write_text("")
        Metrics(tmp_path, ROWS)
        assert (tmp_path / "metrics.jsonl.earlier-2").read_text() == ""  # and the first one is still there
        assert aside.read_text() == "".join(lines)


def test_a_run_that_lacks_its_result_alone_is_ended(finished, finished_run):
    before = json.loads((finished / "result.json").read_text())
    (finished / "result.json").unlink()
    (finished / "metrics.jsonl").unlink()
    assert run_main(digits(finished, "--resume")) == 0
    after = json.loads((finished / "result.json").read_text())
    assert {name for name in before if before[name] != after[name]} <= {"finished", "peak_memory_bytes"}
    assert_equal_runs(finished, finished_run)


def as_of_an_earlier_version(folder):
    """Takes away what earlier versions did not write: the hash, and rows in the checkpoints."""
    store = runs.Run(folder).checkpoints
    for step in store.steps():
        arrays, state = store.load(step)
        encoded = np.frombuffer(json.dumps({"pending": state.pending, "step": step}).encode(), np.uint8)
        np.savez(store.path(step), **arrays, state=encoded)
    changed_json(folder / "run.json", hash=None)


def test_a_run_without_its_run_json_is_not_called_new(stopped, capsys):
    (stopped / "run.json").unlink()
    assert "run.json is missing. Restore it, or train anew" in refusal(capsys, digits(stopped, "--resume"))


def test_checkpoints_that_may_not_be_read_are_not_called_absent(stopped, capsys, monkeypatch):
    def listdir(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(checkpoints.os, "listdir", listdir)
    for action in ("--resume", "--eval-only"):
        said = refusal(capsys, digits(stopped, action))
        assert said == f"{stopped / 'checkpoints'}: cannot be read (Permission denied).\n"


def test_a_hash_that_was_taken_out_is_missed(stopped, capsys):
    changed_json(stopped / "run.json", hash=None)
    assert "of another run than run.json tells of" in refusal(capsys, digits(stopped, "--resume"))


VALIDATED = ["--set", "data.validation_fraction=0.2", "--set", "evaluation.every_steps=5"]


@pytest.fixture(scope="module")
def validated_run(tmp_path_factory):
    """The folder of a run with a validation split, stopped after step 14."""
    folder = tmp_path_factory.mktemp("runs") / "validated"
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(14, patch)
        assert run_main(digits(folder, *VALIDATED)) == 130
    return folder


@pytest.mark.parametrize(("step", "split"), [(5, None), (10, "validation"), (10, "train")])
def test_an_older_run_that_lost_a_row_names_no_selected_step(validated_run, tmp_path, monkeypatch, capsys, step, split):
    folder = shutil.copytree(validated_run, tmp_path / "r")
    words = digits(folder, *VALIDATED)
    as_of_an_earlier_version(folder)
    path = folder / "metrics.jsonl"
    rows = read_rows(path)
    kept = [row for row in rows if not (row["step"] == step and split in (None, row["split"]))]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept))
    with monkeypatch.context() as patch:
        interrupt_at(17, patch)
        assert run_main([*words, "--resume"]) == 130  # the checkpoints of today remember it
    assert f"first that is missing is of step {step}. " in capsys.readouterr().out
    assert run_main([*words, "--resume"]) == 0
    assert runs.Run(folder).result.selected is None


@pytest.mark.parametrize("kept_lines", [9, 7, 6])  # all; without the last evaluation; without the last step
def test_an_older_run_that_lacks_its_result_alone_is_evaluated_again(finished, kept_lines):
    as_of_an_earlier_version(finished)
    before = json.loads((finished / "result.json").read_text())["scores"]
    (finished / "result.json").unlink()
    path = finished / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:kept_lines]))
    assert run_main(digits(finished, "--resume")) == 0
    assert json.loads((finished / "result.json").read_text())["scores"] == before
    assert [row["split"] for row in read_rows(path)][-2:] == ["test", "similarity"]


def test_a_full_disk_under_the_metrics_names_the_file(tmp_path, monkeypatch):
    metrics = Metrics(tmp_path)

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("neural_similarity.files.os.fsync", full)
    with pytest.raises(UserError, match=r"metrics\.jsonl: cannot be written \(No space.*\)\. Make room .* --resume\.$"):
        metrics.save()


def test_an_older_run_goes_on_without_rows_that_are_lost(finished, stopped, capsys):
    for folder in (stopped, finished):
        as_of_an_earlier_version(folder)
    (stopped / "metrics.jsonl").write_text("")
    assert run_main(digits(stopped, "--resume")) == 0
    assert "metrics.jsonl lacks rows; the first that is missing is of step 10." in capsys.readouterr().out
    assert [row["step"] for row in read_rows(stopped / "metrics.jsonl")] == [20, 20, 20, 25, 25, 25]

    path = finished / "metrics.jsonl"
    (finished / "result.json").unlink()
    path.write_text("")
    assert "metrics.jsonl has no row of training left" in refusal(capsys, digits(finished, "--resume"))


def test_metrics_lose_a_torn_last_line_and_nothing_else(tmp_path):
    path = tmp_path / "metrics.jsonl"
    one, two = ({"step": step, "split": "train", "loss": 1} for step in (1, 2))
    path.write_text(f"{json.dumps(one)}\n{json.dumps(two)}\n" + '{"st')
    assert read_rows(path) == [one, two]
    for line, said in [
        (b'{"st', "damaged"),
        (b"5", "damaged"),
        (b"{}", "`step` must be a whole number"),
        (b"\xff", "damaged"),
        (b'{"step": "1", "split": "train"}', "`step` must be a whole number"),
        (b'{"step": 1, "split": "train", "loss": "1"}', "`loss` must be a number"),
        (b'{"step": 1, "split": "train", "loss": true}', "damaged"),
        (b'{"step": 1, "split": 5}', "`split` must be a text"),
        (json.dumps(one).encode(), "a second row of step 1, train"),
    ]:
        path.write_bytes(b"\n".join([json.dumps(one).encode(), line, json.dumps(two).encode(), b""]))
        with pytest.raises(UserError, match=rf"metrics\.jsonl, line 2: .*{said}.*\. Delete"):
            read_rows(path)
