"""Standard output and standard error, also where they are closed, nobody reads them, or their encoding lacks letters.

Whatever could move the cursor of a terminal is shown there as an escape.

The standard library alone; see setup.py.
"""

import argparse
import contextlib
import errno
import os
import sys

_GONE = (errno.EPIPE, errno.EIO, errno.ECONNRESET)  # the reader ended; the terminal or the connection was closed


def prepare():
    """Makes the standard streams fit for every text, whatever they are. A command calls this first.

    A letter that the encoding lacks will be written as an escape: in ASCII, `→` becomes `\\u2192`. A closed stream
    becomes the null device. If it stayed closed, the next file that is opened would get its number, and what a library
    writes to standard error would land in that file.
    """
    for number in range(3):
        if not _is_open(number):
            _put_null_device(number)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream.closed:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  open to the end
        elif hasattr(stream, "reconfigure"):  # a notebook's has not
            stream.reconfigure(errors="backslashreplace")


def _is_open(number):
    """Whether file 0 is open, or file 1 or 2 is open for writing.

    A shell script that was started without standard error may have itself as file 2, and then Python has it too.
    """
    try:
        os.fstat(number) if number == 0 else os.write(number, b"")
    except OSError as error:
        return error.errno != errno.EBADF
    return True


def _put_null_device(number):
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
    os.set_inheritable(number, True)


def say(text, file=None, end="\n"):
    """Prints a text at once.

    Args:
        text: what is printed, as `printable` shows it.
        file: the stream; standard output if it is None.
        end: what is printed after it.

    Raises:
        OSError: it cannot be written. Its `filename` says where.
    """
    try:
        print(printable(text), end=end, file=file or sys.stdout, flush=True)
    except OSError as error:
        error.filename = "Standard error" if file is sys.stderr else "Standard output"
        raise


def tell(text, file=None, end="\n"):
    """Prints a text as `say` does. If it cannot be written, the work goes on without it."""
    try:
        say(text, file, end)
    except OSError as error:
        if error.errno in _GONE or file is sys.stderr:  # on a full disk, later lines of a log may fit again
            discard(file or sys.stdout)


def printable(text):
    """The text with everything that is no letter, sign, space or line break as an escape.

    A name that came from a file could otherwise move the cursor, or hide what stands before it.
    """
    shown = (c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in str(text))
    return "".join(shown)


class Parser(argparse.ArgumentParser):
    """A command line that tells a mistake in it as `printable` shows it, and takes no abbreviated options."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, allow_abbrev=False, **settings)

    def error(self, message):
        """Prints the usage and the message, and exits with 2."""
        super().error(printable(message))


def discard(stream):
    """Sends what a stream still holds, and all that follows, to the null device, so that its end is no error."""
    with contextlib.suppress(OSError):  # a stream in memory has no number
        _put_null_device(stream.fileno())
