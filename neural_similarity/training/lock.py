"""The lock of a run folder: one process at a time trains there, and only as long as the folder is the same one."""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from neural_similarity.errors import UserError
from neural_similarity.files import shown, what_else
from neural_similarity.training.logs import log


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[Callable[[], None]]:
    """Keeps other processes from training in a folder, to the end of the `with` block.

    The file `lock` is locked, and then holds a text that only this process knows. `with locked(folder) as check:` gives
    a function that looks for the text. It thereby notices that the folder was moved, deleted or replaced, and it also
    does so on a file system without locks.

    Args:
        folder: the run folder; it exists.

    Raises:
        UserError: another process trains here already; or, by `check()`, the folder is no longer the same one.
    """
    path = Path(folder) / "lock"
    text = f"process {os.getpid()}, {secrets.token_hex(8)}\n"

    def check():
        try:
            same = path.read_text() == text
        except (OSError, UnicodeDecodeError):
            same = False
        if not same:
            raise UserError(
                f"{shown(path.parent)}: this folder, or the file `lock` in it, was moved, deleted or replaced while "
                "the run trained. Training stopped, and wrote nothing there since. Go on with --resume; if the folder "
                "was moved, name its new place, too: --run-dir DIR."
            )

    other = "a link" if path.is_symlink() else path.exists() and what_else(path)
    if other:
        raise UserError(f"{shown(path)}: {other}, not a file. Move it away.")
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise UserError(
                f"{shown(path.parent)}: another process trains here. Wait for it, or name --run-dir DIR."
            ) from None
        except OSError as error:
            why = os.strerror(error.errno)
            log.warning("%s: cannot be locked (%s). Take care that no other process trains here.", path, why)
        file.truncate(0)
        file.write(text)
        file.flush()
        yield check
