"""What lies in a folder, and what to say of a file or folder that the system does not let us read."""

import errno
import os
import stat
from pathlib import Path

from neural_similarity.errors import UserError


def entries(folder: Path) -> tuple[list[str], list[str]]:
    """The names of the folders and the names of the files in a folder, both sorted.

    A link counts as what it leads to. Names with a leading dot are left out.

    Raises:
        UserError: the folder cannot be read, or a link in it leads to nothing. To pass over such a link would drop a
            class when a disk is not mounted.
    """
    try:
        with os.scandir(folder) as found:
            visible = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise unreadable(folder, error) from error
    folders, files = [], []
    for entry in visible:
        (folders if _is_folder(entry) else files).append(entry.name)
    return folders, files


def _is_folder(entry):
    if not entry.is_symlink():
        return entry.is_dir()
    try:
        return stat.S_ISDIR(os.stat(entry.path).st_mode)
    except OSError as error:
        raise unreadable(entry.path, error) from error


def folder_exists(path: Path) -> bool:
    """Whether there is a folder at `path`.

    Raises:
        UserError: the system does not say, for example because the folder above may not be entered.
    """
    return stat.S_ISDIR(_mode(path))


def file_exists(path: Path) -> bool:
    """Whether there is a file at `path`, and no folder or device. Raises as `folder_exists`."""
    return stat.S_ISREG(_mode(path))


def _mode(path):
    try:
        return os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: str | os.PathLike, error: OSError) -> UserError:
    """The UserError that says why the system does not let us read the file or folder at `path`, and what helps."""
    if isinstance(error, PermissionError):
        return UserError(
            f"{path}: may not be read ({error.strerror}). Next: give yourself the right to read it with chmod, or ask "
            "its owner for it"
        )
    if error.errno == errno.ENAMETOOLONG:
        return UserError(f"{path}: the name is too long for the file system. Next: look at the path, or rename it")
    if error.errno == errno.ELOOP:
        return UserError(f"{path}: a link that leads back to itself. Next: delete it, or let it lead to the images")
    if os.path.islink(path):
        return UserError(
            f"{path}: a link to {os.readlink(path)}, where nothing can be read ({error.strerror}). Next: mount the "
            "disk that it leads to, or delete the link"
        )
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return UserError(f"{path}: no such file. Next: look at the path")
    return UserError(f"{path}: cannot be read ({error.strerror}). Next: look at the disk that it lies on")
