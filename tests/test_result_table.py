"""Tables of methods: their rows, differences, intervals, sizes, notes and costs. No training."""

import json
import math

import numpy as np
import pytest
from result_lines import refusal, result, score

from neural_similarity.config import load
from neural_similarity.families import family_of
from neural_similarity.reporting.costs import (
    Estimate,
    cost_of,
    cost_table,
    costs,
    in_words,
    read_measurements,
    seconds_of,
)
from neural_similarity.reporting.differences import seed_difference
from neural_similarity.reporting.formats import FORMATS, as_csv, as_latex
from neural_similarity.reporting.paper_values import PaperValue
from neural_similarity.reporting.plans import load_plan
from neural_similarity.reporting.result_table import measured_at, result_table
from neural_similarity.reporting.summary import Column, Difference, Name, Spread, Table

HASH = {name: load(f"configs/{name}.yaml").config_hash() for name in ("cifar10/baseline", "cifar10/static_dns")}


def line(config, seed=0, accuracy=0.9, **changes):
    return result(config=config, config_hash=HASH[config], seed=seed, scores=score(accuracy), **changes)


def cells(table, name):
    return next(column.cells for column in table.columns if column.name == name)


def test_difference_by_hand():
    """Of three seeds: differences 1, 2 and 3 points, mean 2, standard deviation 1, t = 4.303."""
    ours = [result(seed=seed, scores=score(value)) for seed, value in enumerate((0.91, 0.93, 0.95, 0.5))]
    base = [result(seed=seed, scores=score(value)) for seed, value in ((2, 0.92), (0, 0.90), (1, 0.91), (9, 0.1))]
    found = seed_difference(ours, base)
    assert (found.mean, found.n) == (pytest.approx(2.0), 3)
    assert found.interval == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    one = seed_difference(ours[:1], base)
    assert (one.mean, one.interval, one.n) == (pytest.approx(1.0), None, 1)
    assert seed_difference(ours[3:], base) is None


def test_the_interval_holds_the_true_difference_nineteen_times_in_twenty():
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(600):
        rows = []
        shared = random.normal(0.5, 0.1, 3)  # what a seed does to both, and pairing takes out again
        for better in (0.0, 0.02):
            values = np.clip(shared + better + random.normal(0, 0.01, 3), 0, 1)
            rows.append([result(seed=seed, scores=score(float(value))) for seed, value in enumerate(values)])
        found = seed_difference(rows[1], rows[0])
        hits += abs(found.mean - 2) <= found.interval
    assert 0.92 < hits / 600 < 0.98


def test_a_table_of_two_seeds_at_a_scale():
    lines = [line("cifar10/baseline", seed, 0.90 + seed / 100, scale=0.5, steps=21250) for seed in (0, 1)]
    lines += [line("cifar10/static_dns", seed, 0.93 + 2 * seed / 100, scale=0.5, steps=21250) for seed in (0, 1)]
    lines += [line("cifar10/static_dns", 0, 0.5), result(config="cifar10/static_dns", scale=0.5)]
    plan = load_plan("cifar10", scale=0.5, precision="float32")
    table = result_table(plan, lines, {"cifar10/static_dns": PaperValue(value=95.5, source="Table 3")})
    row = cells(table, "method").index("Static DNS")
    assert cells(table, "test accuracy, %")[row] == Spread(pytest.approx(94.0), pytest.approx(math.sqrt(2)))
    difference = cells(table, "− Plain CNN-9, points")[row]
    assert (difference.mean, difference.n) == (pytest.approx(3.5), 2)
    assert difference.interval == pytest.approx(12.7062 * math.sqrt(0.5) / math.sqrt(2), rel=1e-4)
    assert cells(table, "− Plain CNN-9, points")[0] is None
    assert "− Plain CNN-9, widened, points" not in [column.name for column in table.columns]
    assert cells(table, "n") == [2, 0, 2, *[0] * 9]
    assert cells(table, "paper")[row] == 95.5
    assert cells(table, "paper")[0] == "unverified"
    assert cells(table, "steps")[0] == 21_250
    assert table.notes[-1] == "Published, Static DNS: Table 3."


def test_sizes_are_those_of_the_networks():
    table = result_table(load_plan("cifar10"), [], {})
    assert cells(table, "parameters")[:5] == [511_200, 891_312, 511_281, 511_929, 890_946]
    assert cells(table, "multiply-adds")[:2] == [76_402_688, 136_211_872]


def test_parameters_agree_with_what_a_few_shot_run_counts():
    config = load("configs/cifar_fs/5shot_baseline.yaml")
    family = family_of(config)
    assert family.num_classes(config) == 64
    assert cells(result_table(load_plan("cifar_fs_5shot"), [], {}), "parameters")[:3] == [129_280, 129_216, 112_832]


def test_rows_of_another_budget_are_not_compared():
    plan = load_plan("cifar_fs_5shot", precision="float32")
    lines = []
    for name in ("5shot_protonet", "5shot_dynamic_proto", "5shot_maml"):
        config = load(f"configs/cifar_fs/{name}.yaml")
        lines.append(result(config=f"cifar_fs/{name}", config_hash=config.config_hash(), data="cifar_fs"))
    table = result_table(plan, lines, {})
    methods = cells(table, "method")
    differences = cells(table, "− ProtoNet, points")
    assert differences[methods.index("Dynamic NSN, as ProtoNet")] == Difference(0.0, None, 1)
    assert differences[methods.index("MAML")] is None
    assert "Not compared with ProtoNet, as trained on another number of images: MAML." in table.notes


def test_rows_that_set_something_are_custom_and_in_no_paper():
    table = result_table(load_plan("cifar_fs_1shot"), [], {})
    assert set(cells(table, "recipe")) == {"ours"}
    equal = result_table(load_plan("cifar_fs_equal"), [], {})
    assert set(cells(equal, "recipe")) == {"custom"}
    assert "paper" not in [column.name for column in equal.columns]  # it reproduces nothing
    assert cells(equal, "config")[0].changes == ("method.training_n_way=5",)


def test_a_table_is_shown_at_each_scale_that_has_lines():
    lines = [line("cifar10/baseline", scale=0.25), line("cifar10/baseline", precision="mixed_bfloat16")]
    lines += [line("cifar10/static_dns", seed=7), result(scale=0.7)]
    found = [(plan.scale, plan.precision) for plan in measured_at(load_plan("cifar10"), lines)]
    assert found == [(1.0, "float32"), (1.0, "mixed_bfloat16"), (0.25, "float32")]


# Formats

NASTY = '<script>alert("&")</script> 100 % _a_ $x$ \\ {b} ~ ^ # | `c`\n% d'
TABLE = Table(
    [
        Column("method", None, [NASTY, "B"]),
        Column("config", None, [Name("a/b", ("x.y=<1>",)), Name("c")]),
        Column("accuracy, %", ".2f", [Spread(90.5, 0.25), Spread(91.0, None)]),
        Column("− B, points", ".2f", [Difference(-0.5, 0.25, 3), None]),
        Column("n", ",", [1234, 0]),
    ],
    "Title <b>",
    ("a note <i>",),
)


def test_csv_has_plain_numbers():
    import csv
    import io

    rows = list(csv.reader(io.StringIO(as_csv(TABLE))))
    assert rows[0] == [
        *("method", "config", "accuracy, %", "accuracy, %, std"),
        *("− B, points", "− B, points, interval95", "− B, points, n", "n"),
    ]
    assert rows[1][1:] == ["a/b with x.y=<1>", "90.5", "0.25", "-0.5", "0.25", "3", "1234"]
    assert rows[2] == ["B", "c", "91.0", "", "", "", "", "0"]


def test_latex_escapes_every_special_character():
    text = as_latex(TABLE)
    (row,) = (one for one in text.splitlines() if "script" in one)
    assert r"100 \% \_a\_ \$x\$ \textbackslash{} \{b\} \textasciitilde{} \textasciicircum{} \# $|$ `c` \% d" in row
    assert r"90.50 $\pm$ 0.25 & $-$0.50 $\pm$ 0.25 (n 3) & 1,234 \\" in row
    assert text.count("\\\\\n") == 3
    starts = as_latex(Table([Column("*", None, ["[1]"])])).splitlines()
    assert starts[3:6] == [r"{}* \\", r"\midrule", r"{}[1] \\"]
    assert as_csv(Table([Column("scale", "g", [1e-5])])) == "scale\n1e-05"
    assert r"\begin{tabular}{llrrr}" in text


def test_html_escapes_every_text():
    text = FORMATS["html"](TABLE)
    assert "<script" not in text
    assert "&lt;script&gt;alert(&#34;&amp;&#34;)&lt;/script&gt;" in text
    assert "<b>" not in text
    assert "<i>" not in text
    assert '<td class="number">−0.50 ± 0.25 (n 3)</td>' in text
    assert text.count("<tr>") == 3


def test_markdown_has_the_notes_below():
    text = FORMATS["markdown"](TABLE)
    assert text.splitlines()[-2:] == ["", "- a note &lt;i&gt;"]
    assert "<script" not in text


# Costs

BENCHMARK = {
    "benchmark": "train_step",
    "batch_size": 128,
    "environment": {"device": "GPU"},
    "rows": [
        {"network": "static_dns", "kind": "ours", "precision": "float32", "median_s": 0.2},
        {"network": "static_dns", "kind": "released", "precision": "float32", "median_s": 9.0},
    ],
}


def test_costs_come_from_benchmarks_then_lines_then_the_header():
    config = load("configs/cifar10/static_dns.yaml")
    lines = [line("cifar10/static_dns", seed, seconds_per_step=0.4 + seed) for seed in (0, 1, 2)]
    again = {**BENCHMARK, "rows": [{**BENCHMARK["rows"][0], "median_s": 0.4}]}
    found = costs("cifar10/static_dns", config, lines, [BENCHMARK, again])
    assert [(cost.source, cost.device) for cost in found] == [
        *(("benchmark", "GPU"), ("result lines", "CPU, Some, 2 cores")),
        ("header of the config", None),
    ]
    assert [cost.seconds_per_step for cost in found] == pytest.approx([0.3, 1.4, 4 * 3600 / 42_500])
    assert cost_of("cifar10/static_dns", config, "CPU, Some, 2 cores", lines, [BENCHMARK]).source == "result lines"
    assert cost_of("cifar10/static_dns", config, None, lines, [BENCHMARK]).device == "GPU"
    other_batch = load("configs/cifar10/static_dns.yaml", ["data.global_batch_size=64"])
    assert costs("cifar10/static_dns", other_batch, lines, [BENCHMARK]) == []


def test_released_configs_and_cifar100_cost_what_their_network_does():
    for name in ("cifar10/released/static_dns", "cifar100/static_dns", "cifar100/released/static_dns"):
        found = cost_of(name, load(f"configs/{name}.yaml"), "GPU", [], [BENCHMARK])
        assert (found.source, found.seconds_per_step) == ("benchmark", 0.2)


def test_the_table_of_costs_tells_what_a_whole_run_takes():
    rows = {name: load(f"configs/{name}.yaml") for name in HASH}
    rows["cifar10/released/static_dns"] = load("configs/cifar10/released/static_dns.yaml")
    table = cost_table(rows, [line("cifar10/baseline", seconds_per_step=0.36)], [BENCHMARK])
    assert [name.config for name in cells(table, "config")] == list(HASH)  # released: as static_dns
    assert cells(table, "GPU, float32") == [None, "2 h 22 min"]
    assert cells(table, "CPU, Some, 2 cores, float32") == ["4 h 15 min (in a run)", None]


def test_estimates_in_words():
    words = [in_words(seconds) for seconds in (40, 600, 3_600 * 3 + 600, 3_600 * 53)]
    assert words == ["40 s", "10 min", "3 h 10 min", "2 days 5 h"]
    assert str(Estimate(600, 0)) == "about 10 min"
    assert str(Estimate(600, 1)) == "about 10 min, and 1 run of unknown cost"
    assert str(Estimate(0, 2)) == "their cost is not known"
    plan = load_plan("cifar10", scale=0.5, seeds=[0], precision="float32")
    some = [run for run in plan.runs() if run.row.config == "cifar10/static_dns"]
    cost = cost_of("cifar10/static_dns", some[0].config, "GPU", [], [BENCHMARK])
    assert Estimate.of([seconds_of(some[0], cost), None]) == Estimate(pytest.approx(0.2 * 21_250), 1)


def test_a_changed_config_costs_what_a_run_of_it_did():
    changed = load("configs/cifar10/static_dns.yaml", ["model.widths=[64, 128, 256]"])
    assert costs("cifar10/static_dns", changed, [line("cifar10/static_dns")], [BENCHMARK]) == []
    ran = line("cifar10/static_dns", seconds_per_step=0.7).model_copy(update={"config_hash": changed.config_hash()})
    (found,) = costs("cifar10/static_dns", changed, [ran], [BENCHMARK])
    assert (found.source, found.seconds_per_step) == ("result lines", 0.7)


def test_a_header_may_tell_two_precisions():
    config = load("configs/mini_imagenet/5shot_protonet.yaml", ["runtime.precision=mixed_bfloat16"])
    found = costs("mini_imagenet/5shot_protonet", config, [], [])
    assert [(cost.precision, cost.seconds_per_step) for cost in found] == [(None, 1.44), ("mixed_bfloat16", 1.08)]
    assert cost_of("mini_imagenet/5shot_protonet", config, None, [], []).seconds_per_step == 1.08
    assert (
        costs("mini_imagenet/1shot_anil", load("configs/mini_imagenet/1shot_anil.yaml"), [], []) == []
    )  # not measured


def test_damaged_measurements_are_told(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    path = tmp_path / "benchmarks" / "x.jsonl"
    path.write_text(json.dumps(BENCHMARK) + "\n\n")
    assert read_measurements(tmp_path)[0]["rows"] == BENCHMARK["rows"]
    for text, said in (("{", "Invalid JSON"), ('{"benchmark": "x"}', "`environment`: Field required")):
        path.write_text(json.dumps(BENCHMARK) + "\n" + text)
        assert f"{path}, line 2: no measurement" in refusal(read_measurements, tmp_path)
        assert said in refusal(read_measurements, tmp_path)


def test_lines_count_whatever_recipe_they_name():
    """A run was custom before its config became the shipped one."""
    lines = [line("cifar10/baseline", 0, 0.9, recipe="custom"), line("cifar10/baseline", 1, 0.92)]
    lines += [line("cifar10/baseline", 1, 0.5, finished="2025-01-02T03:04:05+00:00")]
    table = result_table(load_plan("cifar10", precision="float32"), lines, {})
    assert cells(table, "n")[0] == 2
    assert cells(table, "test accuracy, %")[0].mean == pytest.approx(91.0)
