"""Every mistake in a config is one message. No TensorFlow."""

import pytest

from configs import BASELINE, DYNAMIC, SPHERE, STATIC, TEXT, message, settings

# Mistakes in a file


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "learning_rate",
            "learning_rat",
            "unknown key `optimizer.learning_rat`. Did you mean `learning_rate`? ",
        ),
        (", scale: 1}", "}", "missing key `schedule.scale` (a number greater than 0)."),
        ("loss: ", "los: ", "unknown section `los`. Did you mean `loss`?"),
        ("loss: ", "los: ", "missing section `loss` (label_smoothing, weight_decay)."),
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
        ("seed:       0", "seed: 0\n1: 2", "line 8: not readable as YAML: a key has to be a name, not 1."),
        (
            "seed:       0",
            "seed: 0\nseed: 1",
            "line 8: not readable as YAML: the key `seed` is there twice, first in line 7.",
        ),
        ("momentum: 0.9", "momentum: 0.9, name: sgd", "the key `name` is there twice"),
        ("seed:       0", "seed: &x 0\nmore: *x", "aliases are not allowed"),
        ("seed:       0", "seed: !!python/object:os.system x", 'python/object:os.system" is not allowed.'),
        ("seed:       0", "seed: " + "[" * 5000, "nested too deeply"),
        ("seed:       0", "seed: [", "not readable as YAML"),
        ("seed:       0", "\tseed: 0", "line 7: not readable as YAML"),
        ("seed:       0", "seed: 0\n---", "not readable as YAML"),
        ("name: cnn9", "name: cnn8", ("`model.name` must be one of `cnn9`, ", 'got "cnn8".')),
        (
            "name: cifar10",
            "name: cifar",
            ("`data.name` must be one of `cifar10`, ", 'got "cifar".'),
        ),
        ("root: data", "root: ''", "`data.root` must be the path of a folder"),
        ("root: data", 'root: "a\\0b"', "`data.root` must be the path of a folder"),
        ("validation_fraction: 0.0", "validation_fraction: 0.51", "must be a number from 0 to 0.5; got 0.51."),
        ("label_smoothing: 0.01", "label_smoothing: 1", "must be a number, at least 0 and less than 1; got 1."),
        ("name: sgd", "name: sdg", ("`optimizer.name` must be one of `sgd`, ", 'got "sdg".')),
        ("name: sgd, ", "", "missing key `optimizer.name` (one of `sgd`, "),
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
    for piece in (expected,) if isinstance(expected, str) else expected:
        assert piece in text
    assert all(line.startswith(f"{path}: ") or line.startswith(f"{path}, line ") for line in text.splitlines())


@pytest.mark.parametrize(
    ("old", "new", "whole"),
    [
        (
            "learning_rate",
            "learning_rat",
            "PATH: missing key `optimizer.learning_rate` with `optimizer.name: sgd` (a number greater than 0).\n"
            "PATH: unknown key `optimizer.learning_rat`. Did you mean `learning_rate`? "
            "Known keys with `optimizer.name: sgd`: learning_rate, momentum, name.",
        ),
        (
            "momentum: 0.9",
            "momentum: 1",
            "PATH: `optimizer.momentum` must be a number, at least 0 and less than 1; got 1.",
        ),
        (
            "evaluation: {every_steps: auto}",
            "evaluation: 500",
            "PATH: `evaluation` must be a section with the keys every_steps; got 500.",
        ),
        (
            "structure: diagonal, normalization: partial",
            "structure: unconstrained, normalization: full",
            "PATH: `similarity.normalization: full` goes with `similarity.structure: diagonal` only; "
            "set one of them to `partial` or `diagonal`.",
        ),
        (
            "momentum: 0.9",
            "momentum: [",
            "PATH, line 15: not readable as YAML: expected the node content, but found '}'.",
        ),
    ],
)
def test_whole_messages(edited, old, new, whole):
    path = edited(old, new)
    assert message(path) == whole.replace("PATH", str(path))


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
        (b"{}", "missing key `family`"),
        (b"family: image_recognition", "missing section `data`"),
    ],
)
def test_files_that_are_no_config(tmp_path, content, expected):
    (tmp_path / "x.yaml").write_bytes(content)
    assert expected in message(tmp_path / "x.yaml")


def test_byte_order_mark_and_windows_lines_are_fine(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert settings(tmp_path / "x.yaml") == settings(DYNAMIC)


def test_impossible_combinations():
    text = message("configs/cifar10/dynamic_uns.yaml", "similarity.normalization=full")
    assert "`similarity.normalization: full` goes with `similarity.structure: diagonal` only" in text
    assert len(text.splitlines()) == 1
    text = message(DYNAMIC, "runtime.deterministic=true", "runtime.jit_compile=true")
    assert "`runtime.deterministic: true` cannot go with `runtime.jit_compile: true`" in text
    assert len(text.splitlines()) == 1
    assert settings(DYNAMIC, "runtime.deterministic=true").runtime.jit_compile == "auto"


@pytest.mark.parametrize(
    ("path", "overrides", "expected"),
    [
        (
            SPHERE,
            [
                "similarity.kind=static",
                "similarity.structure=diagonal",
                "similarity.initializer=identity",
                "similarity.penalty_target=zero",
                "similarity.weight_decay=0",
            ],
            "`model.name: spherenet9` goes with `similarity.kind: none` only.",
        ),
        (
            SPHERE,
            ["model.widths=[7, 16, 24]"],
            "`model.attention: true` needs 8 or more filters in the first two stag",
        ),
        (
            SPHERE,
            ["model.operator=cosin"],
            "`model.operator` must be one of `cosine`, `linear`, `sigmoid`, `learnable_s",
        ),
        (SPHERE, ["model.orthogonality=-1"], "`model.orthogonality` must be a number, at least 0; got -1."),
        (SPHERE, ["loss.orthogonality=0"], "unknown key `loss.orthogonality`. It is `model.orthogonality` now. Known"),
        (STATIC, ["similarity.initializer=flattened_eye"], "goes with `similarity.structure: diagonal` only"),
        (SPHERE, ["model.query_rely=true"], "unknown key `model.query_rely`. Did you mean `query_relu`?"),
        (SPHERE, ["data.augmentation=flop"], "`data.augmentation` must be one of `none`, `flip`, `crop_flip`; got"),
        (SPHERE, ["data.input_scaling=cent"], "`data.input_scaling` must be one of `none`, `centred`; got"),
        (DYNAMIC, ["model.attention=true"], "unknown key `model.attention`. Known keys with `model.name: cnn9`: name,"),
        (
            BASELINE,
            ["similarity.filters=3"],
            "unknown key `similarity.filters`. Known keys with `similarity.kind: none`",
        ),
    ],
)
def test_what_does_not_go_with_the_network(path, overrides, expected):
    text = message(path, *overrides)
    assert expected in text
    assert len(text.splitlines()) == 1


def test_what_moved_or_has_another_name_is_told(edited):
    path = edited(
        "batch_norm: {debias: true", "predictor: {filters: 3}\nattention: {enabled: true}\nbatch_norm: {debias: true"
    )
    lines = message(path).splitlines()
    assert any("unknown section `predictor`. Its keys are in `similarity` now." in line for line in lines)
    assert any("unknown section `attention`. Its keys are in `model` now." in line for line in lines)
    text = message("configs/cifar10/static_dns.yaml", "similarity.initializer=released")
    assert text.endswith('; got "released". It is called `flattened_eye` now.')
    assert message(DYNAMIC, "similarity.gamma_initializer=identity").endswith("It is called `zeros` now.")


def test_a_wrong_variant_is_one_problem():
    """Its keys are those of another variant, and are not blamed."""
    assert len(message(DYNAMIC, "similarity.kind=dinamic").splitlines()) == 1


FAMILY = "family:     image_recognition\n"


def test_a_config_names_its_family(edited):
    known = "one of `image_recognition`, `few_shot`, `metric_learning`, `bregman`"
    path = edited(FAMILY, "")
    assert message(path) == f"{path}: missing key `family` ({known}). It is a config's first line."
    path = edited(FAMILY, "family: image_recogniton\n")
    expected = f'`family` must be {known}; got "image_recogniton". Did you mean `image_recognition`?'
    assert message(path) == f"{path}: {expected}"
    for value in ("3", "[image_recognition]", "{a: 1}", "null"):
        assert f"`family` must be {known}; got" in message(edited(FAMILY, f"family: {value}\n"))
    assert "a config keeps its family" in message(DYNAMIC, "family=few_shot")
