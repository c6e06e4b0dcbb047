"""One door for the tools, and what every command line shares."""

import importlib
import subprocess
import sys

import pytest
import tensorflow as tf
from commands import exit_code, run_tool
from digits_runs import run_main
from imports import sources

from neural_similarity.__main__ import COMMANDS, main
from neural_similarity.command import guarded
from neural_similarity.config import REPOSITORY
from neural_similarity.data import setup
from neural_similarity.errors import Interrupted, UserError

NAMES = ("predict", "weights", "export", "merge", "convert", "parity", "record", "tables")
NAMES += ("plots", "launch", "report", "matrices", "attention", "compare", "episode", "pair", "divergence", "retrieve")
WITHOUT_TENSORFLOW = (
    "import sys, neural_similarity.__main__ as door\n"
    "try: door.main(sys.argv[1:])\n"
    "finally: assert not {'tensorflow', 'keras', 'matplotlib', 'sklearn'} & set(sys.modules)"
)


def test_without_a_command_they_are_listed_one_line_each(capsys):
    assert exit_code(main) == 0
    listed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ") and "-h," not in line]
    assert tuple(line.split()[0] for line in listed) == NAMES
    for line, (_, about) in zip(listed, COMMANDS.values(), strict=True):
        assert line.split(maxsplit=1)[1] == about
        assert len(line) <= 90


@pytest.mark.parametrize("words", [["--help"], ["predict", "--help"], ["merge", "--help"], ["convert", "--help"]])
def test_help_comes_without_tensorflow(words):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, *words], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: python -m neural_similarity")


def test_launch_leaves_tensorflow_to_the_workers(tmp_path):
    (tmp_path / "train.py").write_text("print('trained')")
    words = [sys.executable, "-c", WITHOUT_TENSORFLOW, "launch", "--workers", "2", str(tmp_path / "train.py")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["[0] trained", "[1] trained"]


def test_tensorflow_starts_without_its_notes():
    code = (
        "from neural_similarity.families import family_of; from neural_similarity.config import load; "
        "family_of(load('configs/quickstart/baseline.yaml')).network"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout + done.stderr == ""


def test_an_unknown_command_names_the_known_ones(capsys):
    assert run_tool("predit") == 2
    said = capsys.readouterr().err
    assert all(name in said for name in NAMES)


@pytest.mark.parametrize(
    ("stop", "code", "message"),
    [
        (None, 0, ""),
        (UserError("a, b: wrong."), 2, "a, b: wrong."),
        (FileNotFoundError(2, "No such file", "x"), 2, "x: No such file.\n"),
        (PermissionError(13, "Permission denied", "images/cat"), 2, "images/cat: Permission denied.\n"),
        (OSError(28, "No space left on device"), 2, "A file was not read or written: No space left on device.\n"),
        (OSError("truncated"), 2, "A file was not read or written: truncated.\n"),
        (FileNotFoundError(2, "No such file"), 2, "The working folder is not there any more. Next: cd to one"),
        (MemoryError(), 2, "Out of memory. Try fewer images in a step (data.global_batch_size; "),
        (tf.errors.ResourceExhaustedError(None, None, ""), 2, "Out of memory."),
        (KeyboardInterrupt(), 130, "Stopped. Go on.\n"),
        (UserError("a\x1b[31m\u202eb\rc"), 2, "a\\x1b[31m\\u202eb\\rc\n"),
        (UserError("caf\udce9"), 2, "caf\\udce9\n"),
        (
            ModuleNotFoundError("No module named 'PIL'", name="PIL"),
            1,
            "No module named 'PIL'. In the repository: make in",
        ),
        (Interrupted(1200, "Not this."), 130, "Stopped after step 1,200, and saved. Go on.\n"),
        (ImportError("TensorFlow does not fit.", name="tensorflow"), 1, "TensorFlow does not fit.\n"),
    ],
)
def test_what_stops_a_command_is_one_message_and_a_code(stop, code, message, capsys):
    def command():
        if stop:
            raise stop

    assert guarded(command, "Go on.") == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(message)
    assert said.err.count("\n") == bool(message)


def test_a_command_may_say_its_own_code():
    assert guarded(lambda: 1) == 1
    assert guarded(lambda: sys.exit(2)) == 2  # as argparse does
    assert guarded(lambda: sys.exit()) == 0


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        (Interrupted(3), "Stopped after step 3, and saved.\n"),
        (Interrupted(3, "Go on: x --resume"), "Stopped after step 3, and saved. Go on: x --resume\n"),
        (KeyboardInterrupt(), "Stopped.\n"),
        (KeyboardInterrupt("Go on: x --resume"), "Stopped. Go on: x --resume\n"),
    ],
)
def test_who_was_stopped_may_bring_the_advice_along(stop, message, capsys):
    def command():
        raise stop

    assert guarded(command) == 130
    assert capsys.readouterr().err == message


def test_a_message_keeps_its_lines(capsys):
    def command():
        raise UserError("one\n  two")

    assert guarded(command) == 2
    assert capsys.readouterr().err == "one\n  two\n"


def test_a_mistake_in_the_words_cannot_move_the_cursor(capsys):
    assert run_tool("predict", "run", "x.png", "--\x1b[2J") == 2
    assert run_main(["--\x1b[2J"]) == 2
    assert exit_code(setup.main, "--\x1b[2J") == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert said.count("--\\x1b[2J") == 3


def test_help_needs_no_docstrings():
    """-OO leaves them out."""
    for words in ([], ["predict", "--help"]):
        done = subprocess.run(
            [sys.executable, "-OO", "-m", "neural_similarity", *words], capture_output=True, text=True, cwd=REPOSITORY
        )
        assert done.returncode == 0, done.stderr
        assert "Names what a trained network sees in images." in done.stdout
    for path, *_ in sources():
        assert "__doc__." not in path.read_text(encoding="utf-8"), path


def test_other_errors_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 / 0)
    with pytest.raises(ModuleNotFoundError, match="neural_similarity"):
        guarded(lambda: importlib.import_module("neural_similarity.no_such_module"))


def test_outside_of_the_environment_the_tools_say_what_to_do():
    """-S leaves out site-packages; the repository is the working folder, so that the package itself is found."""
    done = subprocess.run(
        [sys.executable, "-S", "-m", "neural_similarity", "predict", "run", "x.png"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("No module named ")
    assert done.stderr.endswith("In the repository: make install, then source .venv/bin/activate\n")
