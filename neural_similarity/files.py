"""Files that are written whole or not at all, and paths as people type them."""

import contextlib
import os
from pathlib import Path


def write_atomically(path, text):
    """Replaces a file's text, or leaves it as it was."""
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


def put_in_place(unfinished, path):
    """Gives a file that is written and synced its name, in place of what had it; that outlives a power cut as well."""
    os.replace(unfinished, path)
    with contextlib.suppress(OSError):  # not every file system syncs folders, and the file has its name already
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def shown(path):
    """The path as a user would type it: from the working folder if it is inside."""
    path = Path(path).resolve()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
