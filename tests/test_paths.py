"""Paths as people type them: one rule for every command, for `data.root` and for the environment's variable."""

import argparse
from pathlib import Path

import pytest
from commands import exit_code, run_tool
from tiny_sets import CONTENT, TINY, read, run, write

from configs import DYNAMIC, settings
from neural_similarity import __main__ as tools
from neural_similarity import data
from neural_similarity.config import REPOSITORY
from neural_similarity.data import registry
from neural_similarity.data.places import default_root, setup_command, typed_path
from neural_similarity.errors import UserError
from neural_similarity.families import main
from neural_similarity.families.main import _parser
from neural_similarity.files import shown

NOBODY = "~nobody_of_this_name/x"
PATHS = {"RUN", "OTHER", "IMAGE", "CKPT", "DIR", "FILE", "FILE.keras", "FILE.png", "FILE.jsonl"}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home, and a working folder that has a `~`."""
    home, here = tmp_path / "home", tmp_path / "here"
    for folder in (home, here / "~"):
        folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", "")
    monkeypatch.chdir(here)
    return home


def test_the_rule(home):
    assert typed_path("~") == home
    assert typed_path("~/a b #1") == home / "a b #1"
    assert typed_path("~root/x") == Path("~root").expanduser() / "x"
    assert typed_path("./~/x") == typed_path(typed_path("./~/x")) == Path.cwd() / "~" / "x"
    assert typed_path("~/x", "/base") == home / "x"
    assert typed_path("./~/x", "/base") == Path("/base/~/x")
    for text in ("a", "a/~", "/a/~b", "$HOME", "%x", " a ", "[a]*?", "a\nb", "é"):
        assert str(typed_path(text)) == text
        assert typed_path(text, "/base") == Path("/base", text)
    for text, words in [("", "expected a path"), ("a\0", "expected a path"), (NOBODY, "that home does not exist")]:
        with pytest.raises(argparse.ArgumentTypeError, match=words):
            typed_path(text)


def test_every_path_of_every_tool_follows_it():
    found = 0
    for name, (command, _) in tools.COMMANDS.items():
        parser = argparse.ArgumentParser(description="")
        command(parser)
        for action in parser._actions:
            if action.metavar in PATHS:
                found += 1
                assert action.type in (typed_path, tools._image), (name, action.dest)
    assert found >= 15
    for action in _parser("x", "y")._actions:
        if action.dest in ("config", "run_dir"):
            assert action.type is typed_path


@pytest.mark.parametrize(
    "words",
    [
        ("predict", NOBODY, "x.png"),
        ("predict", "run", NOBODY),
        ("merge", "run", "--out", NOBODY),
        ("convert", NOBODY, "--config", DYNAMIC, "--out", "x.keras"),
        ("convert", "x", "--config", NOBODY, "--out", "x.keras"),
        ("parity", NOBODY),
        ("record", NOBODY),
        ("tables", "--results", NOBODY),
        ("tables", "--results", ""),
        ("plots", NOBODY, "--out", "x.png"),
        ("attention", "run", "--images", "3", NOBODY),
        ("compare", "run", NOBODY),
        ("episode", NOBODY),
    ],
    ids=" ".join,
)
def test_a_home_that_does_not_exist_is_refused(words, capsys):
    assert run_tool(*words) == 2
    said = capsys.readouterr().err
    assert "that home does not exist" in said or "expected a path, got ''" in said


def test_tools_look_and_write_in_the_home(home, capsys):
    assert run_tool("predict", "~/runs/a", "x.png") == 2
    assert f"{home}/runs/a: not a run folder" in capsys.readouterr().err
    (home / "results").mkdir()
    (home / "results" / "x.jsonl").write_text("no line")
    assert run_tool("tables", "--results", "~/results") == 2
    assert "x.jsonl, line 1: not a result line" in capsys.readouterr().err
    assert tools._image("7") == "7"
    assert tools._image("~/7") == f"{home}/7"


def test_a_train_py_looks_in_the_home(home, capsys):
    def train(*words):
        code = exit_code(lambda arguments: main(DYNAMIC, arguments), *words)
        return code, "".join(capsys.readouterr())

    code, said = train("--config=~/x.yaml", "--run-dir", "~/runs/a")
    assert code == 2
    assert f"{home}/x.yaml: no such config" in said
    (home / "x.yaml").write_text((REPOSITORY / DYNAMIC).read_text())
    code, said = train("--config", "~/x.yaml", "--run-dir=~/runs/a", "--eval-only")
    assert code == 2
    assert f"{home}/runs/a: not a run folder" in said
    code, said = train(f"--run-dir={NOBODY}")
    assert code == 2
    assert "that home does not exist" in said
    assert list((Path.cwd() / "~").iterdir()) == []


def test_a_shown_path_can_be_typed_again():
    for name in ("~", "~x", "-x", "x", "a/~x"):
        assert typed_path(shown(Path.cwd() / name)).absolute() == Path.cwd() / name
        assert not shown(Path.cwd() / name).startswith("-")


def test_the_root_of_the_data(home):
    assert settings(DYNAMIC, "data.root=~/a #1").data.root_path == home / "a #1"
    assert settings(DYNAMIC, "data.root=./~/a").data.root_path == REPOSITORY / "~" / "a"
    variable = {"NEURAL_SIMILARITY_DATA": "~/sets"}
    assert settings(DYNAMIC, environment=variable).data.root_path == default_root(variable) == home / "sets"
    with pytest.raises(UserError, match=r"`data.root`: .*that home does not exist"):
        _ = settings(DYNAMIC, environment={"NEURAL_SIMILARITY_DATA": NOBODY}).data.root_path
    with pytest.raises(UserError, match="that home does not exist"):
        data.class_names("folder", NOBODY)


def test_dataset_setup(home, capsys, monkeypatch):
    monkeypatch.setattr(registry, "DATA_SETS", {"tiny10": TINY})
    write(home / "mine", CONTENT)
    code, out, _ = run(capsys, "--from=~/mine", "--root=~/sets")
    assert code == 0
    assert read(home / "sets" / "tiny-bin") == CONTENT
    assert out.rstrip().endswith(f"--set data.root={home}/sets")
    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", "~/others")
    assert run(capsys, "--from", "~/mine")[0] == 0
    assert read(home / "others" / "tiny-bin") == CONTENT
    for words in (["--root", NOBODY], ["--from", NOBODY], ["--root", ""], ["--from="]):
        assert exit_code(lambda arguments: run(capsys, *arguments), *words) == 2
        assert "expected a path, got ''" in (said := capsys.readouterr().err) or "home does not exist" in said
    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", NOBODY)
    code, _, err = run(capsys, "--from", "~/mine")
    assert (code, err.count("NEURAL_SIMILARITY_DATA: ")) == (2, 1)
    assert "that home does not exist" in err
    assert setup_command("x", "/a").endswith(" --root /a")  # whatever the variable says


def test_what_a_terminal_would_obey_is_written_out(home, capsys):
    assert run_tool("predict", "a\x1b[2J\x9b1m\u202e\r\udc80é", "x.png") == 2
    said = capsys.readouterr().err
    assert said.startswith("a\\x1b[2J\\x9b1m\\u202e\\r\\udc80é: not a run folder")
    (home / "\x1b]0;x\x07.json").touch()
    assert run_tool("parity", home, "--no-require-all") == 1
    assert capsys.readouterr().out.startswith("\\x1b]0;x\\x07: unknown; known are ")
