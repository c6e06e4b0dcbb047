"""Files that are written as a whole or not at all, files that may be anything, and paths as people type them."""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path


def write_atomically(path: str | Path, text: str) -> None:
    """Writes a text file, or leaves the file as it was.

    Args:
        path: the file. Its folder must exist.
        text: the new text, written as UTF-8.

    Raises:
        OSError: the file cannot be written. It still has its old content.
    """
    path = Path(path)
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        with open(unfinished, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        put_in_place(unfinished, path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def put_in_place(unfinished: Path, path: Path) -> None:
    """Renames a fully written file into place, so that readers see the old content or the new one, never half of it.

    Example: a new `metrics.csv` is written as `metrics.csv.unfinished` and synced to the disk. The rename then replaces
    the old `metrics.csv` in one step. The folder is synced too, so that the rename outlives a power cut.

    Args:
        unfinished: `Path` of the file, fully written and synced.
        path: `Path` of the file that it becomes, in the same folder. If that exists, it is replaced.
    """
    os.replace(unfinished, path)
    with contextlib.suppress(OSError):  # some file systems cannot sync a folder; the file is renamed all the same
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def set_aside(path: Path, why: str) -> Path:
    """Renames a file that is no longer used but may matter to somebody: `metrics.jsonl` → `metrics.jsonl.earlier`.

    Args:
        path: `Path` of the file.
        why: the ending that is added, as "damaged". A number follows where that name is taken.

    Returns:
        The file's new path.
    """
    return path.rename(free_name(path, why))


def free_name(path: Path, ending: str) -> Path:
    """A path that does not exist yet: `metrics.jsonl.ENDING`, or `metrics.jsonl.ENDING-2` and so on."""
    free, number = path.with_name(f"{path.name}.{ending}"), 1
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.name}.{ending}-{number}")
    return free


def what_else(path: str | Path) -> str | None:
    """What there is in the place of an ordinary file: "a folder", "a pipe", "a device" or "a socket"; None for a file.

    A program that opens a pipe waits for somebody to write to it, and a device may never end.

    Raises:
        OSError: there is nothing, or it may not be looked at.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode):
        return None
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((words for is_it, words in kinds.items() if is_it(mode)), "a device")


def read_at_most(path: str | Path, most_bytes: int) -> bytes:
    """The whole content of an ordinary file, if it has no more than `most_bytes`.

    Raises:
        ValueError: it is larger, or no file. The message says which, without the path.
        OSError: it cannot be read.
    """
    if other := what_else(path):
        raise ValueError(f"{other}, not a file")
    with open(path, "rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"larger than {most_bytes:,} bytes")
    return content


@contextlib.contextmanager
def held(path: Path, wait: bool = True) -> Iterator[bool]:
    """Locks a file to the end of the `with` block, so that of several processes one at a time does something.

    The file is created if need be, and stays. It is opened for writing, as a lock on a common file system needs. The
    lock ends with the process at the latest.

    Args:
        path: the file; its folder exists.
        wait: whether to wait until the file is free.

    Yields:
        Whether the lock is held; only without `wait` it may be False. True also on a file system without locks.

    Raises:
        OSError: the file cannot be written.
    """
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except (BlockingIOError, PermissionError):
            yield False
            return
        except OSError:
            pass
        yield True


def how_to_go_on(error: OSError) -> str:
    """The sentence of a training that could not write a file: what to do before it is resumed."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"{'Make room on that disk' if full else 'Mend that'}, then go on with --resume."


def shown(path: str | Path) -> str:
    """The path as a user would type it: relative if it lies in the working folder, absolute otherwise.

    A name that a command would take for a home or an option gets a `./`: `./~x`, `./-x`.
    """
    path = Path(path).resolve()
    text = str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
    return f"./{text}" if text.startswith(("~", "-")) else text
