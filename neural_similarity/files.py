"""Files that are written whole or not at all, and paths as people type them."""

import os
from pathlib import Path


def write_atomically(path, text):
    """Replaces a file's text, or leaves it as it was."""
    unfinished = Path(path).with_name(Path(path).name + ".unfinished")
    with open(unfinished, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def shown(path):
    """The path as a user would type it: from the working folder if it is inside."""
    path = Path(path).resolve()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
