"""What is typed behind `--set` or as an option of a train.py: it is the value, or it is refused with the reason."""

import math
import os
import time

import pytest
from commands import exit_code

from configs import DYNAMIC, SPHERE, TEXT, message, settings
from neural_similarity.config import name_of
from neural_similarity.errors import UserError
from neural_similarity.families import main

STATIC = "configs/cifar10/static_dns.yaml"

# Texts


@pytest.mark.parametrize(
    "text",
    [
        *("my photos #2", "#2", "a #", "a: b", "a: #b", "&a b", "*a", "!x", "%x", "@x", "`x`", "- a", "? a", "| a"),
        *(
            "~",
            "null",
            "true",
            "3",
            "1e5",
            "[a]",
            "{a: 1}",
            "'a'",
            '"a"',
            "'a",
            "a'b",
            " a",
            "a ",
            "  ",
            "a=b",
            "ä",
            "\\n",
        ),
    ],
)
def test_a_folder_is_what_was_typed(text):
    assert settings(DYNAMIC, f"data.root={text}").data.root == text
    assert settings(DYNAMIC, f" data.root ={text}", "data.name=folder").data.root == text


@pytest.mark.parametrize(
    "text", ["digits #2", "'digits'", '"digits"', " digits", "digits ", "&x digits", "!!str digits"]
)
def test_a_word_is_what_was_typed(text):
    assert "`data.name` must be one of `cifar10`, " in message(DYNAMIC, f"data.name={text}")


def test_the_other_values_are_yaml_without_comments():
    config = settings(DYNAMIC, "model.widths= [8, 16, 32] ", "seed= 3", "evaluation.every_steps=auto")
    assert (config.model.widths, config.seed, config.evaluation.every_steps) == ((8, 16, 32), 3, "auto")
    for text in ("seed=1 #2", "evaluation.every_steps=auto # often", "model.widths=[8, 16, 32] #", "seed=#"):
        assert message(DYNAMIC, text).startswith(f"--set {text}: `#` begins a comment, ")


@pytest.mark.parametrize("text", ["data.root=a\nb", "data.root=a\x1b[31m", "seed=1\n", "data.name=digits\x00"])
def test_what_cannot_be_printed_is_refused(text):
    said = message(DYNAMIC, text)
    assert "a character that cannot be printed" in said
    assert said.isprintable()


def test_a_config_whose_name_cannot_be_printed(tmp_path):
    (tmp_path / "a\x1b[2J.yaml").write_text(TEXT)
    with pytest.raises(UserError, match=r"a\\u001b\[2J\.yaml: results carry this file's name"):
        name_of(tmp_path / "a\x1b[2J.yaml")


# Numbers


@pytest.mark.parametrize(
    "key",
    [
        *("optimizer.learning_rate", "optimizer.momentum", "loss.weight_decay", "loss.label_smoothing"),
        *("schedule.scale", "schedule.factor", "checkpoint.every_minutes", "batch_norm.decay"),
        *("similarity.decay_multiplier", "data.validation_fraction"),
    ],
)
def test_a_number_that_32_bits_lose_is_refused(key):
    said = message(DYNAMIC, f"{key}=5e-324")
    assert f"`{key}` must be " in said
    assert said.endswith("; got 5e-324. Networks compute in 32 bits: 5e-324 becomes 0.")
    assert "becomes 0." in message(DYNAMIC, f"{key}=1e-39")
    assert f"`{key}` must be " in message(DYNAMIC, f"{key}=1e308")


def test_numbers_at_the_edges():
    assert message(DYNAMIC, "optimizer.learning_rate=1e308").endswith(" 32 bits: 1e+308 becomes inf.")
    assert message(DYNAMIC, "loss.weight_decay=1" + "0" * 60).endswith(" becomes inf.")
    assert message(DYNAMIC, "batch_norm.decay=0.99999999999").endswith(" 32 bits: 0.99999999999 becomes 1.")
    assert message(DYNAMIC, "similarity.init_scales=[0.1, 1e-50]").endswith(" 32 bits: 1e-50 becomes 0.")
    assert message(SPHERE, "model.orthogonality=1e-50").endswith("becomes 0.")
    assert message(SPHERE, "optimizer.epsilon=1e-50").endswith("becomes 0.")
    for value in (0.0, 1e-30, 1e30):
        assert settings(DYNAMIC, f"loss.weight_decay={value}").loss.weight_decay == value
    assert settings(DYNAMIC, "optimizer.momentum=0.999999").optimizer.momentum == 0.999999
    assert settings(DYNAMIC, "schedule.scale=0.99999999999").schedule.scale == 0.99999999999  # 1 is one, too
    assert "32 bits" not in message(DYNAMIC, "optimizer.learning_rate=0")
    assert math.isclose(settings(DYNAMIC, "optimizer.learning_rate=1.00000000001").optimizer.learning_rate, 1)


# Files


@pytest.mark.parametrize("name", ["x.yaml", "run/config.yaml"])
def test_what_is_too_large_to_be_a_config_is_refused_at_once(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    (path.parent / "run.json").write_text("{}")
    with path.open("wb") as file:
        file.write(TEXT.encode())
        file.truncate(10**10)  # sparse
    began = time.monotonic()
    assert message(path) == f"{path}: larger than 100,000 bytes, so it is no config. Start from a file in configs/."
    assert time.monotonic() - began < 1


def test_what_is_no_file_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "x.yaml")
    assert "x.yaml: a pipe, not a file, so it is no config." in message(tmp_path / "x.yaml")
    assert "/dev/zero: a device, not a file" in message("/dev/zero")


def test_a_folder_with_the_signs_of_a_pattern(tmp_path):
    (tmp_path / "[ab]*").mkdir()
    (tmp_path / "[ab]*" / "mine.yaml").write_text(TEXT)
    assert "[ab]*: a folder. Name a file in it: mine.yaml." in message(tmp_path / "[ab]*")


# Options


def advice(capsys, *words, code=2, default=STATIC):
    assert exit_code(lambda arguments: main(default, arguments), *words) == code
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--seed", "1"], ["seed=1"]),
        (["--seed=1"], ["seed=1"]),
        (["-seed", "1"], ["seed=1"]),
        (["seed=1"], ["seed=1"]),  # a second one behind one `--set`
        (["--learning_rate", "0.1"], ["optimizer.learning_rate=0.1"]),
        (["--optimizer.learning_rate", "0.1"], ["optimizer.learning_rate=0.1"]),
        (["--train-steps=100", "--dry-run"], ["schedule.train_steps=100"]),
        (["--root", "my photos #2"], ["'data.root=my photos #2'"]),
        (["--root", "my", "photos"], ["'data.root=my photos'"]),  # a blank without quotes
        (["--name", "folder"], ["data.name=folder"]),
        (["--widths", "8", "16", "32"], ["'model.widths=[8, 16, 32]'"]),
        (["--deterministic"], ["runtime.deterministic=true"]),
        (["--weight-decay", "1e-4"], ["similarity.weight_decay=1e-4", "loss.weight_decay=1e-4"]),
    ],
)
def test_an_option_that_is_a_key_is_told_as_a_setting(capsys, words, expected):
    settings_in_words = " or ".join(f"--set {text}" for text in expected)
    name = words[0].partition("=")[0]
    assert advice(capsys, *words) == f"{name}: no option, but a key of the config. Next: {settings_in_words}\n"


def test_several_options_are_told_each(capsys):
    said = advice(capsys, "--seed", "1", "--factor=0.5").splitlines()
    assert [line.partition("Next: ")[2] for line in said] == ["--set seed=1", "--set schedule.factor=0.5"]
    said = advice(capsys, "--deterministic", "--jit-compile", "true")  # each alone would be accepted
    assert "Next: --set runtime.deterministic=true\n" in said
    assert "`runtime.deterministic: true` cannot go with `runtime.jit_compile: true`" in said


def test_no_advice_that_does_not_work(capsys):
    assert 'got "abc".' in advice(capsys, "--seed", "abc")
    assert "got -1." in advice(capsys, "--seed", "-1")
    assert advice(capsys, "--seed").endswith("It needs a value: --set seed=VALUE\n")
    for words in (["--beta_1", "0.9"], ["--foo"], ["--family", "x"], ["--seed", "1", "--foo"], ["x", "--seed", "1"]):
        said = advice(capsys, *words)
        assert "unrecognized arguments: " in said
        assert "--set seed" not in said
