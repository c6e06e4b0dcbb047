"""Result lines, and the files of them that `record` adds to. No training."""

import datetime
import json
import shlex
import shutil

import pytest
from result_lines import LINE, json_line, refusal, result, score

from neural_similarity.reporting import record
from neural_similarity.training.results import Result, Score, scores_of
from neural_similarity.training.runs import open_run


def test_a_line_says_everything_again():
    for line in (result(), result(commit=None, selected={"step": 5, "scores": score(0.5)})):
        assert Result.model_validate_json(line.json_line()) == line
        assert "\n" not in line.json_line()


def test_lines_of_an_earlier_form_are_read_as_before():
    earlier = {name: value for name, value in LINE.items() if name not in ("scores", "family")}
    earlier |= {"final_test_accuracy": 0.91, "final_validation_accuracy": 0.92}
    earlier |= {"selected_step": 500, "selected_test_accuracy": 0.915}
    line = Result.model_validate_json(json.dumps(earlier))
    assert line.family == "image_recognition"
    assert {name: score.value for name, score in line.scores.items()} == {
        "test/accuracy": 0.91,
        "validation/accuracy": 0.92,
    }
    assert line.headline == "test/accuracy"
    assert line.selected.step == 500
    assert line.selected.scores["test/accuracy"].value == 0.915
    assert Result.model_validate_json(line.json_line()) == line


def test_scores_have_room_for_an_interval_and_a_count():
    line = result(
        scores={"test/accuracy": {"value": 0.621, "interval95": 0.004, "n": 600}, "test/recall_at_1": {"value": 0.5}}
    )
    assert line.in_words() == ["test accuracy: 62.10 ± 0.40 %", "test recall at 1: 50.00 %"]
    assert Result.model_validate_json(line.json_line()) == line


def test_scores_are_read_off_the_rows_of_metrics():
    rows = [
        {
            "split": "test",
            "step": 3,
            "cross_entropy": 2.0,
            "accuracy": 0.6,
            "accuracy_interval95": 0.01,
            "accuracy_n": 50,
        }
    ]
    assert scores_of(rows, ("accuracy", "recall_at_1")) == {"test/accuracy": Score(value=0.6, interval95=0.01, n=50)}


FIELDS = ("family", "config", "experiment", "data", "precision", "strategy", "device", "commit")
ODD_TEXTS = ("a\x1b[31m", "a\nb", "a\x00", "a\u202eb", "\x9b2J", "\ud800")


@pytest.mark.parametrize("text", ODD_TEXTS)
@pytest.mark.parametrize(
    "change",
    [
        *({field: "TEXT"} for field in FIELDS),
        *({"overrides": ["TEXT"]}, {"versions": {"TEXT": "1"}}, {"versions": {"a": "TEXT"}}),
        *({"scores": {"TEXT": {"value": 1.0}}}, {"selected": {"step": 1, "scores": {"TEXT": {"value": 1.0}}}}),
    ],
    ids=str,
)
def test_a_text_that_cannot_be_printed_is_no_result(change, text):
    line = json.loads(json_line(**change))
    changed = json.loads(json.dumps(line).replace("TEXT", json.dumps(text)[1:-1]))
    with pytest.raises(ValueError, match=r"cannot be printed|surrogates"):
        Result.model_validate(changed)


def in_time(**difference):
    time = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(**difference)
    return time.isoformat(timespec="seconds")


@pytest.mark.parametrize(
    "time",
    [
        *("9999-12-31T23:59:59+00:00", "2026-13-01T00:00:00+00:00", "2025-02-29T00:00:00+00:00"),
        pytest.param(in_time(days=1), id="tomorrow"),
        *(
            "2026-01-02T24:00:00+00:00",
            "2026-01-02T03:04:60+00:00",
            "٢٠٢٦-01-02T03:04:05+00:00",
            "0000-01-01T00:00:00+00:00",
        ),
    ],
)
def test_a_time_that_never_was_is_no_result(time, tmp_path):
    (tmp_path / "x.jsonl").write_bytes(json_line(finished=time))
    assert "x.jsonl, line 1: not a result line (`finished`: " in refusal(record.read_results, tmp_path / "x.jsonl")


def test_clocks_may_differ_a_little():
    for time in (in_time(), in_time(minutes=10), "2024-02-29T23:59:59+00:00"):
        assert result(finished=time).finished == time


# record


@pytest.mark.parametrize("config", ["cifar10/static_dns", "cifar10/released/static_dns", "quickstart/x", "custom/x"])
def test_record_appends_to_the_file_of_the_set(config, make_run, tmp_path):
    path, line, appended = record.record(make_run(line={"config": config}), tmp_path / "new" / "results")
    assert path == tmp_path / "new" / "results" / f"{config.split('/')[0]}.jsonl"
    assert appended
    assert record.read_results(path) == [line]
    assert line.config == config
    assert path.read_text() == line.json_line() + "\n"


def test_own_images_are_not_recorded_as_cifar(make_run, tmp_path):
    settings = ["data.name=folder", "data.root=/photos"]
    run = make_run(line={"recipe": "custom", "overrides": settings[:1]}, settings=settings)
    assert record.record(run, tmp_path / "results")[0] == tmp_path / "results" / "folder.jsonl"


def test_record_says_what_is_there_already(make_run, tmp_path, command):
    one, two = make_run("one"), make_run("two", {"seed": 1})
    code, out, err = command("record", one, two, one, "--results", tmp_path)
    assert (code, err) == (0, "")
    assert [line.split(": ")[1] for line in out.splitlines()] == ["added", "added", "already there"]
    assert "cifar10/static_dns, ours, seed 1, test accuracy: 90.00 %" in out
    before = (tmp_path / "cifar10.jsonl").read_bytes()
    assert len(before.splitlines()) == 2
    assert command("record", two, "--results", tmp_path)[1].count("already there") == 1
    assert (tmp_path / "cifar10.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "settings"),
    [({"seed": 1}, []), ({}, ["batch_norm.decay=0.9"]), ({"finished": "2026-01-02T03:04:06+00:00"}, [])],
    ids=str,
)
def test_record_appends_what_differs(change, settings, make_run, tmp_path):
    record.record(make_run("one"), tmp_path)
    path, _, appended = record.record(make_run("two", change, settings=settings), tmp_path)
    assert appended
    assert len(record.read_results(path)) == 2


def test_record_refuses_a_line_that_was_edited(make_run, tmp_path):
    path, _, _ = record.record(make_run("one"), tmp_path)
    before = path.read_bytes()
    assert "differs from" in refusal(record.record, make_run("two", {"scores": score(0.99)}), tmp_path)
    assert path.read_bytes() == before


def test_record_does_what_it_can_and_tells_the_rest(make_run, tmp_path, command):
    good, unfinished = make_run("good"), make_run("unfinished", None)
    code, out, err = command("record", tmp_path / "none", unfinished, good, "--results", tmp_path)
    assert code == 2
    assert "added" in out
    assert [line.split(": ")[0] for line in err.splitlines()] == [str(tmp_path / "none"), str(unfinished)]
    assert len(record.read_results(tmp_path / "cifar10.jsonl")) == 1


def test_record_says_how_to_finish_a_run(make_run, tmp_path):
    folder = make_run("un finished", None)
    message = refusal(record.record, folder, tmp_path)
    assert "not finished" in message
    words = shlex.split(message.split("Go on with it: ")[1])
    assert words == [
        *("python", "nsl_image_recog/static/train.py", "--config", f"{folder}/config.yaml"),
        *("--run-dir", str(folder), "--resume"),
    ]
    assert not (tmp_path / "cifar10.jsonl").exists()


BAD_LINES = {
    "empty": b"",
    "cut off": json_line()[:-20],
    "not text": b"\xff\xfe\x00",
    "no mapping": b"[1]",
    "a field less": json_line(device=None),
    "a field more": json_line(comment="hello"),
    "text for a number": json_line(seed="0"),
    "a fraction of a step": json_line(steps=1.5),
    "percent": json_line(scores=score(90.0)),
    "percent, selected": json_line(selected={"step": 1, "scores": score(90.0)}),
    "NaN": json_line(seconds_per_step=float("nan")),
    "another hash": json_line(config_hash="abc"),
    "another recipe": json_line(recipe="best"),
    "local time": json_line(finished="2026-01-02T03:04:05+02:00"),
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES)
def test_record_refuses_a_damaged_result(line, make_run, tmp_path):
    folder = make_run("damaged", line)
    message = refusal(record.record, folder, tmp_path)
    assert message.startswith(f"{folder}/result.json: damaged (")
    assert message.endswith("--resume")
    assert not list(tmp_path.glob("*.jsonl"))


@pytest.mark.parametrize(
    "line", [line for line in BAD_LINES.values() if line], ids=[n for n in BAD_LINES if n != "empty"]
)
def test_a_bad_line_is_named_and_nothing_is_appended(line, make_run, tmp_path):
    path = tmp_path / "cifar10.jsonl"
    path.write_bytes(json_line() + b"\n\n" + line + b"\n" + json_line(seed=1) + b"\n")
    before = path.read_bytes()
    message = refusal(record.read_results, path)
    assert message.startswith(f"{path}, line 3: not a result line (")
    assert refusal(record.record, make_run(line={"seed": 2}), tmp_path) == message
    assert path.read_bytes() == before


def test_a_bad_line_is_told_by_its_fields(tmp_path):
    path = tmp_path / "cifar10.jsonl"
    path.write_bytes(json_line(seed="0", comment="x"))
    message = refusal(record.read_results, path)
    assert "`seed`: Input should be a valid integer; `comment`: Extra inputs are not permitted" in message


def test_read_takes_blank_lines_and_other_line_ends(make_run, tmp_path):
    path = tmp_path / "cifar10.jsonl"
    path.write_bytes(b"\n" + json_line() + b"\r\n\r\n" + json_line(seed=1))  # the last one without a line end
    assert [line.seed for line in record.read_results(path)] == [0, 1]
    record.record(make_run(line={"seed": 2}), tmp_path)
    assert [line.seed for line in record.read_results(path)] == [0, 1, 2]


def test_an_interrupted_append_leaves_the_file_as_it_was(make_run, tmp_path, monkeypatch):
    path, _, _ = record.record(make_run("one"), tmp_path)
    before, other = path.read_bytes(), make_run("two", {"seed": 1})

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("neural_similarity.files.os.replace", fail)
    message = refusal(record.record, other, tmp_path)
    assert message == f"{path}: cannot be written (No space left on device). Next: make room, or make it writable"
    assert path.read_bytes() == before


def test_record_into_something_that_is_no_folder(make_run, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refusal(record.record, make_run(), tmp_path / "file")
    assert "cannot be read" in refusal(record.read_results, tmp_path)


def test_a_run_is_recorded_under_the_recipe_that_it_has_today(make_run, tmp_path):
    """The shipped file has changed since the run began; so have the names of two keys."""
    line = {"config": "cifar10/static_dns", "overrides": ["predictor.filters=3"], "seed": 4, "config_hash": "f" * 12}
    folder = make_run(line=line, settings=["batch_norm.decay=0.999", "data.root=/mine"])
    _, line, _ = record.record(folder, tmp_path / "results")
    assert (line.recipe, line.overrides) == ("custom", ["seed=4", "batch_norm.decay=0.999"])
    assert line.config_hash == open_run(folder).config.config_hash()
    assert record.read_results(tmp_path / "results" / "cifar10.jsonl") == [line]
    assert not record.record(folder, tmp_path / "results")[2]


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"config": "cifar10/baseline"}, {"device": "TPU"}, {"steps": 7}], ids=str
)
def test_a_result_that_was_edited_is_not_recorded(change, make_run, tmp_path):
    folder = make_run()
    edited = {**json.loads((folder / "result.json").read_text()), **change}
    (folder / "result.json").write_text(json.dumps(edited))
    message = refusal(record.record, folder, tmp_path)
    assert (
        f"its `{next(iter(change))}` is not that of the run. Delete the file and let the run write it again" in message
    )


CHANGED_SCORES = [
    {"scores": score(0.99)},
    {"scores": {**score(0.1), "validation/accuracy": {"value": 0.1}}},
    {"selected": {"step": 7, "scores": score(0.9)}},
    {"seconds_per_step": 0.001},
]


@pytest.mark.parametrize("change", CHANGED_SCORES, ids=str)
def test_scores_that_were_edited_are_not_recorded(change, finished_run, tmp_path):
    folder = shutil.copytree(finished_run, tmp_path / "r")
    assert record.record(folder, tmp_path / "results")[2]
    edited = {**json.loads((folder / "result.json").read_text()), **change}
    (folder / "result.json").write_text(json.dumps(edited))
    message = refusal(record.record, folder, tmp_path)
    assert f"its `{next(iter(change))}` is not that of the run." in message
    store = open_run(folder).checkpoints
    store.path(25).write_bytes(b"damaged")
    if "validation/accuracy" not in change.get("scores", {}):
        assert refusal(record.record, folder, tmp_path) == message  # by metrics.jsonl, which is complete
    (folder / "metrics.jsonl").unlink()
    assert "result.json cannot be checked" in refusal(record.record, folder, tmp_path)


def test_a_recipe_is_not_taken_from_an_edited_file(make_run, tmp_path):
    folder = make_run(line={"recipe": "custom", "overrides": ["a=b"]}, settings=["batch_norm.decay=0.9"])
    text = (folder / "result.json").read_text()
    (folder / "result.json").write_text(text.replace('"recipe": "custom"', '"recipe": "released"').replace("a=b", ""))
    _, line, _ = record.record(folder, tmp_path)
    assert (line.recipe, line.overrides) == ("custom", ["a=b"])
