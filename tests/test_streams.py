"""Standard output and standard error that are closed, that nobody reads, or that lack letters."""

import io
import logging
import os
import subprocess
import sys

import pytest
from digits_runs import digits, run_main
from tiny_sets import ARCHIVE, TINY, assert_complete

from neural_similarity.command import guarded
from neural_similarity.config import REPOSITORY
from neural_similarity.data import registry, setup
from neural_similarity.data.streams import prepare, printable, tell

log = logging.getLogger("neural_similarity")


class Broken(io.StringIO):
    """A stream that cannot be written."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error

    def flush(self):
        raise self.error


def encoded(encoding):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def written(stream):
    stream.flush()
    return stream.buffer.getvalue().decode(stream.encoding)


@pytest.mark.parametrize(
    ("encoding", "expected"), [("ascii", r"2 \u2192 3 \xd7 \u03b5"), ("latin-1", r"2 \u2192 3 × \u03b5")]
)
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_letters_that_the_encoding_lacks_are_escapes(name, encoding, expected, monkeypatch):
    monkeypatch.setattr(sys, name, encoded(encoding))
    prepare()
    print("2 → 3 × ε", file=getattr(sys, name))
    assert written(getattr(sys, name)) == expected + "\n"


def test_all_that_a_command_says_survives_ascii(monkeypatch):
    monkeypatch.setattr(sys, "stdout", encoded("ascii"))
    monkeypatch.setattr(sys, "stderr", encoded("ascii"))

    def command():
        log.info("a → b")
        print("c → d")
        raise OSError(2, "No such file", "é")

    assert guarded(command) == 2
    assert written(sys.stdout) == "a \\u2192 b\nc \\u2192 d\n"
    assert written(sys.stderr) == "\\xe9: No such file.\n"


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [lambda: None, closed])
def test_without_a_stream_the_command_runs(stream, monkeypatch):
    monkeypatch.setattr(sys, "stdout", stream())
    monkeypatch.setattr(sys, "stderr", stream())

    def command():
        log.info("a")
        print("b")
        tell("c", sys.stderr)
        return 3

    assert guarded(command) == 3


CLOSED_FILES = """
import os, sys
from neural_similarity.data.streams import prepare
prepare()
assert os.fstat(1) and os.fstat(2) and sys.stdout and sys.stderr
file = open(sys.argv[1], "w")
os.write(2, b"a note of a library"), os.write(1, b"another one")
file.write("ours"), file.close()
assert open(sys.argv[1]).read() == "ours"
os.execv(sys.executable, [sys.executable, "-c", "import sys; assert sys.stdout and sys.stderr"])
"""


@pytest.mark.parametrize("redirections", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_other_file_gets_the_number_of_a_closed_stream(redirections, tmp_path):
    command = f'"$0" -c "$1" "$2" {redirections}'
    words = ["sh", "-c", command, sys.executable, CLOSED_FILES, tmp_path / "file"]
    assert subprocess.run(words, cwd=REPOSITORY).returncode == 0


GONE = [BrokenPipeError(32, "Broken pipe"), OSError(5, "Input/output error")]  # a pipe, a terminal
FULL = OSError(28, "No space left on device")


class Unread(Broken):
    """A pipe whose reader ended. As with the null device in its place, its flush tells nothing after the writes."""

    flush = io.StringIO.flush


def test_a_training_that_nobody_reads_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Unread(GONE[0]))
    assert run_main(digits(tmp_path / "run", "--set", "schedule.train_steps=6")) == 0
    assert (tmp_path / "run/result.json").exists()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [*GONE, FULL])
def test_the_log_stops_nothing(error, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Unread(error))
    done = []
    assert guarded(lambda: log.info("a") or done.append(1)) == 0
    assert done
    assert capsys.readouterr().err == ""


def test_a_tool_that_nobody_reads_ends_quietly(monkeypatch, capsys):
    for command in (lambda: print("a"), lambda: None):  # while it prints, and at its end
        monkeypatch.setattr(sys, "stdout", Broken(GONE[0]))
        assert guarded(command) == 141
    assert capsys.readouterr().err == ""


def test_a_full_disk_under_what_a_tool_prints_is_told(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Broken(FULL))
    assert guarded(lambda: None) == 2
    assert capsys.readouterr().err == (
        "Standard output: No space left on device. Something of what was printed is missing.\n"
    )


@pytest.mark.parametrize("error", [*GONE, FULL])
def test_a_message_that_cannot_be_written_keeps_its_code(error, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Broken(error))
    assert guarded(lambda: os.listdir("nowhere")) == 2


PIPES = """
from neural_similarity.command import guarded
import logging
log = logging.getLogger("neural_similarity")
def command():
    for number in range(3):
        {say}("x" * 100_000)
raise SystemExit(guarded(command))
"""


@pytest.mark.parametrize(("say", "code"), [("log.info", 0), ("print", 141)])
def test_nothing_is_complained_of_at_the_very_end(say, code):
    """A pipe whose reader ended: Python itself would say that it cannot flush, and exit with 120."""
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-c", PIPES.format(say=say)]
    done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, cwd=REPOSITORY)
    os.close(write)
    assert (done.returncode, done.stderr) == (code, b"")


def test_a_standard_error_that_was_opened_for_reading_costs_no_exit_code():
    """So it may be where it was closed, and a shell script started Python: the script itself then has its number."""
    words = [sys.executable, "-m", "neural_similarity", "no-such-tool"]
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    with open(os.devnull) as reading:
        done = subprocess.run(words, stderr=reading, cwd=REPOSITORY, env=environment)
    assert done.returncode == 2


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize(("archive", "code"), [(ARCHIVE, 0), (b"<html>", 2)])
def test_the_data_sets_are_set_up_whoever_reads(archive, code, stream, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(registry, "DATA_SETS", {"tiny10": TINY})
    monkeypatch.setattr(sys, stream, Broken(GONE[0]))
    (tmp_path / "tiny.tar.gz").write_bytes(archive)
    assert setup.main(["--from", str(tmp_path), "--root", str(tmp_path / "root")]) == code
    assert "Broken pipe" not in "".join(capsys.readouterr())
    if code == 0:
        assert_complete(tmp_path / "root")


def test_what_moves_a_cursor_is_an_escape():
    assert printable("a\x1b[2Jb\x07\r\u202e\x9b") == r"a\x1b[2Jb\x07\r\u202e\x9b"
    assert printable("naïve → ε × 猫\n  two") == "naïve → ε × 猫\n  two"
