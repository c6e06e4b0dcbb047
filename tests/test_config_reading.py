"""How a config is read: values, paths, overrides, schedules, one's own images. No TensorFlow."""

import os
import subprocess
import sys

import pytest
import yaml

from configs import BASELINE, DYNAMIC, FOLDER, SHIPPED, STATIC, TEXT, message, settings
from neural_similarity.config import REPOSITORY, load, name_of
from neural_similarity.errors import UserError, nearest

# Values


def test_numbers_are_read_as_written(edited):
    assert settings(DYNAMIC).loss.weight_decay == 0.0005
    for text, value in [("5e-4", 5e-4), ("1E-3", 1e-3), ("1e5", 1e5), ("+.5", 0.5), ("2.", 2.0), ("3", 3.0)]:
        found = settings(edited("decay_multiplier: 1}", f"decay_multiplier: {text}}}")).similarity.decay_multiplier
        assert found == value
        assert isinstance(found, float)
    assert settings(DYNAMIC, "seed=010").seed == 10  # neither octal …
    assert 'got "1:30"' in message(DYNAMIC, "seed=1:30")  # … nor sexagesimal


def test_none_is_a_word_and_null_is_not():
    assert settings(BASELINE).similarity.kind == "none"
    assert settings(DYNAMIC, "runtime.strategy=none", "data.augmentation=none").runtime.strategy == "none"
    assert message(BASELINE, "similarity.kind=null").endswith('; got "null".')


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


# One's own images


@pytest.mark.parametrize("path", [BASELINE, STATIC, DYNAMIC, "configs/quickstart/dynamic_dns.yaml"])
def test_every_row_turns_to_a_folder(path):
    config = settings(path, "data.name=folder", "data.root=mine")
    assert (config.data.image_size, config.to_dict()["data"]["image_size"]) == (32, 32)
    assert config.owner() == settings(path).owner()
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

    def refuse(file, most_bytes):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("neural_similarity.config.loader.read_at_most", refuse)  # root may read everything
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
        ("predictor.initializer=x", "unknown key `predictor.initializer`. It is `similarity.gamma_initializer` now."),
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
    assert settings(DYNAMIC).data.root_path == REPOSITORY / "data"
    assert str(settings(DYNAMIC, "data.root=~/sets").data.root_path) == "/home/somebody/sets"
    assert str(settings(DYNAMIC, "data.root=/sets").data.root_path) == "/sets"
    homeless = settings(DYNAMIC, "data.root=~nobody_of_this_name/sets").data
    with pytest.raises(UserError, match="that home does not exist"):
        _ = homeless.root_path


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
    for scale in ("1e10", "1e30"):
        assert "makes more than 2147483647 steps" in message(DYNAMIC, f"schedule.scale={scale}")


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
