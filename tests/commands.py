"""Runs command lines in the process of the tests."""

import pytest

from neural_similarity.__main__ import main


def run_tool(name, *arguments):
    """The exit code of `python -m neural_similarity NAME ARGUMENTS`."""
    return exit_code(main, name, *arguments)


def exit_code(command_line, *arguments):
    """The code that a `main(arguments)` exits with."""
    with pytest.raises(SystemExit) as exited:
        command_line([str(argument) for argument in arguments])
    return exited.value.code
