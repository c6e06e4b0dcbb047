"""Result lines, tables and plots, on hand-made run folders. No training."""

import json
import shlex

import numpy as np
import PIL.Image
import pytest
from commands import run_tool

from neural_similarity.config import NOT_OF_A_RECIPE, REPOSITORY, load
from neural_similarity.errors import UserError
from neural_similarity.reporting import plots, record, tables
from neural_similarity.reporting.experiments import experiments
from neural_similarity.reporting.markdown import as_markdown
from neural_similarity.reporting.paper_values import read_paper_values
from neural_similarity.reporting.summary import GROUPED_BY, Spread, group, summarize
from neural_similarity.training.results import Result, Score, scores_of

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
EXPERIMENTS = "<!-- experiments:begin -->\n<!-- experiments:end -->\n"
LINE = {
    "config": "cifar10/static_dns",
    "config_hash": "0123456789ab",
    "recipe": "ours",
    "overrides": [],
    "experiment": "nsl_image_recog/static",
    "data": "cifar10",
    "seed": 0,
    "steps": 42500,
    "scale": 1.0,
    "parameters": 1234567,
    "scores": {"test/accuracy": {"value": 0.9}},
    "seconds_per_step": 0.25,
    "peak_memory_bytes": 1_500_000_000,
    "precision": "float32",
    "strategy": "none",
    "devices": 1,
    "jit_compile": False,
    "deterministic": False,
    "device": "CPU, Some, 2 cores",
    "commit": "abcdef0123",
    "versions": {"python": "3.11.7"},
    "finished": "2026-01-02T03:04:05+00:00",
}


def result(**changes):
    return Result.model_validate({**LINE, **changes})


def score(value):
    """The `scores` of a line with this test accuracy."""
    return {"test/accuracy": {"value": value}}


def train_rows(steps=30, loss=2.0):
    """A row each ten steps, a test row each twenty and at the end."""
    rows = []
    for step in range(10, steps + 1, 10):
        rows.append({"step": step, "split": "train", "loss": 3.0, "cross_entropy": loss * 10 / step, "accuracy": 0.25})
        if step % 20 == 0 or step == steps:
            rows.append({"step": step, "split": "test", "cross_entropy": 1.0, "accuracy": step / 100})
    return rows


@pytest.fixture
def make_run(tmp_path):
    """Makes a run folder; `line`: what `result.json` holds, a dict of changes to `LINE`, bytes, or None."""

    def make(name="run", line=(), rows=()):
        folder = tmp_path / name
        folder.mkdir()
        values = {**LINE, **(dict(line) if isinstance(line, dict) else {})}
        details = {key: values[key] for key in ("config", "recipe", "experiment", "overrides")}
        details |= {"facts": {}, "runtime": {}, "environment": {}}
        (folder / "config.yaml").write_text((REPOSITORY / "configs/cifar10/static_dns.yaml").read_text())
        (folder / "run.json").write_text(json.dumps(details))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if line is not None:
            text = line if isinstance(line, bytes) else (result(**dict(line)).line() + "\n").encode()
            (folder / "result.json").write_bytes(text)
        return folder

    return make


@pytest.fixture
def command(capsys):
    """Calls a tool; gives its exit code, what it printed, and what it said on stderr."""

    def call(*words):
        code = run_tool(*words)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def refusal(function, *arguments):
    with pytest.raises(UserError) as caught:
        function(*arguments)
    return str(caught.value)


# Result lines


def test_a_line_says_everything_again():
    for line in (result(), result(commit=None, selected={"step": 5, "scores": score(0.5)})):
        assert Result.model_validate_json(line.line()) == line
        assert "\n" not in line.line()


def test_the_page_explains_every_field_and_every_column():
    page = (REPOSITORY / "docs/results.md").read_text(encoding="utf-8")
    assert [name for name in Result.model_fields if f"| `{name}` |" not in page] == []
    header = markdown([result(selected={"step": 5, "scores": score(0.5)})], {}).splitlines()[0]
    names = [name.removesuffix(f", {LINE['device']}") for name in header.strip("| ").split(" | ")]
    assert [name for name in names if f"| {name} |" not in page] == []


# record


@pytest.mark.parametrize("config", ["cifar10/static_dns", "cifar10/released/static_dns", "quickstart/x", "custom/x"])
def test_record_appends_to_the_file_of_the_set(config, make_run, tmp_path):
    path, line, appended = record.record(make_run(line={"config": config}), tmp_path / "new" / "results")
    assert path == tmp_path / "new" / "results" / f"{config.split('/')[0]}.jsonl"
    assert appended
    assert record.read(path) == [line] == [result(config=config)]
    assert path.read_text() == line.line() + "\n"


def test_own_images_are_not_recorded_or_shown_as_cifar(make_run, tmp_path):
    for i, name in enumerate(("cats", "dogs")):
        line = {"data": "folder", "recipe": "custom", "seed": i, "config_hash": f"{i}" * 12}
        run = make_run(name, {**line, "overrides": ["data.name=folder"]})
        assert record.record(run, tmp_path / "results")[0] == tmp_path / "results" / "folder.jsonl"
    shown = tables.tables(tables.PARTIAL_RUNS, tmp_path / "results")
    assert "**folder**" in shown
    for i in range(2):
        assert f"`cifar10/static_dns` with `data.name=folder` ({i * 111111111111:012})" in shown


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
    "change", [{"seed": 1}, {"config_hash": "f" * 12}, {"finished": "2026-01-02T03:04:06+00:00"}], ids=str
)
def test_record_appends_what_differs(change, make_run, tmp_path):
    record.record(make_run("one"), tmp_path)
    path, _, appended = record.record(make_run("two", change), tmp_path)
    assert appended
    assert len(record.read(path)) == 2


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
    assert len(record.read(tmp_path / "cifar10.jsonl")) == 1


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


def _text(**changes):
    values = {**LINE, **changes}
    return json.dumps({name: value for name, value in values.items() if value is not None}).encode()


BAD_LINES = {
    "empty": b"",
    "cut off": _text()[:-20],
    "not text": b"\xff\xfe\x00",
    "no mapping": b"[1]",
    "a field less": _text(device=None),
    "a field more": _text(comment="hello"),
    "text for a number": _text(seed="0"),
    "a fraction of a step": _text(steps=1.5),
    "percent": _text(scores=score(90.0)),
    "percent, selected": _text(selected={"step": 1, "scores": score(90.0)}),
    "NaN": _text(seconds_per_step=float("nan")),
    "another hash": _text(config_hash="abc"),
    "another recipe": _text(recipe="best"),
    "local time": _text(finished="2026-01-02T03:04:05+02:00"),
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
    path.write_bytes(_text() + b"\n\n" + line + b"\n" + _text(seed=1) + b"\n")
    before = path.read_bytes()
    message = refusal(record.read, path)
    assert message.startswith(f"{path}, line 3: not a result line (")
    assert refusal(record.record, make_run(line={"seed": 2}), tmp_path) == message
    assert path.read_bytes() == before


def test_a_bad_line_is_told_by_its_fields(tmp_path):
    path = tmp_path / "cifar10.jsonl"
    path.write_bytes(_text(seed="0", comment="x"))
    message = refusal(record.read, path)
    assert "`seed`: Input should be a valid integer; `comment`: Extra inputs are not permitted" in message


def test_read_takes_blank_lines_and_other_line_ends(make_run, tmp_path):
    path = tmp_path / "cifar10.jsonl"
    path.write_bytes(b"\n" + _text() + b"\r\n\r\n" + _text(seed=1))  # the last one without a line end
    assert [line.seed for line in record.read(path)] == [0, 1]
    record.record(make_run(line={"seed": 2}), tmp_path)
    assert [line.seed for line in record.read(path)] == [0, 1, 2]


def test_an_interrupted_append_leaves_the_file_as_it_was(make_run, tmp_path, monkeypatch):
    path, _, _ = record.record(make_run("one"), tmp_path)
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("neural_similarity.files.os.replace", fail)
    message = refusal(record.record, make_run("two", {"seed": 1}), tmp_path)
    assert message == f"{path}: cannot be written (No space left on device)."
    assert path.read_bytes() == before


def test_record_into_something_that_is_no_folder(make_run, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refusal(record.record, make_run(), tmp_path / "file")
    assert "cannot be read" in refusal(record.read, tmp_path)


# tables


def markdown(lines, paper_values=None):
    return as_markdown(summarize(lines, paper_values))


def test_mean_and_deviation_by_hand():
    assert Spread.of([90.0]) == Spread(90.0, None)
    assert Spread.of([90.0, 92.0, 94.0]) == Spread(92.0, 2.0)  # √((4 + 0 + 4) / 2)
    assert Spread.of([0.5, 0.5]) == Spread(0.5, 0.0)


def test_times_and_memory_are_told_per_device():
    lines = [
        result(seconds_per_step=0.2, peak_memory_bytes=1_000_000_000),
        result(seed=1, seconds_per_step=0.4, peak_memory_bytes=2_000_000_000),
        result(seed=2, device="GPU", seconds_per_step=0.01, peak_memory_bytes=5_000_000_000),
        result(config="cifar10/baseline", device="GPU", seconds_per_step=0.02, peak_memory_bytes=4_000_000_000),
    ]
    columns = {column.name: column.cells for column in summarize(lines).columns}
    assert [name.config for name in columns["config"]] == ["cifar10/baseline", "cifar10/static_dns"]
    assert columns["n"] == [1, 3]
    assert columns["s/step, GPU"] == [0.02, 0.01]
    assert columns["peak GB, GPU"] == [4.0, 5.0]
    assert columns[f"s/step, {LINE['device']}"] == [None, pytest.approx(0.3)]
    assert columns[f"peak GB, {LINE['device']}"] == [None, 2.0]
    assert "| – |" in as_markdown(summarize(lines))


def test_seeds_make_a_row_and_everything_else_parts_rows():
    others = {
        "config": "cifar10/baseline",
        "recipe": "custom",
        "config_hash": "f" * 12,
        "scale": 0.5,
        "precision": "mixed_bfloat16",
    }
    assert list(others) == list(GROUPED_BY)
    lines = [result(seed=2), *(result(**{name: value}) for name, value in others.items()), result(seed=1)]
    rows = group(lines)
    assert sorted(len(row) for row in rows) == [1] * 5 + [2]
    assert [[line.seed for line in row] for row in rows if len(row) == 2] == [[1, 2]]
    same = result(
        seed=1, jit_compile=True, device="GPU", strategy="mirrored", commit="fedcba3210", seconds_per_step=9.0
    )
    assert len(group([result(), same])) == 1


def test_of_two_lines_of_a_seed_the_newest_counts():
    old, new = "2026-01-02T03:04:05+00:00", "2026-11-02T03:04:05+00:00"
    a, b = result(finished=new, scores=score(0.8)), result(finished=old, scores=score(0.7))
    other = result(seed=1, scores=score(0.9))
    for lines in ([a, b, other], [b, other, a]):
        assert group(lines) == [[a, other]]
        assert "| 85.00 ± 7.07 | 2 |" in markdown(lines, {})


def test_rows_that_can_be_compared_stand_together():
    def line(config, scale=1.0, recipe="ours"):
        return result(config=f"cifar10/{config}", scale=scale, recipe=recipe)

    lines = [line("b", 0.1), line("a"), line("a", 0.1), line("a", recipe="custom"), line("b")]
    lines += [line("released/a", recipe="released")]
    order = [(r.config[8:], r.scale, r.recipe) for (r,) in group(lines)]
    assert order == [
        *(("a", 1, "ours"), ("b", 1, "ours")),
        *(("a", 0.1, "ours"), ("b", 0.1, "ours")),
        *(("released/a", 1, "released"), ("a", 1, "custom")),
    ]


def test_a_table_by_hand():
    lines = [
        result(seed=0, scores=score(0.91), seconds_per_step=0.25, peak_memory_bytes=1_500_000_000),
        result(seed=1, scores=score(0.92), seconds_per_step=0.35, peak_memory_bytes=1_250_000_000),
    ]
    assert markdown(lines, {"cifar10/baseline": 12.0}).splitlines() == [
        "| config | recipe | paper | test accuracy, % | n | steps | scale | precision | parameters | "
        "s/step, CPU, Some, 2 cores | peak GB, CPU, Some, 2 cores |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: |",
        "| `cifar10/static_dns` | ours | unverified | 91.50 ± 0.71 | 2 | 42,500 | 1 | float32 | 1,234,567 | "
        "0.3 | 1.50 |",
    ]
    assert "| ours | 12.34 | 91.50" in markdown(lines, {"cifar10/static_dns": 12.34})


def test_the_selected_accuracy_has_a_column_where_there_is_one():
    plain = result(config="cifar10/baseline")
    chosen = [result(seed=seed, selected={"step": 9, "scores": score(0.91 + seed / 100)}) for seed in (0, 1)]
    assert "selected" not in markdown([plain], {})
    header, _, first, second = markdown([plain, *chosen], {}).splitlines()
    assert "| test accuracy, % | selected test accuracy, % | n |" in header
    assert "| 90.00 | – | 1 |" in first
    assert "| 90.00 ± 0.00 | 91.50 ± 0.71 | 2 |" in second


def test_a_custom_row_tells_what_was_set():
    overrides = ["seed=3", "schedule.train_steps=7", "runtime.precision=float32", "schedule.train_steps=30"]
    overrides += ["schedule.scale=0.5", "data.root=/somewhere", "model.widths=[1, 2, 3]", "evaluation.every_steps=1"]
    row = markdown([result(recipe="custom", overrides=overrides)], {}).splitlines()[2]
    assert row.startswith("| `cifar10/static_dns` with `schedule.train_steps=30`, `model.widths=[1, 2, 3]` | custom |")
    assert "with" not in markdown([result(overrides=["seed=3"])], {})
    assert "with" not in markdown([result(recipe="custom", config="custom/mine", overrides=["seed=3"])], {})


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
    assert Result.model_validate_json(line.line()) == line


def test_scores_have_room_for_an_interval_and_a_count():
    line = result(
        scores={"test/accuracy": {"value": 0.621, "interval95": 0.004, "n": 600}, "test/recall_at_1": {"value": 0.5}}
    )
    assert line.in_words() == ["test accuracy: 62.10 ± 0.40 %", "test recall at 1: 50.00 %"]
    assert Result.model_validate_json(line.line()) == line


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


def test_what_a_custom_row_leaves_out_is_what_the_hash_leaves_out():
    values = ["seed=5", "schedule.scale=0.5", "data.root=x", "runtime.precision=mixed_bfloat16"]
    values += ["evaluation.every_steps=7", "checkpoint.keep=9"]
    names = [value.partition("=")[0] for value in values]
    assert tuple(n if n in NOT_OF_A_RECIPE else n.partition(".")[0] for n in names) == NOT_OF_A_RECIPE
    hashes = {load("configs/cifar10/static_dns.yaml", [*values[:n]], {}).config_hash() for n in range(len(values) + 1)}
    assert len(hashes) == 1


def test_rows_of_one_name_tell_their_hashes():
    lines = [result(), result(config_hash="f" * 12), result(config="cifar10/baseline")]
    names = [line.split(" | ")[0] for line in markdown(lines, {}).splitlines()[2:]]
    assert names == [
        "| `cifar10/baseline`",
        "| `cifar10/static_dns` (0123456789ab)",
        "| `cifar10/static_dns` (ffffffffffff)",
    ]
    assert "(" not in markdown([result(), result(scale=0.5)], {})


def test_no_text_breaks_a_row():
    line = result(recipe="custom", overrides=["data.name=a|b`c\nd"], device="A|B\n C")
    row = markdown([line], {}).splitlines()[2:]
    assert len(row) == 1
    assert row[0].replace("\\|", "").count("|") == 12
    assert "``data.name=a\\|b`c d``" in row[0]
    assert "| s/step, A\\|B C |" in markdown([line], {}).splitlines()[0]


@pytest.fixture
def repository(tmp_path):
    """Two documents with markers, next to a folder of results: one set of two seeds, one of a custom recipe."""
    (tmp_path / "docs").mkdir()
    for document in (tables.README, tables.PARTIAL_RUNS):
        (tmp_path / document).write_text(f"# ε\n\nbefore\n\n{BEGIN}\nold\n{END}\n\nafter ±\n", encoding="utf-8")
    with open(tmp_path / tables.README, "a") as readme:
        readme.write(EXPERIMENTS)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "custom.jsonl").write_bytes(_text(config="custom/mine", recipe="custom"))
    (tmp_path / "results" / "cifar10.jsonl").write_bytes(_text() + b"\n" + _text(seed=1) + b"\n")
    (tmp_path / "results" / "cifar100.jsonl").write_bytes(b"\n")
    return tmp_path


def write_tables(repository, check=False):
    return tables.write(repository / "results", check, repository)


def test_tables_are_written_once_and_checked(repository, capsys):
    documents = [repository / name for name in (tables.README, tables.PARTIAL_RUNS)]
    before = [path.read_bytes() for path in documents]
    assert write_tables(repository, check=True) == 1
    said = capsys.readouterr().err
    assert [line.split(":")[0] for line in said.splitlines()] == [str(path) for path in documents]
    assert said.count("make tables") == 2
    assert [path.read_bytes() for path in documents] == before

    assert write_tables(repository) == 0
    out, err = capsys.readouterr()
    assert err == ""
    readme, partial = (path.read_text(encoding="utf-8") for path in documents)
    assert readme.startswith(
        f"# ε\n\nbefore\n\n{BEGIN}\n\n{out.rstrip()}\n\n{END}\n\nafter ±\n<!-- experiments:begin -->"
    )
    assert (
        "| Static DNS | `python nsl_image_recog/static/train.py --config configs/cifar10/static_dns.yaml` |" in readme
    )
    assert "| 90.00 ± 0.00 | 2 |" in readme
    assert "(results/cifar10.jsonl)" in readme
    assert "custom" not in readme
    assert "**custom**, from [its lines](../results/custom.jsonl)" in partial
    assert "**cifar10" not in partial
    assert "unverified" not in partial

    stamps = [path.stat().st_mtime_ns for path in documents]
    assert write_tables(repository) == 0
    assert write_tables(repository, check=True) == 0
    assert [path.stat().st_mtime_ns for path in documents] == stamps
    with open(repository / "results" / "cifar10.jsonl", "ab") as file:
        file.write(_text(seed=2))
    assert write_tables(repository, check=True) == 1


def test_experiments_show_the_longest_runs_of_their_own_recipe():
    lines = [
        result(scores=score(0.7), steps=10625, scale=0.25),
        result(scores=score(0.9), seed=1),
        result(scores=score(0.92), seed=2),
        result(scores=score(0.99), steps=99999, recipe="custom"),
    ]
    columns = {column.name: column.cells for column in experiments(lines).columns}
    row = columns["method"].index("Static DNS")
    assert columns["test accuracy, %"][row] == Spread(pytest.approx(91.0), pytest.approx(1.414, rel=1e-3))
    assert columns["of runs of"][row] == "42,500 steps, 2 seeds"
    assert len(columns["method"]) == len(list((REPOSITORY / "configs/cifar10").glob("*.yaml")))
    assert len(set(columns["method"])) == len(columns["method"])
    assert columns["test accuracy, %"][columns["method"].index("Plain CNN-9")] is None
    short = {column.name: column.cells for column in experiments(lines[:1]).columns}
    assert short["of runs of"][row] == "10,625 steps (scale 0.25), 1 seed"


def test_the_committed_tables_are_up_to_date(command):
    assert command("tables", "--check")[0] == 0


def test_without_lines_the_tables_say_so(tmp_path):
    assert tables.tables(tables.README, tmp_path) == "No finished run is recorded yet."


@pytest.mark.parametrize(
    "text",
    ["", f"{BEGIN}\n", f"{END}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{BEGIN}\n{END}\n", f"{BEGIN}\n{END}\n{END}\n"],
)
def test_markers_have_to_be_there_once_and_in_order(text, repository, capsys):
    path = repository / tables.README
    path.write_text(text)
    message = refusal(write_tables, repository)
    assert message.startswith(f"{path}: ")
    assert f"`{BEGIN}`" in message
    assert "cifar10/static_dns" in capsys.readouterr().out  # seen all the same
    assert path.read_text() == text


def test_tables_of_a_bad_line_or_without_a_document(repository):
    (repository / tables.PARTIAL_RUNS).unlink()
    assert refusal(write_tables, repository).endswith("partial_runs.md: cannot be read (No such file or directory).")
    results = repository / "results"
    (results / "cifar10.jsonl").write_text("<<<<<<< HEAD\n")
    before = (repository / tables.README).read_bytes()
    assert refusal(write_tables, repository).startswith(f"{results}/cifar10.jsonl, line 1: ")
    assert (repository / tables.README).read_bytes() == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "cifar10/static_dns: high",
        "cifar10/static_dns: true",
        "cifar10/static_dns: 912",
        "a: {",
        "\x00",
        "1: 2",
    ],
)
def test_paper_values_are_percentages(text, tmp_path):
    path = tmp_path / "paper_values.yaml"
    path.write_text(text)
    assert refusal(read_paper_values, path).startswith(f"{path}: expected `config: test accuracy in percent`")


def test_paper_values_are_of_shipped_configs(tmp_path):
    path = tmp_path / "paper_values.yaml"
    assert read_paper_values(path) == {}
    path.write_text("cifar10/static_dns: 12.5\ncifar10/baseline: 12\n")
    assert read_paper_values(path) == {"cifar10/static_dns": 12.5, "cifar10/baseline": 12}
    path.write_text("cifar10/statc_dns: 12.5\n")
    assert "Did you mean `cifar10/static_dns`?" in refusal(read_paper_values, path)


# plots


ACCURACY = "accuracy (%): test; training, thin"


def lines_of(axes):
    return [(np.array(line.get_xdata()), np.array(line.get_ydata())) for line in axes.lines]


def test_a_figure_holds_the_raw_points_and_three_curves_a_run(make_run):
    runs = [make_run("one", rows=train_rows()), make_run("two", {"config": "cifar10/baseline"}, train_rows(loss=3.0))]
    figure = plots.training_figure(runs, "both")
    loss, accuracy = figure.axes
    assert (len(loss.lines), len(accuracy.lines)) == (4, 4)
    for raw, curve, fit in ((loss.lines[0], loss.lines[1], 2.0), (loss.lines[2], loss.lines[3], 3.0)):
        assert raw.get_linestyle() == "None"
        np.testing.assert_allclose(raw.get_xydata(), [[10, fit], [20, fit / 2], [30, fit / 3]])
        np.testing.assert_allclose(curve.get_xydata(), raw.get_xydata())
    for line in accuracy.lines[::2]:  # training
        np.testing.assert_allclose(line.get_xydata(), [[10, 25], [20, 25], [30, 25]])
    for line in accuracy.lines[1::2]:
        np.testing.assert_allclose(line.get_xydata(), [[20, 20], [30, 30]])
        assert line.get_marker() in plots.MARKERS
    assert (loss.get_xlabel(), accuracy.get_xlabel()) == ("step", "step")
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("training loss (without penalties)", ACCURACY)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cifar10/static_dns", "cifar10/baseline"]
    assert figure.get_suptitle() == "both"
    looks = [(line.get_color(), line.get_marker()) for line in accuracy.lines[1::2]]
    assert len(set(looks)) == 2
    assert [line.get_color() for line in loss.lines[1::2]] == [color for color, _ in looks]


def test_a_picture_has_the_promised_size(make_run, tmp_path, command):
    run = make_run(rows=train_rows())
    code, out, err = command("plots", run, "--out", tmp_path / "curves.png", "--title", "one run")
    assert (code, out, err) == (0, f"{tmp_path}/curves.png\n", "")
    with PIL.Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == (1800, 684)  # 9 × (3.2 + 0.22) inches, 200 dots each
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 10
    assert plots.training_curves([run], tmp_path / "curves.svg").read_text().startswith("<?xml")


def test_nine_runs_can_be_told_apart(make_run):
    runs = [make_run(f"s{n}", rows=train_rows()) for n in range(9)]
    figure = plots.training_figure(runs)
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[1].lines[1::2]}
    assert len(looks) == 9
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [f"cifar10/static_dns, s{n}" for n in range(9)]  # one config: told by the folders
    figure.draw_without_rendering()
    place = figure.legends[0].get_window_extent()
    assert place.x0 >= 0
    assert place.x1 <= figure.bbox.width


def test_a_long_run_is_smoothed_lightly_and_has_no_markers(make_run):
    rng = np.random.default_rng(0)
    rows = [
        {"step": s, "split": "train", "cross_entropy": 1 + 0.2 * rng.standard_normal()} for s in range(10, 20001, 10)
    ]
    rows += [{"step": s, "split": "test", "accuracy": 0.5} for s in range(100, 20001, 100)]
    loss, accuracy = plots.training_figure([make_run(rows=rows)]).axes
    raw, curve = (line.get_ydata() for line in loss.lines)
    assert len(raw) == len(curve) == 2000
    assert np.std(curve[20:-20]) < np.std(raw) / 3
    assert accuracy.lines[1].get_marker() == ""


def test_smoothing_against_a_loop():
    values = np.random.default_rng(0).standard_normal(1000)
    slow = []
    for i in range(1000):
        reach = min(5, i, 999 - i)
        slow.append(np.mean(values[i - reach : i + reach + 1]))
    np.testing.assert_allclose(plots.smoothed(values), slow, atol=1e-12)
    np.testing.assert_allclose(plots.smoothed(np.arange(1000.0)), np.arange(1000.0))  # no lag, no bent ends
    np.testing.assert_allclose(plots.smoothed(values[:199]), values[:199], atol=1e-12)
    np.testing.assert_allclose(plots.smoothed(values[:1]), values[:1])


@pytest.mark.parametrize(("steps", "scale"), [(30, "linear"), (200, "log")])
def test_a_loss_that_falls_far_has_a_logarithmic_axis(steps, scale, make_run):
    loss = plots.training_figure([make_run(rows=train_rows(steps))]).axes[0]
    assert loss.get_yscale() == scale


def test_runs_with_hardly_any_rows_are_drawn(make_run, tmp_path):
    one = make_run("one", rows=train_rows(10))
    none = make_run("none", rows=train_rows(10)[:1])  # before the first evaluation
    (none / "metrics.jsonl").open("a").write('{"step": 20, "spl')  # cut off while it was written
    figure = plots.training_figure([one, none])
    assert [len(steps) for steps, _ in lines_of(figure.axes[1])] == [1, 1, 1, 0]
    assert figure.axes[1].lines[1].get_marker() == "o"
    assert plots.training_curves([one, none], tmp_path / "few.png").stat().st_size > 10_000


def test_plots_refuse_what_they_cannot_draw(make_run, tmp_path, command):
    run = make_run(rows=train_rows())
    assert "not a run folder" in refusal(plots.training_curves, [tmp_path], tmp_path / "x.png")
    assert "no row of the training loss" in refusal(plots.training_curves, [make_run("new")], tmp_path / "x.png")
    assert ".png, .svg, .pdf" in refusal(plots.training_curves, [run], tmp_path / "x.tiff")
    assert "cannot be written" in refusal(plots.training_curves, [run], tmp_path / "none" / "x.png")
    assert command("plots", tmp_path, "--out", tmp_path / "x.png")[0] == 2
    assert not (tmp_path / "x.png").exists()
