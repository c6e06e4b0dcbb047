"""The files in configs/tables, and what is refused in one. No training."""

import pytest
from result_lines import refusal

from neural_similarity.config import TABLES, experiment_files, load
from neural_similarity.reporting.plans import load_plan, names

TEXT = """
title: A table
reproduces: nothing
scale: 0.5
precision: float32
seeds: [3, 4]
baselines: [Plain]
rows:
  - {method: Plain, config: cifar10/baseline}
  - {method: Static, config: cifar10/static_dns, set: [schedule.warmup_steps=7]}
"""


@pytest.fixture
def plan(tmp_path):
    """Loads `TEXT` with one piece of it replaced."""

    def plan(old="", new="", **changes):
        assert old in TEXT
        path = tmp_path / "mine.yaml"
        path.write_text(TEXT.replace(old, new, 1) if old else TEXT)
        return load_plan(str(path), **changes)

    return plan


def test_runs_are_the_rows_with_each_seed_and_the_first_seed_comes_first(plan):
    runs = plan().runs()
    assert [(run.row.method, run.seed) for run in runs] == [("Plain", 3), ("Static", 3), ("Plain", 4), ("Static", 4)]
    config = runs[3].config
    assert (config.seed, config.schedule.scale, config.runtime.precision) == (4, 0.5, "float32")
    assert (config.schedule.warmup_steps, runs[2].config.schedule.warmup_steps) == (7, 500)
    by_hand = load("configs/cifar10/static_dns.yaml", ["schedule.warmup_steps=7"])
    assert runs[3].key == ("cifar10/static_dns", by_hand.config_hash(), 0.5, "float32", 4)


def test_the_command_line_replaces_what_the_file_says(plan):
    changed = plan(scale=0.02, seeds=[9], precision="mixed_bfloat16")
    assert (changed.scale, changed.seeds, changed.precision) == (0.02, (9,), "mixed_bfloat16")
    assert [run.config.seed for run in changed.runs()] == [9, 9]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("title: A table\n", "", "`title`: Field required"),
        ("scale: 0.5", "scale: 0", "`scale`"),
        ("precision: float32", "precision: float16", "`precision`"),
        ("seeds: [3, 4]", "seeds: []", "`seeds`"),
        ("seeds: [3, 4]", "seeds: [3, 3]", "the seed 3 is there twice"),
        ("seeds: [3, 4]", "seeds: [-1]", "`seeds`: `0`"),
        ("scale: 0.5", "scale: 0.5\nname: x", "unknown key `name`"),
        ("scale: 0.5", "scal: 0.5", "unknown key `scal`. Did you mean `scale`?"),
        ("[Plain]", "[Plian]", "the baseline Plian is the method of no row. Did you mean `Plain`?"),
        ("method: Static", "method: Plain", "the method Plain is there twice"),
        ("config: cifar10/baseline}", "config: cifar10/baseline, sed: 3}", "`sed`: Extra inputs"),
        ("rows:", "rows: []\nrest:", "unknown key `rest`"),
        ("title: A table", "title: [", "not readable as YAML"),
        (TEXT, "- 3", "a table's file is a mapping"),
    ],
)
def test_mistakes_in_a_file_are_told_with_its_name(plan, old, new, said):
    message = refusal(plan, old, new)
    assert "mine.yaml" in message
    assert said in message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("cifar10/static_dns", "cifar10/static_dsn", "Did you mean `configs/cifar10/static_dns.yaml`?"),
        ("warmup_steps", "warm_steps", "unknown key `schedule.warm_steps`"),
        ("set: [schedule.warmup_steps=7]", "set: [seed=7]", "sets `seed=7`, which is the same for all rows"),
        ("set: [schedule.warmup_steps=7]", "set: [data.root=/x]", "Leave it out, and name the folder of the data sets"),
        ("cifar10/static_dns", "../configs/cifar10/static_dns", "without `.yaml`, as cifar10/static_dns."),
        ("set: [schedule.warmup_steps=7]", "set: [' runtime.precision = float32']", "for all rows of a table"),
        (
            "{method: Static, config: cifar10/static_dns, set: [schedule.warmup_steps=7]}",
            "{method: Again, config: cifar10/baseline}",
            "the rows Plain and Again are the same run",
        ),
        ("cifar10/static_dns", "cifar100/static_dns", "they are tested on cifar10 and cifar100"),
    ],
)
def test_mistakes_in_a_row_are_told(plan, old, new, said):
    assert said in refusal(plan(old, new).runs)


def test_few_shot_rows_share_the_test_episodes(plan):
    row = "{method: Static, config: cifar10/static_dns, set: [schedule.warmup_steps=7]}"
    other = "{method: Static, config: cifar_fs/1shot_anil}"
    assert "on cifar10 and cifar_fs, 5-way 1-shot, 15 queries." in refusal(plan(row, other).runs)


def test_no_such_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refusal(load_plan, "cifar1")
    assert message.startswith("cifar1: no such table. Did you mean `cifar10`? Known: ablations, bregman_")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    assert "binary.yaml: cannot be read" in refusal(load_plan, "binary.yaml")


@pytest.mark.parametrize("name", names())
def test_shipped_tables_load_and_say_how_they_are_made(name):
    text = (TABLES / f"{name}.yaml").read_text(encoding="utf-8")
    assert f"# Run:   python reproduce_tables.py --table {name}\n" in text
    plan = load_plan(name)
    assert len(plan.runs()) == len(plan.rows) * len(plan.seeds)


def test_every_shipped_config_stands_in_a_table():
    planned = {row.config for name in names() for row in load_plan(name).rows}
    shipped = {
        "/".join(file.with_suffix("").parts[-len(file.relative_to(TABLES.parent).parts) :])
        for file in experiment_files()
    }
    folders = {"folder/dynamic_dns", "folder/few_shot", "folder/metric_learning"}
    assert shipped - planned == folders | {f"quickstart/{name}" for name in ("diml", "few_shot", "bregman")}


def test_a_tables_file_is_no_config():
    message = refusal(load, "configs/tables/cifar10.yaml")
    assert message.endswith("no config. Next: python reproduce_tables.py --table cifar10")


def test_how_many_images_a_run_trains_on():
    def images(name, *overrides):
        return load(f"configs/{name}.yaml", overrides).training_images()

    assert images("cifar10/baseline", "schedule.scale=0.25") == 10_625 * 128
    assert images("cifar_fs/5shot_protonet", "method.training_n_way=5") == 10_000 * 5 * (5 + 15)
    assert images("cifar_fs/5shot_maml", "schedule.train_steps=2500") == 2_500 * 4 * 5 * (5 + 15)
    assert images("cifar_fs/1shot_baseline") == 5_000 * 128
