"""Tables made of result lines, and how they get into the documents. No training."""

import os

import pytest
from commands import exit_code
from result_lines import LINE, json_line, refusal, result, score

from neural_similarity.config import NOT_OF_A_RECIPE, REPOSITORY, load
from neural_similarity.reporting import reproduce, tables
from neural_similarity.reporting.experiments import experiments
from neural_similarity.reporting.markdown import as_markdown
from neural_similarity.reporting.paper_values import read_paper_values
from neural_similarity.reporting.plans import names
from neural_similarity.reporting.summary import GROUPED_BY, Spread, group, summarize
from neural_similarity.training.results import Result

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
EXPERIMENTS = "<!-- experiments:begin -->\n<!-- experiments:end -->\n"


def markdown(lines):
    return as_markdown(summarize(lines))


def test_mean_and_deviation_by_hand():
    assert Spread.of([90.0]) == Spread(90.0, None)
    assert Spread.of([90.0, 92.0, 94.0]) == Spread(92.0, 2.0)  # √((4 + 0 + 4) / 2)
    assert Spread.of([0.5, 0.5]) == Spread(0.5, 0.0)


def test_episodes_have_an_interval_and_a_protocol():
    lines = [
        result(seed=seed, protocol="5-way 1-shot", scores={"test/accuracy": {"value": 0.6, "interval95": width}})
        for seed, width in ((0, 0.007), (1, 0.009))
    ]
    columns = {column.name: column.cells for column in summarize([*lines, result(config="cifar10/baseline")]).columns}
    assert columns["test accuracy, %"] == [Spread(90.0, None), Spread(60.0, 0.0)]
    assert columns["95 % interval, ±"] == [None, pytest.approx(0.8)]
    assert columns["measured"] == [None, "5-way 1-shot"]
    plain = {column.name for column in summarize([result()]).columns}
    assert not plain & {"95 % interval, ±", "measured"}


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
        assert "| 85.00 ± 7.07 | 2 |" in markdown(lines)


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
    assert markdown(lines).splitlines() == [
        "| config | recipe | test accuracy, % | n | steps | scale | precision | parameters | "
        "s/step, CPU, Some, 2 cores | peak GB, CPU, Some, 2 cores |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: |",
        "| `cifar10/static_dns` | ours | 91.50 ± 0.71 | 2 | 42,500 | 1 | float32 | 1,234,567 | 0.3 | 1.50 |",
    ]


def test_the_selected_accuracy_has_a_column_where_there_is_one():
    plain = result(config="cifar10/baseline")
    chosen = [result(seed=seed, selected={"step": 9, "scores": score(0.91 + seed / 100)}) for seed in (0, 1)]
    assert "selected" not in markdown([plain])
    header, _, first, second = markdown([plain, *chosen]).splitlines()
    assert "| test accuracy, % | selected test accuracy, % | n |" in header
    assert "| 90.00 | – | 1 |" in first
    assert "| 90.00 ± 0.00 | 91.50 ± 0.71 | 2 |" in second


def test_a_custom_row_tells_what_was_set():
    overrides = ["seed=3", "schedule.train_steps=7", "runtime.precision=float32", "schedule.train_steps=30"]
    overrides += ["schedule.scale=0.5", "data.root=/somewhere", "model.widths=[1, 2, 3]", "evaluation.every_steps=1"]
    row = markdown([result(recipe="custom", overrides=overrides)]).splitlines()[2]
    assert row.startswith("| `cifar10/static_dns` with `schedule.train_steps=30`, `model.widths=[1, 2, 3]` | custom |")
    assert "with" not in markdown([result(overrides=["seed=3"])])
    assert "with" not in markdown([result(recipe="custom", config="custom/mine", overrides=["seed=3"])])


def test_what_a_custom_row_leaves_out_is_what_the_hash_leaves_out():
    values = ["seed=5", "schedule.scale=0.5", "data.root=x", "runtime.precision=mixed_bfloat16"]
    values += ["evaluation.every_steps=7", "checkpoint.keep=9"]
    names = [value.partition("=")[0] for value in values]
    assert tuple(n if n in NOT_OF_A_RECIPE else n.partition(".")[0] for n in names) == NOT_OF_A_RECIPE
    hashes = {load("configs/cifar10/static_dns.yaml", [*values[:n]], {}).config_hash() for n in range(len(values) + 1)}
    assert len(hashes) == 1


def test_rows_of_one_name_tell_their_hashes():
    lines = [result(), result(config_hash="f" * 12), result(config="cifar10/baseline")]
    names = [line.split(" | ")[0] for line in markdown(lines).splitlines()[2:]]
    assert names == [
        "| `cifar10/baseline`",
        "| `cifar10/static_dns` (0123456789ab)",
        "| `cifar10/static_dns` (ffffffffffff)",
    ]
    assert "(" not in markdown([result(), result(scale=0.5)])


def test_no_text_breaks_a_row():
    line = result(recipe="custom", overrides=["data.name=a|b`c"], device="A|B  C")
    row = markdown([line]).splitlines()[2:]
    assert len(row) == 1
    assert row[0].replace("\\|", "").count("|") == 11
    assert "``data.name=a\\|b`c``" in row[0]
    assert "| s/step, A\\|B C |" in markdown([line]).splitlines()[0]


@pytest.mark.parametrize(
    ("text", "plain", "code"),
    [
        ("<b>x</b>", "&lt;b&gt;x&lt;/b&gt;", "<code>&lt;b&gt;x&lt;/b&gt;</code>"),
        (END, "&lt;!-- results:end --&gt;", "<code>&lt;!-- results:end --&gt;</code>"),
        ("a`` ` b", "a\\`\\` \\` b", "```a`` ` b```"),
        ("`", "\\`", "`` ` ``"),
        ("[a](b) *c* _d_ e_f ~g~", "\\[a\\](b) \\*c\\* \\_d\\_ e_f \\~g\\~", "`[a](b) *c* _d_ e_f ~g~`"),
        ("a & b | c", "a &amp; b \\| c", "`a & b \\| c`"),
        ("a\\", "a\\\\", "`a\\`"),
        ("mixed_bfloat16", "mixed_bfloat16", "`mixed_bfloat16`"),
    ],
)
def test_texts_of_result_lines_are_shown_as_they_are(text, plain, code):
    lines = [result(precision=text, device=text, recipe="custom", config=text, overrides=[text])]
    header, _, row = markdown(lines).splitlines()
    assert f"| s/step, {plain} |" in header
    assert f"| {plain} | 1,234,567 |" in row
    assert row.startswith(f"| {code} with {code} | custom |")


def test_a_line_cannot_end_the_tables_of_a_document(repository):
    path = repository / "results" / "custom.jsonl"
    path.write_bytes(json_line(config=END, recipe="custom", overrides=[BEGIN, END], device=END))
    for _ in range(2):
        assert tables.write(repository / "results", repository=repository) == 0
    text = (repository / tables.PARTIAL_RUNS).read_text()
    assert (text.count(BEGIN), text.count(END)) == (1, 1)
    assert text.endswith(f"{END}\n\nafter ±\n")


def test_what_is_no_file_does_not_hang(repository):
    (repository / "results" / "custom.jsonl").unlink()
    os.mkfifo(repository / "results" / "custom.jsonl")
    assert "custom.jsonl: cannot be read (a pipe, not a file)." in refusal(tables.partial_runs, repository / "results")
    os.mkfifo(repository / "pipe")
    assert "pipe: expected `config: {value: percent" in refusal(read_paper_values, repository / "pipe")


def planned_line(**changes):
    """The bytes of a line of cifar10/static_dns that stands in the table cifar10."""
    recipe = load("configs/cifar10/static_dns.yaml", environment={}).config_hash()
    return json_line(config_hash=recipe, **changes)


@pytest.fixture
def repository(tmp_path):
    """Documents with markers, next to a folder of results: two seeds of a row of a table, and a custom recipe."""
    (tmp_path / "docs").mkdir()
    (tmp_path / tables.DATA).write_text("<!-- data-sets:begin -->\n<!-- data-sets:end -->\n")
    (tmp_path / tables.ALL_TABLES).write_text(
        "".join(f"<!-- {n}:begin -->\n<!-- {n}:end -->\n" for n in ("tables", "costs", "weights"))
    )
    for document in (tables.README, tables.PARTIAL_RUNS):
        (tmp_path / document).write_text(f"# ε\n\nbefore\n\n{BEGIN}\nold\n{END}\n\nafter ±\n", encoding="utf-8")
    with open(tmp_path / tables.README, "a") as readme:
        readme.write(EXPERIMENTS)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "custom.jsonl").write_bytes(json_line(config="custom/mine", recipe="custom"))
    (tmp_path / "results" / "cifar10.jsonl").write_bytes(planned_line() + b"\n" + planned_line(seed=1) + b"\n")
    (tmp_path / "results" / "cifar100.jsonl").write_bytes(b"\n")
    return tmp_path


def write_tables(repository, check=False):
    return tables.write(repository / "results", check, repository)


def test_tables_are_written_once_and_checked(repository, capsys):
    documents = [repository / name for name in (tables.README, tables.ALL_TABLES, tables.PARTIAL_RUNS, tables.DATA)]
    before = [path.read_bytes() for path in documents]
    assert write_tables(repository, check=True) == 1
    said = capsys.readouterr().err
    assert [line.split(":")[0] for line in said.splitlines()] == [str(path) for path in documents]
    assert said.count("tables --results") == 4
    assert [path.read_bytes() for path in documents] == before

    assert write_tables(repository) == 0
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == [str(path) for path in documents]
    assert err == ""
    readme, all_tables, partial, data_page = (path.read_text(encoding="utf-8") for path in documents)
    assert readme.startswith(f"# ε\n\nbefore\n\n{BEGIN}\n\n**Neural similarity on CIFAR-10**, scale 1, float32 (of 11 ")
    assert f"\n\n{END}\n\nafter ±\n<!-- experiments:begin -->" in readme
    assert (
        "| Static DNS | `python nsl_image_recog/static/train.py --config configs/cifar10/static_dns.yaml` |" in readme
    )
    assert "| 90.00 ± 0.00 | 2 |" in readme
    assert "[`cifar10/static_dns`](configs/cifar10/static_dns.yaml)" in readme
    assert "[`cifar10/static_dns`](../configs/cifar10/static_dns.yaml)" in all_tables
    assert all_tables.count("| 90.00 ± 0.00 | 2 |") == 1
    assert all_tables.count("No finished run is recorded yet.") == len(names()) - 1
    assert "custom/mine" not in readme + all_tables
    assert "**custom**, from [its lines](../results/custom.jsonl)" in partial
    assert "**cifar10" not in partial
    assert "unverified" not in partial
    assert "| `cifar10` | [CIFAR-10](" in data_page
    assert "[`cifar10/static_dns`](../weights/cifar10/static_dns.npz)" in all_tables

    stamps = [path.stat().st_mtime_ns for path in documents]
    assert write_tables(repository) == 0
    assert write_tables(repository, check=True) == 0
    assert [path.stat().st_mtime_ns for path in documents] == stamps
    with open(repository / "results" / "cifar10.jsonl", "ab") as file:
        file.write(planned_line(seed=2))
    assert write_tables(repository, check=True) == 1


def test_a_header_without_hours_comes_last_and_one_without_a_command_is_a_message(tmp_path, monkeypatch):
    folder = tmp_path / "cifar10"
    folder.mkdir()
    monkeypatch.setattr("neural_similarity.reporting.experiments.CONFIGS", tmp_path)
    for name, cost in (("unmeasured", "not measured yet"), ("long", "20 h"), ("short", "9 h on 2 CPU cores")):
        header = f"# {name} on CIFAR-10: x.\n# Run:  python {name}/train.py\n# Paper: none   Cost: {cost}\n"
        (folder / f"{name}.yaml").write_text(header)
    columns = {column.name: column.cells for column in experiments([]).columns}
    assert columns["method"] == ["Short", "Long", "Unmeasured"]
    assert columns["command"][0] == "`python short/train.py`"
    (folder / "short.yaml").write_text("# Short on CIFAR-10.\nfamily: image_recognition\n")
    assert refusal(experiments, []).startswith(f"{folder}/short.yaml: its header needs a line `# Run: <command>`")


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
    assert columns["length of these runs"][row] == "42,500 steps, 2 seeds"
    assert len(columns["method"]) == len(list((REPOSITORY / "configs/cifar10").glob("*.yaml")))
    assert len(set(columns["method"])) == len(columns["method"])
    assert columns["test accuracy, %"][columns["method"].index("Plain CNN-9")] is None
    short = {column.name: column.cells for column in experiments(lines[:1]).columns}
    assert short["length of these runs"][row] == "10,625 steps (scale 0.25), 1 seed"


def test_the_committed_tables_are_up_to_date():
    assert exit_code(reproduce.main, "--check") == 0


def test_own_images_have_a_table_of_their_own(tmp_path):
    lines = [
        json_line(data="folder", recipe="custom", seed=i, config_hash=f"{i}" * 12, overrides=["data.name=folder"])
        for i in range(2)
    ]
    (tmp_path / "folder.jsonl").write_bytes(b"\n".join(lines))
    shown = tables.partial_runs(tmp_path)
    assert "**folder**" in shown
    for i in range(2):
        assert f"`cifar10/static_dns` with `data.name=folder` ({i * 111111111111:012})" in shown


def test_without_lines_the_tables_say_so(tmp_path):
    assert tables.readme_tables(tmp_path) == tables.partial_runs(tmp_path) == "No finished run is recorded yet."


@pytest.mark.parametrize(
    "text",
    ["", f"{BEGIN}\n", f"{END}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{BEGIN}\n{END}\n", f"{BEGIN}\n{END}\n{END}\n"],
)
def test_markers_have_to_be_there_once_and_in_order(text, repository):
    path = repository / tables.README
    path.write_text(text)
    message = refusal(write_tables, repository)
    assert message.startswith(f"{path}: ")
    assert f"`{BEGIN}`" in message
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
        "cifar10/static_dns: 91.2",
        "cifar10/static_dns: {value: 91.2}",
        'cifar10/static_dns: {value: 91.2, source: ""}',
        "cifar10/static_dns: {value: high, source: x}",
        "cifar10/static_dns: {value: true, source: x}",
        "cifar10/static_dns: {value: 912, source: x}",
        "cifar10/static_dns: {value: 91.2, source: x, page: 3}",
        "a: {",
        "\x00",
        "1: 2",
    ],
)
def test_paper_values_are_percentages_with_a_source(text, tmp_path):
    path = tmp_path / "paper_values.yaml"
    path.write_text(text)
    assert refusal(read_paper_values, path).startswith(f"{path}: expected `config: {{value: percent")


def test_paper_values_are_of_shipped_configs(tmp_path):
    path = tmp_path / "paper_values.yaml"
    assert read_paper_values(path) == {}
    path.write_text('cifar10/static_dns: {value: 12.5, source: "Table 1"}\ncifar10/baseline: {value: 12, source: x}\n')
    read = read_paper_values(path)
    assert {name: (one.value, one.source) for name, one in read.items()} == {
        "cifar10/static_dns": (12.5, "Table 1"),
        "cifar10/baseline": (12.0, "x"),
    }
    path.write_text("cifar10/statc_dns: {value: 12.5, source: x}\n")
    assert "Did you mean `cifar10/static_dns`?" in refusal(read_paper_values, path)


def test_the_page_explains_every_field_and_every_column():
    page = (REPOSITORY / "docs/results.md").read_text(encoding="utf-8")
    assert [name for name in Result.model_fields if f"| `{name}` |" not in page] == []
    scores = {"test/accuracy": {"value": 0.5, "interval95": 0.01}}
    line = result(selected={"step": 5, "scores": score(0.5)}, scores=scores, protocol="5-way")
    header = markdown([line]).splitlines()[0]
    found = [name.removesuffix(f", {LINE['device']}") for name in header.strip("| ").split(" | ")]
    assert [name for name in found if f"| {name} |" not in page] == []
