"""What a download shows of how much has come."""

import io
import sys

from neural_similarity.data import download


class Terminal(io.StringIO):
    def isatty(self):
        return True


def progress(monkeypatch, stream, begin, end, total):
    """What is shown while `begin` to `end` megabytes come, one in a tenth of a second."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(download.time, "monotonic", lambda: clock)
    clock = 0.0
    shown = download._Progress("tiny.tar.gz", begin * 10**6, total and total * 10**6)
    for done in range(begin + 1, end + 1):
        clock += 0.1
        shown.show(done * 10**6)
    shown.close()
    return stream.getvalue()


def test_progress_is_a_line_every_tenth(monkeypatch):
    lines = progress(monkeypatch, io.StringIO(), 25, 200, 200).splitlines()
    assert lines[0] == "tiny.tar.gz:  20 %  40.0 of 200.0 MB  10.0 MB/s"
    assert [line.split()[1] for line in lines] == [str(percent) for percent in range(20, 101, 10)]


def test_progress_on_a_terminal_is_one_line(monkeypatch):
    shown = progress(monkeypatch, Terminal(), 0, 199, 200)
    assert shown.count("\n") == 1
    assert shown.endswith("\n")
    lines = shown.rstrip("\n").split("\r")[:-1]
    assert 60 <= len(lines) <= 110  # at most five a second
    assert {len(line) for line in lines} == {72}  # each hides the one before
    assert lines[0].rstrip() == "tiny.tar.gz:   0 %  1.0 of 200.0 MB  10.0 MB/s"
    assert "100 %" in progress(monkeypatch, Terminal(), 198, 200, 200)  # the end is shown, however soon it comes


def test_progress_of_a_file_of_unknown_size(monkeypatch):
    assert progress(monkeypatch, io.StringIO(), 0, 50, None) == ""
    assert progress(monkeypatch, Terminal(), 0, 1, None).rstrip() == "tiny.tar.gz: 1.0 MB  10.0 MB/s"
