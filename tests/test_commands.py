"""One door for the tools, and what every command line shares."""

import importlib
import subprocess
import sys

import pytest
import tensorflow as tf
from commands import exit_code, run_tool

from neural_similarity.__main__ import COMMANDS, main
from neural_similarity.command import guarded
from neural_similarity.config import REPOSITORY
from neural_similarity.errors import Interrupted, UserError

NAMES = ("predict", "merge", "convert", "parity", "record", "tables", "plots", "attention")
WITHOUT_TENSORFLOW = (
    "import sys, neural_similarity.__main__ as door\n"
    "try: door.main(sys.argv[1:])\n"
    "finally: assert not {'tensorflow', 'keras', 'matplotlib', 'sklearn'} & set(sys.modules)"
)


def test_without_a_command_they_are_listed_one_line_each(capsys):
    assert exit_code(main) == 0
    listed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ") and "-h," not in line]
    assert tuple(line.split()[0] for line in listed) == NAMES
    for line, command in zip(listed, COMMANDS, strict=True):
        assert line.split(maxsplit=1)[1] == command.__doc__.replace("`", "")
        assert len(line) <= 90


@pytest.mark.parametrize("words", [["--help"], ["predict", "--help"], ["merge", "--help"], ["convert", "--help"]])
def test_help_comes_without_tensorflow(words):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, *words], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: python -m neural_similarity")


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
        (FileNotFoundError(2, "No such file", "x"), 2, "x: No such file. What was saved is still there."),
        (MemoryError(), 2, "Out of memory. What was saved is still there. Try a smaller data.global_batch_size, or"),
        (tf.errors.ResourceExhaustedError(None, None, ""), 2, "Out of memory."),
        (KeyboardInterrupt(), 130, "Stopped. Go on."),
        (
            ModuleNotFoundError("No module named 'PIL'", name="PIL"),
            1,
            "No module named 'PIL'. In the repository: make in",
        ),
        (Interrupted(1200), 130, "Stopped after step 1,200, and saved. Go on."),
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
