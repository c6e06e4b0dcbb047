"""The schema, the loader and the shipped files. No TensorFlow."""

import json
import os
import re
import subprocess
import sys

import pytest
import yaml

from neural_similarity.config import REPOSITORY, Config, differing_keys, experiment_of, load, name_of, recipe_of
from neural_similarity.errors import UserError, nearest

DYNAMIC = "configs/cifar10/dynamic_dns.yaml"
STATIC = "configs/cifar10/static_uns.yaml"
BASELINE = "configs/cifar10/baseline.yaml"
TEXT = (REPOSITORY / DYNAMIC).read_text()
SETS = ("cifar10", "cifar100")
ROWS = ("baseline", "baseline_matched", "static_dns", "static_uns", "dynamic_dns", "dynamic_uns", "nsl_fspherenet")
SPHERES = (
    "sa_spherenet",
    *(f"spherenet_{g}" for g in ("cosine", "linear", "sigmoid", "learnable_sigmoid")),
    "cnn9_128",
)
RELEASED = [(name, row) for name in SETS for row in ROWS[2:] if (name, row) != ("cifar100", "nsl_fspherenet")]
ABLATIONS = {
    "dynamic_dns_decay10": ("dynamic_dns", "predictor.decay_multiplier", 10.0),
    "static_uns_penalty_identity": ("static_uns", "similarity.penalty_target", "identity"),
    "sa_spherenet_no_query_relu": ("sa_spherenet", "attention.query_relu", False),
}
FOLDER = "configs/folder/dynamic_dns.yaml"
SHIPPED = sorted(
    file.relative_to(REPOSITORY).as_posix()
    for name in (*SETS, "folder")
    for file in (REPOSITORY / "configs" / name).rglob("*.yaml")
)


def settings(path, *overrides, environment=()):
    return load(path, overrides, dict(environment))


def message(path, *overrides, environment=()):
    with pytest.raises(UserError) as caught:
        settings(path, *overrides, environment=environment)
    return str(caught.value)


@pytest.fixture
def edited(tmp_path):
    """Writes the dynamic DNS config with one piece of text replaced."""

    def edit(old, new):
        assert TEXT.count(old) == 1
        (tmp_path / "x.yaml").write_text(TEXT.replace(old, new), encoding="utf-8")
        return tmp_path / "x.yaml"

    return edit


# Values


def test_numbers_are_read_as_written(edited):
    assert settings(DYNAMIC).loss.weight_decay == 0.0005
    for text, value in [("5e-4", 5e-4), ("1E-3", 1e-3), ("1e5", 1e5), ("+.5", 0.5), ("2.", 2.0), ("3", 3.0)]:
        found = settings(edited("decay_multiplier: 1}", f"decay_multiplier: {text}}}")).predictor.decay_multiplier
        assert found == value
        assert isinstance(found, float)
    assert settings(DYNAMIC, "seed=010").seed == 10  # neither octal …
    assert 'got "1:30"' in message(DYNAMIC, "seed=1:30")  # … nor sexagesimal


def test_none_is_a_word_and_null_is_not():
    assert settings(BASELINE).similarity.kind == "none"
    assert settings(DYNAMIC, "runtime.strategy=none", "data.augmentation=none").runtime.strategy == "none"
    assert "must be one of `none`, `static`, `dynamic`; got null" in message(BASELINE, "similarity.kind=null")


def test_config_cannot_be_changed():
    config = settings(DYNAMIC)
    with pytest.raises(Exception, match="frozen"):
        config.optimizer.learning_rate = 1.0
    assert config.model.widths == (32, 64, 128)
    assert config.schedule.boundaries_steps == (20000, 30000, 37500)


def test_dictionary_leads_back_to_the_same_config(tmp_path):
    for path in SHIPPED:
        config = settings(path)
        (tmp_path / "copy.yaml").write_text(yaml.safe_dump(config.to_dict(), sort_keys=False))
        assert settings(tmp_path / "copy.yaml") == config
        assert list(config.to_dict()) == list(yaml.safe_load((REPOSITORY / path).read_text()))
    assert "predictor" not in settings(BASELINE).to_dict()


# Mistakes in a file


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "learning_rate",
            "learning_rat",
            "unknown key `optimizer.learning_rat`. Did you mean `learning_rate`? "
            "Known keys with `optimizer.name: sgd`: learning_rate, momentum, name.",
        ),
        (", scale: 1}", "}", "missing key `schedule.scale` (a number greater than 0)."),
        ("loss: ", "los: ", "unknown section `los`. Did you mean `loss`?"),
        ("loss: ", "los: ", "missing section `loss` (label_smoothing, orthogonality, weight_decay)."),
        ("momentum: 0.9", "warmup_steps: 3", "unknown key `optimizer.warmup_steps`. Did you mean `schedule."),
        (
            "learning_rate: 0.1",
            "learning_rate: -0.1",
            "`optimizer.learning_rate` must be a number greater than 0; got -0",
        ),
        ("learning_rate: 0.1", "learning_rate: '0.1'", '; got "0.1".'),
        (
            "learning_rate: 0.1",
            "learning_rate: .nan",
            "`optimizer.learning_rate` must be a number greater than 0; got NaN.",
        ),
        ("learning_rate: 0.1", "learning_rate: -.inf", "; got -Infinity."),
        ("learning_rate: 0.1", "learning_rate: 1e999", "; got Infinity."),
        ("learning_rate: 0.1", f"learning_rate: {'9' * 400}", "`optimizer.learning_rate` must be a number"),
        ("learning_rate: 0.1", "learning_rate: true", "; got true."),
        ("learning_rate: 0.1", "learning_rate:", "; got null."),
        ("learning_rate: 0.1", "learning_rate: {a: [b, {c: d}]}", '; got {"a": ["b", {"c": "d"}]}.'),
        ("seed:       0", "seed:       -1", "`seed` must be an integer from 0 to 2147483647; got -1."),
        ("seed:       0", "seed:       true", "`seed` must be an integer from 0 to 2147483647; got true."),
        ("seed:       0", "seed:       0.0", "got 0.0."),
        ("seed:       0", "seed:       2147483648", "got 2147483648."),
        ("seed:       0", f"seed:       {'1' * 5000}", "as int"),
        ("seed:       0", "seed:       2024-01-01", 'got "2024-01-01".'),
        ("seed:       0", "", "missing key `seed` (an integer from 0 to 2147483647)."),
        ("seed:       0", "seed: 0\n? [a, b]\n: 1", 'a key has to be a name, not ["a", "b"].'),
        ("seed:       0", 'seed: 0\n"\\ud800": 2', r'a key has to be a name, not "\ud800".'),
        ("seed:       0", "seed: 0\n1: 2", "line 7: not readable as YAML: a key has to be a name, not 1."),
        (
            "seed:       0",
            "seed: 0\nseed: 1",
            "line 7: not readable as YAML: the key `seed` is there twice, first in line 6.",
        ),
        ("momentum: 0.9", "momentum: 0.9, name: sgd", "the key `name` is there twice"),
        ("seed:       0", "seed: &x 0\nmore: *x", "aliases are not allowed"),
        ("seed:       0", "seed: !!python/object:os.system x", 'python/object:os.system" is not allowed.'),
        ("seed:       0", "seed: " + "[" * 5000, "nested too deeply"),
        ("seed:       0", "seed: [", "not readable as YAML"),
        ("seed:       0", "\tseed: 0", "line 6: not readable as YAML"),
        ("seed:       0", "seed: 0\n---", "not readable as YAML"),
        ("name: cnn9", "name: cnn8", '`model.name` must be one of `cnn9`, `spherenet9`, `cnn9_128`; got "cnn8".'),
        (
            "name: cifar10",
            "name: cifar",
            '`data.name` must be one of `cifar10`, `cifar100`, `digits`, `folder`; got "cifar".',
        ),
        ("root: data", "root: ''", "`data.root` must be the path of a folder"),
        ("root: data", 'root: "a\\0b"', "`data.root` must be the path of a folder"),
        ("validation_fraction: 0.0", "validation_fraction: 0.51", "must be a number from 0 to 0.5; got 0.51."),
        ("label_smoothing: 0.01", "label_smoothing: 1", "must be a number, at least 0 and less than 1; got 1."),
        ("name: sgd", "name: sdg", '`optimizer.name` must be one of `sgd`, `adam`; got "sdg".'),
        ("name: sgd, ", "", "missing key `optimizer.name` (one of `sgd`, `adam`)."),
        ("widths: [32, 64, 128]", "widths: [32, 64]", "`model.widths` must be a list of three integers"),
        ("widths: [32, 64, 128]", "widths: [32, 64, 128, 256]", "`model.widths` must be a list of three integers"),
        ("widths: [32, 64, 128]", "widths: [32, 64, 0]", "got [32, 64, 0]."),
        ("widths: [32, 64, 128]", "widths: [32, 64, true]", "got [32, 64, true]."),
        ("init_scales: [0.1, 0.001]", "init_scales: [0.1, '1']", "must be a list of two numbers greater than 0"),
        ("20000, 30000", "30000, 20000", "each larger than the one before; got [30000, 20000, 37500]."),
        ("20000, 30000", "20000, 20000", "each larger than the one before"),
        ("factor: 0.1", "factor: 1.5", "`schedule.factor` must be a number greater than 0 and at most 1; got 1.5."),
        ("every_steps: auto", "every_steps: 0", "must be `auto` or an integer from 1 to 2147483647; got 0."),
        ("every_steps: auto", "every_steps: atuo", 'got "atuo".'),
        ("jit_compile: auto", "jit_compile: 1", "`runtime.jit_compile` must be `auto`, `true` or `false`; got 1."),
        ("jit_compile: auto", "jit_compile: yes", 'got "yes".'),
        (
            "{label_smoothing: 0.01, weight_decay: 5e-4}",
            "3",
            "`loss` must be a section with the keys label_smoothing, ",
        ),
        ("{label_smoothing: 0.01, weight_decay: 5e-4}", "", "weight_decay; got null."),
        ("{name: sgd, learning_rate: 0.1, momentum: 0.9}", "[sgd]", "`optimizer` must be a section with the keys "),
    ],
)
def test_one_mistake(edited, old, new, expected):
    path = edited(old, new)
    text = message(path)
    assert expected in text
    assert all(line.startswith(f"{path}") for line in text.splitlines())


def test_all_problems_at_once_ten_at_most(edited):
    text = message(edited("momentum: 0.9}", "momentum: 2}\nmore: 1\nloss_: {}"))
    assert len(text.splitlines()) == 3
    text = message(edited("train_steps: 42500", ", ".join(f"k{i}: {i}" for i in range(15))))
    assert len(text.splitlines()) == 11
    assert text.endswith("\n… and 6 more.")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "this file holds null. Start from"),
        (b"# nothing\n", "this file holds null."),
        (b"- a\n- b\n", 'this file holds ["a", "b"].'),
        (b"word", 'this file holds "word".'),
        (b"a: {b", "line 1: not readable as YAML"),
        (b"a: \xff", "not UTF-8 text, from byte 3 on."),
        (b"a: \0", "not readable as YAML"),
        (b'a: "\\UFFFFFFFF"', "not readable as YAML"),
        (b"{}", "missing section `data`"),
    ],
)
def test_files_that_are_no_config(tmp_path, content, expected):
    (tmp_path / "x.yaml").write_bytes(content)
    assert expected in message(tmp_path / "x.yaml")


def test_byte_order_mark_and_windows_lines_are_fine(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert settings(tmp_path / "x.yaml") == settings(DYNAMIC)


def test_predictor_exactly_for_dynamic(edited):
    predictor = TEXT[TEXT.index("predictor:") : TEXT.index("batch_norm: {")]
    needs = "`similarity.kind: dynamic` needs the section `predictor` (batch_norm, decay_multiplier, filters, "
    assert needs in message(edited(predictor, ""))
    assert needs in message(edited(predictor, "predictor:\n"))
    similarity = "{kind: dynamic, structure: diagonal}"
    assert "`similarity.kind: none` has no `predictor`; leave" in message(edited(similarity, "{kind: none}"))
    (path := edited("seed:       0", "")).write_text((REPOSITORY / BASELINE).read_text() + "predictor:\n")
    assert "the section `predictor` is empty; leave it out." in message(path)


def test_impossible_combinations():
    text = message("configs/cifar10/dynamic_uns.yaml", "predictor.normalization=full")
    assert "`predictor.normalization: full` goes with `similarity.structure: diagonal` only" in text
    assert len(text.splitlines()) == 1
    text = message(DYNAMIC, "runtime.deterministic=true", "runtime.jit_compile=true")
    assert "`runtime.deterministic: true` cannot go with `runtime.jit_compile: true`" in text
    assert len(text.splitlines()) == 1
    assert settings(DYNAMIC, "runtime.deterministic=true").runtime.jit_compile == "auto"


SPHERE = "configs/cifar10/sa_spherenet.yaml"


@pytest.mark.parametrize(
    ("path", "overrides", "expected"),
    [
        (
            SPHERE,
            ["similarity.kind=dynamic", "similarity.structure=diagonal"],
            "goes with `similarity.kind: none` only.",
        ),
        (
            SPHERE,
            ["model.widths=[7, 16, 24]"],
            "`attention.enabled: true` needs 8 or more filters in the first two stag",
        ),
        (
            SPHERE,
            ["model.operator=cosin"],
            "`model.operator` must be one of `cosine`, `linear`, `sigmoid`, `learnable_s",
        ),
        (SPHERE, ["loss.orthogonality=-1"], "`loss.orthogonality` must be a number, at least 0; got -1."),
        (SPHERE, ["loss.orthogonality="], "`model.name: spherenet9` needs the key `loss.orthogonality` (a number, at"),
        (SPHERE, ["attention.query_rely=true"], "unknown key `attention.query_rely`. Did you mean `query_relu`?"),
        (SPHERE, ["data.augmentation=flop"], "`data.augmentation` must be one of `none`, `flip`, `crop_flip`; got"),
        (SPHERE, ["data.input_scaling=cent"], "`data.input_scaling` must be one of `none`, `centred`; got"),
        (DYNAMIC, ["attention.enabled=true"], "`model.name: cnn9` has no `attention`; leave that section out."),
        (DYNAMIC, ["loss.orthogonality=0"], "`model.name: cnn9` has no `loss.orthogonality`; leave it out."),
        (DYNAMIC, ["loss.orthogonality="], "`model.name: cnn9` has no `loss.orthogonality`; leave it out."),
    ],
)
def test_what_does_not_go_with_the_network(path, overrides, expected):
    text = message(path, *overrides)
    assert expected in text
    assert len(text.splitlines()) == 1


def test_attention_exactly_for_spherenet9(tmp_path):
    section = "attention:  {enabled: true, query_relu: true}\n"
    text = (REPOSITORY / SPHERE).read_text()
    assert text.count(section) == 1
    for replacement, expected in [
        ("", "`model.name: spherenet9` needs the section `attention` (enabled, query_relu)."),
        ("attention:\n", "`model.name: spherenet9` needs the section `attention` (enabled, query_relu)."),
    ]:
        (tmp_path / "x.yaml").write_text(text.replace(section, replacement))
        assert expected in message(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_text(TEXT + "attention:\n")
    assert "the section `attention` is empty; leave it out." in message(tmp_path / "x.yaml")
    assert settings(SPHERE, "attention.enabled=false", "model.widths=[4, 4, 4]").attention.query_relu


def test_keys_that_are_younger_than_results_leave_their_hashes():
    """`ec713a3c057f` is the hash of a recorded result, from before `data.input_scaling`."""
    then = ["schedule.train_steps=300", "batch_norm.decay=0.999"]
    assert settings(BASELINE, *then).config_hash() == "ec713a3c057f"
    assert settings(BASELINE, *then, "data.input_scaling=centred").config_hash() != "ec713a3c057f"


RECORDED = [
    json.loads(line)
    for file in sorted((REPOSITORY / "results").glob("*.jsonl"))
    for line in file.read_text().splitlines()
]


@pytest.mark.parametrize("line", RECORDED, ids=lambda line: f"{line['config']} {line['finished']}")
def test_every_recorded_hash_follows_from_its_config_and_overrides(line):
    config = settings(f"configs/{line['config']}.yaml", *line["overrides"])
    assert config.config_hash() == line["config_hash"]
    assert recipe_of(config, line["config"]) == line["recipe"]


def test_wrong_similarity_does_not_blame_the_predictor():
    assert len(message(DYNAMIC, "similarity.kind=dinamic").splitlines()) == 1


# One's own images


@pytest.mark.parametrize("path", [BASELINE, STATIC, DYNAMIC, "configs/quickstart/dynamic_dns.yaml"])
def test_every_row_turns_to_a_folder(path):
    config = settings(path, "data.name=folder", "data.root=mine")
    assert (config.data.image_size, config.to_dict()["data"]["image_size"]) == (32, 32)
    assert experiment_of(config) == experiment_of(settings(path))
    assert settings(path, "data.name=folder", "data.image_size=64").data.image_size == 64


@pytest.mark.parametrize("value", ["30", "0", "-8", "4104", "true", "32.0", "'32'", "null", "[32]", "1" + "0" * 400])
def test_sizes_that_do_not_halve_three_times(value):
    text = message(FOLDER, f"data.image_size={value}")
    assert text.startswith(f"--set data.image_size={value[:40]}")
    assert ": `data.image_size` must be a multiple of 8 from 8 to 4096; got " in text
    assert len(text.splitlines()) == 1


def test_other_sets_have_the_one_size():
    text = message(DYNAMIC, "data.image_size=64")
    expected = "unknown key `data.image_size`. Known keys with `data.name: cifar10`: augmentation, global_batch_size, "
    assert text.startswith(f"--set data.image_size=64: {expected}")
    assert len(text.splitlines()) == 1
    config = settings(DYNAMIC)
    assert config.data.image_size == 32
    assert "image_size" not in config.to_dict()["data"]


# Paths


def test_path_from_the_working_folder_then_from_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert settings(DYNAMIC) == settings(REPOSITORY / DYNAMIC)
    (tmp_path / "configs/cifar10").mkdir(parents=True)
    (tmp_path / DYNAMIC).write_text(TEXT.replace("seed:       0", "seed: 7"))
    assert settings(DYNAMIC).seed == 7
    assert name_of(DYNAMIC) == "custom/dynamic_dns"
    monkeypatch.chdir(REPOSITORY / "configs" / "cifar100")
    assert name_of("../cifar10/dynamic_dns.yaml") == "cifar10/dynamic_dns"


@pytest.mark.parametrize(
    "path", ["configs/cifar10/dynamic_dsn.yaml", "cifar10/dynamic_dns", REPOSITORY / "configs/cifar10/dynamic_dn.yaml"]
)
def test_missing_file_names_the_nearest(path):
    assert f"no such config, neither here nor from {REPOSITORY}. Did you mean `{DYNAMIC}`?" in message(path)


def test_missing_file_without_a_near_name():
    assert message("zzz").endswith("ls configs/*/")
    assert message("a\0b").startswith(r"a\u0000b: no such config")
    assert len(message("x" * 5000)) < 500


def test_folder_and_unreadable_file(tmp_path, monkeypatch):
    assert message("configs/cifar10").startswith("configs/cifar10: a folder. Name a file in it: baseline.yaml, ")

    def refuse(file):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)  # root may read everything
    assert message(DYNAMIC).startswith(f"{DYNAMIC}: cannot be read (Permission denied).")


def test_places_are_shown_from_the_root_or_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "x.yaml").write_text("{}")
    assert message(tmp_path / "x.yaml").startswith(f"{tmp_path}/x.yaml: ")
    monkeypatch.chdir(tmp_path)
    assert message(tmp_path / "x.yaml").startswith("x.yaml: ")
    assert message(REPOSITORY / BASELINE, "loss.weight_decay=3", "similarity.kind=static").startswith(
        f"{BASELINE} with "
    )


def test_names():
    assert name_of(DYNAMIC) == "cifar10/dynamic_dns"
    assert name_of("configs/cifar10/released/static_dns.yaml") == "cifar10/released/static_dns"
    assert name_of(REPOSITORY / "configs/cifar100/baseline.yaml") == "cifar100/baseline"
    assert name_of("/somewhere/else/mine.yaml") == "custom/mine"


# Overrides


def test_overrides():
    config = settings(
        DYNAMIC,
        "optimizer.learning_rate=5e-2",
        "seed=1",
        " seed = 2",
        "model.widths=[8, 16, 32]",
        "evaluation.every_steps=7",
        "runtime.jit_compile=false",
        "data.root=a=b",
    )
    assert config.optimizer.learning_rate == 0.05
    assert config.seed == 2
    assert config.model.widths == (8, 16, 32)
    assert config.evaluation_every_steps() == 7
    assert config.runtime.jit_compile is False
    assert config.data.root == "a=b"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optimizer.learning_rat=1", "unknown key `optimizer.learning_rat`. Did you mean `learning_rate`? Known keys"),
        ("optimizer.warmup_steps=1", "unknown key `optimizer.warmup_steps`. Did you mean `schedule.warmup_steps`?"),
        ("optimzer.learning_rate=1", "unknown key `optimzer.learning_rate`. Did you mean `optimizer.learning_rate`?"),
        ("learning_rate=1", "unknown key `learning_rate`. Did you mean `optimizer.learning_rate`?"),
        ("sed=1", "unknown key `sed`. Did you mean `seed`?"),
        (
            "optimizer.learning_rate.x=1",
            "unknown key `optimizer.learning_rate.x`. Did you mean `optimizer.learning_rate`?",
        ),
        ("optimizer=1", "`optimizer` is a section. Known keys: beta_1, "),
        ("=1", "unknown key ``."),
        ("seed", "expected `section.key=value`, as in `--set optimizer.learning_rate=0.05`."),
        ("seed=", "`seed` must be an integer from 0 to 2147483647; got null."),
        ("seed=-1", "got -1."),
        ("seed=[", "not readable as YAML"),
        ("seed={a: 1, a: 2}", "the key `a` is there twice"),
        ("optimizer.learning_rate='5e-4'", '`optimizer.learning_rate` must be a number greater than 0; got "5e-4".'),
        ("optimizer.momentum=.nan", "got NaN."),
    ],
)
def test_wrong_overrides(override, expected):
    text = message(DYNAMIC, override)
    assert text.startswith(f"--set {override}: ")
    assert expected in text


def test_override_that_clashes_with_the_file_names_both():
    lines = message(DYNAMIC, "optimizer.name=adam").splitlines()
    assert len(lines) == 4
    assert all(line.startswith(f"{DYNAMIC} with --set optimizer.name=adam: ") for line in lines)
    assert "unknown key `optimizer.momentum`. Known keys with `optimizer.name: adam`: beta_1, " in lines[-1]
    text = message(BASELINE, "predictor.filters=3")
    expected = "`similarity.kind: none` has no `predictor`; leave that section out."
    assert text == f"{BASELINE} with --set predictor.filters=3: {expected}"


def test_override_of_a_section_that_is_none(edited):
    path = edited("{name: sgd, learning_rate: 0.1, momentum: 0.9}", "sgd")
    assert "`optimizer` must be a section with the keys" in message(path, "optimizer.learning_rate=1")
    path = edited("data:       {name: cifar10", "dat: {name: cifar10")
    assert f"{path}: missing section `data`" in message(path, environment={"NEURAL_SIMILARITY_DATA": "/sets"})


def test_data_root(monkeypatch):
    variable = {"NEURAL_SIMILARITY_DATA": "/from/environment"}
    assert settings(DYNAMIC).data.root == "data"
    assert settings(DYNAMIC, environment=variable).data.root == "/from/environment"
    assert settings(DYNAMIC, "data.root=/from/set", environment=variable).data.root == "/from/set"
    assert settings(DYNAMIC, environment={"NEURAL_SIMILARITY_DATA": ""}).data.root == "data"
    assert message(DYNAMIC, environment={"NEURAL_SIMILARITY_DATA": "a\nb"}).startswith(
        "NEURAL_SIMILARITY_DATA: `data.root`"
    )
    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", "/from/os")
    assert load(DYNAMIC).data.root == "/from/os"

    monkeypatch.setenv("HOME", "/home/somebody")
    assert settings(DYNAMIC).data_root() == REPOSITORY / "data"
    assert str(settings(DYNAMIC, "data.root=~/sets").data_root()) == "/home/somebody/sets"
    assert str(settings(DYNAMIC, "data.root=/sets").data_root()) == "/sets"
    with pytest.raises(UserError, match="that home does not exist"):
        settings(DYNAMIC, "data.root=~nobody_of_this_name/sets").data_root()


# Schedule


def test_scale_shrinks_the_whole_schedule():
    schedule = settings(DYNAMIC).schedule
    assert schedule.scaled_train_steps == 42500
    assert schedule.scaled_boundaries_steps == (20000, 30000, 37500)
    assert schedule.scaled_warmup_steps == 500
    config = settings(DYNAMIC, "schedule.scale=0.01")
    assert config.schedule.train_steps == 42500
    assert config.schedule.scaled_train_steps == 425
    assert config.schedule.scaled_boundaries_steps == (200, 300, 375)
    assert config.schedule.scaled_warmup_steps == 5
    assert config.evaluation_every_steps() == 21
    assert settings(DYNAMIC, "schedule.scale=2").schedule.scaled_train_steps == 85000
    assert settings(DYNAMIC, "schedule.scale=3e-5").schedule.scaled_boundaries_steps == (1, 1, 1)
    assert settings(DYNAMIC, "schedule.scale=3e-5").evaluation_every_steps() == 1


def test_train_steps_runs_the_first_steps_of_the_recipe():
    config = settings(DYNAMIC, "schedule.train_steps=100")
    assert config.schedule.scaled_train_steps == 100
    assert config.schedule.scaled_boundaries_steps == (20000, 30000, 37500)
    assert config.evaluation_every_steps() == 5
    assert settings(DYNAMIC, "schedule.boundaries_steps=[]").schedule.scaled_boundaries_steps == ()


def test_nothing_may_round_to_zero_or_overflow():
    text = message(DYNAMIC, "schedule.scale=1e-5")
    assert text.startswith(f"{DYNAMIC} with --set schedule.scale=1e-5: ")
    assert "`schedule.train_steps` 42500 × `schedule.scale` 1e-05 rounds to 0 steps" in text
    assert "the boundary 20000 of `schedule.boundaries_steps`" in message(DYNAMIC, "schedule.scale=2e-5")
    for scale in ("1e10", "1e308"):
        assert "makes more than 2147483647 steps" in message(DYNAMIC, f"schedule.scale={scale}")


# Hashes and recipes

NOT_THE_RECIPE = [
    "seed=5",
    "schedule.scale=0.5",
    "data.root=elsewhere",
    "runtime.precision=mixed_bfloat16",
    "runtime.deterministic=true",
    "evaluation.every_steps=3",
    "checkpoint.keep=9",
]
THE_RECIPE = [
    "data.global_batch_size=64",
    "data.validation_fraction=0.1",
    "model.widths=[32, 64, 127]",
    "predictor.decay_multiplier=2",
    "batch_norm.moving_average=released",
    "loss.weight_decay=5.1e-4",
    "optimizer.learning_rate=0.2",
    "schedule.train_steps=42499",
    "schedule.warmup_steps=0",
]


@pytest.mark.parametrize("override", NOT_THE_RECIPE)
def test_config_hash_is_the_same(override):
    config = settings(DYNAMIC, override)
    assert config.config_hash() == settings(DYNAMIC).config_hash()
    assert recipe_of(config, "cifar10/dynamic_dns") == "ours"
    same_run = override.startswith(("data.root", "evaluation", "checkpoint"))
    assert (config.run_hash() == settings(DYNAMIC).run_hash()) == same_run


@pytest.mark.parametrize("override", THE_RECIPE)
def test_config_hash_differs(override):
    config = settings(DYNAMIC, override)
    assert config.config_hash() != settings(DYNAMIC).config_hash()
    assert config.run_hash() != settings(DYNAMIC).run_hash()
    assert recipe_of(config, "cifar10/dynamic_dns") == "custom"


def test_the_root_of_a_folder_is_its_set():
    """Two sets of one's own never meet in a run folder, nor in a mean."""
    one, other = (settings(FOLDER, f"data.root={root}") for root in ("/sets/cats", "/sets/flowers"))
    assert one.config_hash() != other.config_hash()
    assert one.run_hash() != other.run_hash()
    assert differing_keys(one, other, of_runs=True) == ["data.root"]
    assert recipe_of(settings(FOLDER), "folder/dynamic_dns") == "ours"
    assert recipe_of(one, "folder/dynamic_dns") == "custom"
    same = settings(FOLDER, "data.root=/sets/cats/", "evaluation.every_steps=3")
    assert (same.config_hash(), same.run_hash()) == (one.config_hash(), one.run_hash())
    assert differing_keys(settings(DYNAMIC), settings(DYNAMIC, "data.root=elsewhere"), of_runs=True) == []
    variable = {"NEURAL_SIMILARITY_DATA": "/sets"}  # the folder of the sets
    assert settings(FOLDER, environment=variable).data.root == "data"
    assert settings(DYNAMIC, "data.name=folder", environment=variable).data.root == "data"
    assert settings(FOLDER, "data.name=folder", "data.root=/sets/cats", environment=variable) == one


def test_hashes_are_of_the_values_not_of_the_text(tmp_path):
    config = settings(DYNAMIC)
    assert len(config.config_hash()) == 12
    assert len(config.run_hash()) == 6
    int((config.config_hash() + config.run_hash()), 16)
    text = TEXT.replace("5e-4", "0.0005").replace("decay_multiplier: 1", "decay_multiplier: 1.0")
    sections = re.split(r"\n(?! )", text)
    (tmp_path / "x.yaml").write_text("\n".join(reversed(sections)))
    other = settings(tmp_path / "x.yaml")
    assert (other.config_hash(), other.run_hash()) == (config.config_hash(), config.run_hash())
    hashes = [settings(path).config_hash() for path in SHIPPED]
    assert len(set(hashes)) == len(hashes)


def test_recipes():
    for path in SHIPPED:
        expected = "released" if "/released/" in path else "ours"
        assert recipe_of(settings(path), name_of(path)) == expected
    assert recipe_of(settings(DYNAMIC), "custom/dynamic_dns") == "custom"
    assert recipe_of(settings(DYNAMIC), "cifar10/released/dynamic_dns") == "custom"


def test_recipe_does_not_read_the_environment(monkeypatch):
    config = settings(DYNAMIC)
    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", "a\nb")
    assert recipe_of(config, "cifar10/dynamic_dns") == "ours"


def test_differing_keys():
    config = settings(DYNAMIC)
    assert differing_keys(config, config) == []
    other = settings(DYNAMIC, "loss.weight_decay=0", "seed=1", "schedule.boundaries_steps=[1]")
    assert differing_keys(config, other) == ["seed", "loss.weight_decay", "schedule.boundaries_steps"]
    keys = differing_keys(settings(BASELINE), config)
    assert set(keys) == {"similarity.kind", "similarity.structure"} | {
        f"predictor.{key}" for key in config.to_dict()["predictor"]
    }


# The shipped files


def test_the_rows_are_all_there():
    expected = [f"configs/{name}/{row}.yaml" for name in SETS for row in (*ROWS, *SPHERES)]
    expected += ["configs/cifar10/released/sa_spherenet.yaml"]
    expected += [f"configs/{name}/released/{row}.yaml" for name, row in RELEASED]
    expected += [f"configs/cifar10/ablations/{row}.yaml" for row in ABLATIONS] + [FOLDER]
    assert set(expected) <= set(SHIPPED)


@pytest.mark.parametrize(
    "path", sorted(file.relative_to(REPOSITORY).as_posix() for file in (REPOSITORY / "configs").rglob("*.yaml"))
)
def test_every_file_loads_and_has_an_owner(path):
    config = settings(path)
    assert isinstance(config, Config)
    assert (REPOSITORY / experiment_of(config) / "train.py").is_file()


@pytest.mark.parametrize("path", SHIPPED)
def test_header(path):
    text = (REPOSITORY / path).read_text()
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert 4 <= len(header) <= 7
    assert header == text.splitlines()[: len(header)]
    config = settings(path)
    assert f"# Run:   python {experiment_of(config)}/train.py --config {path}" in header
    assert f"Ours: results/{config.data.name}.jsonl" in header[-1]
    assert f" {config.data.name.replace('cifar', 'CIFAR-')}" in header[0]


def test_owners():
    owners = {
        row: experiment_of(settings(f"configs/cifar10/{row}.yaml")).removeprefix("nsl_image_recog/") for row in ROWS
    }
    assert owners == {
        "baseline": "baseline",
        "baseline_matched": "baseline",
        "static_dns": "static",
        "static_uns": "static",
        "dynamic_dns": "dynamic_dns",
        "dynamic_uns": "dynamic_uns",
        "nsl_fspherenet": "nsl_fspherenet",
    }


@pytest.mark.parametrize(("name", "row"), RELEASED)
def test_released_differs_by_its_switches(name, row):
    ours, released = settings(f"configs/{name}/{row}.yaml"), settings(f"configs/{name}/released/{row}.yaml")
    expected = ["batch_norm.moving_average", "batch_norm.decay", "schedule.warmup_steps", "evaluation.every_steps"]
    expected.insert(0, "similarity.initializer" if row.startswith("static") else "predictor.initializer")
    assert differing_keys(ours, released) == expected
    assert (ours.batch_norm.moving_average, released.batch_norm.moving_average) == ("debiased", "released")
    assert (ours.batch_norm.decay, released.batch_norm.decay) == (0.99, 0.999)
    assert (ours.schedule.warmup_steps, released.schedule.warmup_steps) == (500, 0)
    assert (ours.evaluation.every_steps, released.evaluation.every_steps) == ("auto", 500)


def test_spherenets_have_one_owner():
    for row in (*SPHERES, "released/sa_spherenet", "ablations/sa_spherenet_no_query_relu"):
        assert experiment_of(settings(f"configs/cifar10/{row}.yaml")) == "sa_spherenet"


def test_released_spherenet_differs_by_its_averages_alone():
    ours, released = (settings(f"configs/cifar10/{folder}sa_spherenet.yaml") for folder in ("", "released/"))
    assert differing_keys(ours, released) == ["batch_norm.moving_average", "batch_norm.decay", "evaluation.every_steps"]


@pytest.mark.parametrize("row", [*ROWS, *SPHERES, *(f"released/{row}" for name, row in RELEASED if name == "cifar100")])
def test_sets_differ_by_their_data_alone(row):
    pair = [settings(f"configs/{name}/{row}.yaml") for name in SETS]
    assert differing_keys(*pair) == ["data.name"]
    assert [config.data.name for config in pair] == list(SETS)


def test_folder_differs_by_its_data_alone():
    assert differing_keys(settings(DYNAMIC), settings(FOLDER)) == ["data.name", "data.image_size"]
    assert settings(DYNAMIC, "data.name=folder") == settings(FOLDER)


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_ablation_changes_one_key(ablation):
    row, key, value = ABLATIONS[ablation]
    changed = settings(f"configs/cifar10/ablations/{ablation}.yaml")
    assert differing_keys(settings(f"configs/cifar10/{row}.yaml"), changed) == [key]
    section, _, name = key.partition(".")
    assert getattr(getattr(changed, section), name) == value


@pytest.mark.parametrize(
    ("one", "other", "keys"),
    [
        ("baseline", "baseline_matched", {"model.widths"}),
        ("static_dns", "static_uns", {"similarity.structure", "similarity.weight_decay"}),
        ("dynamic_dns", "dynamic_uns", {"similarity.structure", "predictor.filters", "predictor.batch_norm"}),
        ("dynamic_dns", "nsl_fspherenet", {"predictor.normalization"}),
        *(("spherenet_cosine", row, {"model.operator"}) for row in SPHERES[2:5]),
        ("sa_spherenet", "spherenet_cosine", {"attention.enabled", "model.head_batch_norm"}),
        (
            "spherenet_cosine",
            "cnn9_128",
            {"model.name", "model.operator", "attention.enabled", "attention.query_relu", "loss.orthogonality"},
        ),
        (
            "baseline",
            "static_dns",
            {f"similarity.{key}" for key in ("kind", "structure", "initializer", "penalty_target", "weight_decay")},
        ),
    ],
)
def test_rows_differ_by_their_method_alone(one, other, keys):
    pair = [settings(f"configs/cifar10/{row}.yaml") for row in (one, other)]
    assert set(differing_keys(*pair)) == keys


def test_matched_baseline_has_the_size_of_dynamic_dns():
    def parameters(widths, classes=10):
        """Filters, gammas and betas of a plain CNN-9, by its convolutions."""
        outputs = [widths[0], *(width for width in widths for _ in range(3))]
        inputs = [3, *outputs[:-1]]
        convolutions = sum(9 * i * o + 2 * o for i, o in zip(inputs, outputs, strict=True))
        return convolutions + 16 * widths[2] * classes

    assert parameters((32, 64, 128)) == 511_200
    matched = parameters(settings("configs/cifar10/baseline_matched.yaml").model.widths)
    assert abs(matched / 890_946 - 1) < 0.005
    assert f"{matched:,}" in (REPOSITORY / "configs/cifar10/baseline_matched.yaml").read_text()


# The rest


def test_nearest():
    assert nearest("momentun", ["momentum", "name"]) == " Did you mean `momentum`?"
    assert nearest("zzz", ["momentum", "name"]) == ""
    assert nearest(3, ["momentum"]) == ""


def test_configs_load_without_tensorflow():
    code = (
        "import sys; from neural_similarity.config import load; "
        f"load({DYNAMIC!r}); assert not {{'tensorflow', 'keras'}} & set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    )
