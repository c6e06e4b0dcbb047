"""Copies the files of a set that somebody brings into its place: all of them, or none."""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tqdm import tqdm

from neural_similarity.data.download import BusyError, alone
from neural_similarity.data.images import DataMissing
from neural_similarity.data.origin import read_note, write_note
from neural_similarity.data.places import setup_command
from neural_similarity.data.registry import DATA_SETS
from neural_similarity.data.retrieval_files import folder_of, list_files
from neural_similarity.data.streams import tell
from neural_similarity.errors import UserError


def copy_unless_there(name: str, source: Path | None, root: Path, copy: Callable[[Path, Path], None]) -> None:
    """Puts a set of image files in place, unless it is there, and says where it is.

    Args:
        name: of the set.
        source: what somebody brings; None only looks whether the set is there and whole.
        root: the folder that holds all sets.
        copy: `copy(source, root)` puts it in place.

    Raises:
        DataMissing: `source` is None, and the set is not there.
        UserError: what is in its place is not the set; or as `copy`.
    """
    try:
        list_files(name, root)
    except DataMissing:
        if source is None:
            raise
        copy(source, root)
    folder = folder_of(name, root)
    tell(f"{name}: complete in {folder}; its images: {read_note(folder)}")


def put_in_place(name: str, root: Path, files: Mapping[str, Path], made_from: str) -> None:
    """Makes the folder of a set, with a note that says what it was made from.

    The files are copied to a folder beside it, which gets its name in the end. So a copy that was cut short is never
    taken for whole. If it fails, nothing is left of it.

    Args:
        name: of the set.
        root: the folder that holds all sets; it is created if it is not there.
        files: {path in the set's folder: the file to copy}.
        made_from: what the files are, in words.

    Raises:
        UserError: something else is in that place, or another process is doing the same.
        OSError: a file cannot be read or written.
    """
    folder = root / DATA_SETS[name].folder
    if os.path.lexists(folder):
        raise UserError(
            f"{folder}: is there already, and does not hold the set. Next: move it away, then: "
            f"{setup_command(name, root, 'DIR')}"
        )
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    root.mkdir(parents=True, exist_ok=True)
    try:
        with alone(folder.with_name(f".{folder.name}.lock")), _removed_if_it_fails(unfinished):
            _copy(name, files, unfinished)
            write_note(unfinished, made_from, [unfinished / target for target in files])
            os.sync()
            unfinished.rename(folder)
    except BusyError as error:
        raise UserError(
            f"{name}: another process is copying it to {unfinished}. Next, when that has ended: "
            f"{setup_command(name, root)}"
        ) from error


def _copy(name, files, folder):
    hidden = not (sys.stderr and sys.stderr.isatty())
    for target, path in tqdm(files.items(), desc=name, unit="file", disable=hidden):
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / target)


@contextlib.contextmanager
def _removed_if_it_fails(folder):
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
