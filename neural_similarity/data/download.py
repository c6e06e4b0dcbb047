"""Downloads one file. What has come is kept in a partial file, where a later connection or a later call goes on.

The standard library alone; see setup.py.
"""

import contextlib
import fcntl
import http.client
import os
import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

if __package__:
    from neural_similarity.data.streams import tell
else:  # setup.py runs by itself
    from streams import tell

TIMEOUT_S = 30.0
WAITS_S = (1.0, 4.0, 15.0)  # before the second try, the third and the fourth
BLOCK_BYTES = 1 << 16


class DownloadError(Exception):
    """The file could not be downloaded. The message says what happened and where, not what to do next."""


class BusyError(Exception):
    """Another process holds the partial file."""


class _BrokeOff(Exception):
    """A connection failed. Another one may go on."""


class _NoConnection(_BrokeOff):
    """The server could not be reached at all."""


@contextlib.contextmanager
def alone(path):
    """Opens the partial file for appending, for this process alone. If it is empty in the end, it is removed.

    Raises:
        BusyError: another process has it open.
    """
    with _lock(path) as file:
        try:
            yield file
        finally:
            if _size(file) == 0:
                path.unlink(missing_ok=True)


def fetch(url, file, most_bytes):
    """Completes a partial file.

    Args:
        url: where the whole file is.
        file: its beginning, which may be empty, as `alone` opened it.
        most_bytes: what the whole file may have; a server that sends more has another file.

    Returns:
        True if the file was put together from answers of different times. The file on the server may have changed
        between them, so that the parts do not belong together.

    Raises:
        DownloadError: there is no connection, the server answers that it has no such file or has a larger one, or
            connections broke off too often. What came is kept, but not of a larger file.
        OSError: the file cannot be written.
    """
    waits_s = iter(WAITS_S)
    total = None
    most = _size(file)
    answered = False
    while True:
        try:
            response, start, total = _open(url, _size(file))
            answered = True
            with response:
                file.truncate(start)
                _receive(response, file, start, total, most_bytes)
            file.flush()
            return start > 0
        except _BrokeOff as error:
            if isinstance(error, _NoConnection) and not answered:
                raise DownloadError(f"{url}: no connection: {error}.") from error
            there = f"{_size(file):,} of {total:,} bytes" if total is not None else f"{_size(file):,} bytes"
            if _size(file) > most:  # something came, so that the tries are counted anew
                most, waits_s = _size(file), iter(WAITS_S)
            wait_s = next(waits_s, None)
            if wait_s is None:
                raise DownloadError(
                    f"{url}: failed {len(WAITS_S) + 1} times in a row, the last time: {error}. "
                    f"{there} are in {file.name}."
                ) from error
            tell(f"{url}: broke off after {there}: {error}; trying again in {wait_s:.0f} s", sys.stderr)
            time.sleep(wait_s)


def _lock(path):
    """Opens a file for appending and locks it; BusyError if another process holds the lock."""
    while True:
        file = path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise BusyError(str(path)) from error
        # The process that held the lock may have removed the file after we opened it and before we locked it. Then
        # ours is a file without a name, and another process would lock a new one.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _size(file):
    return file.seek(0, os.SEEK_END)


def _open(url, have):
    """Asks for the file from byte `have` on.

    Returns:
        (response, the position in the file of its first byte, which is `have` or 0, size of the whole file or None).
    """
    headers = {"User-Agent": "neural-similarity", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:
            return _open(url, 0)  # the file ends before byte `have`: what is there is not its beginning
        words = f"HTTP status {error.code} ({error.reason})"
        if error.code == 429 or error.code >= 500:
            raise _BrokeOff(words) from error
        raise DownloadError(f"{url}: expected the file, got {words}.") from error
    except urllib.error.URLError as error:
        raise _NoConnection(_words(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokeOff(_words(error)) from error
    if response.status == 200:
        return response, 0, response.length
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if response.status == 206 and span and int(span[1]) == have:
        return response, have, None if span[2] == "*" else int(span[2])
    response.close()
    if have:
        return _open(url, 0)
    raise DownloadError(f"{url}: expected the file, got HTTP status {response.status} ({response.reason}).")


def _receive(response, file, done, total, most_bytes):
    """Appends the response to the file, which holds `done` of `total` bytes."""
    progress = _Progress(Path(file.name).stem, done, total)
    try:
        while (total or done) <= most_bytes and (block := _read(response)):
            file.write(block)
            done += len(block)
            progress.show(done)
    finally:
        progress.close()
    if max(total or 0, done) > most_bytes:
        file.truncate(0)
        raise DownloadError(f"{response.url}: expected at most {most_bytes:,} bytes, and the server sends more.")
    if total is not None and done < total:
        raise _BrokeOff("closed by the other side")


def _read(response):
    try:
        return response.read1(BLOCK_BYTES)  # returns what has come, without waiting for more that may never come
    except (OSError, http.client.HTTPException) as error:
        raise _BrokeOff(_words(error)) from error


def _words(error):
    """What an error says, for people."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class _Progress:
    """Shows how much has come: on a terminal in one line that is rewritten, elsewhere in a line per tenth of a file."""

    def __init__(self, name, done, total):
        self.name, self.began_with, self.total = name, done, total
        self.in_place = bool(sys.stderr and sys.stderr.isatty())
        self.began_s = time.monotonic()
        self.shown_s = -1.0
        self.tenths = self._tenths(done)

    def show(self, done):
        now = time.monotonic()
        if self.in_place and (now - self.shown_s >= 0.2 or done == self.total):
            self.shown_s = now
            tell(f"{self._line(done, now):<72}", sys.stderr, end="\r")
        elif not self.in_place and self._tenths(done) > self.tenths:
            self.tenths = self._tenths(done)
            tell(self._line(done, now), sys.stderr)

    def close(self):
        if self.in_place and self.shown_s >= 0:
            tell("", sys.stderr)

    def _tenths(self, done):
        return 10 * done // self.total if self.total else 0

    def _line(self, done, now):
        speed = (done - self.began_with) / max(now - self.began_s, 1e-3)
        amount = f"{done / 1e6:.1f} MB"
        if self.total:
            amount = f"{100 * done // self.total:3d} %  {done / 1e6:.1f} of {self.total / 1e6:.1f} MB"
        return f"{self.name}: {amount}  {speed / 1e6:.1f} MB/s"
