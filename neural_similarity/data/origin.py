"""A note beside the files of a set: whether they are the publisher's own, or which copy they are.

Copies differ in their bytes, and scores differ a little with them. The standard library alone; see setup.py.
"""

import hashlib
import json
import os

NAME = "made_from.json"
_MOST_BYTES = 10_000  # of a note
_BLOCK_BYTES = 1 << 20


def write_note(folder, made_from, paths, official=False):
    """Writes the note of a set; it is written last, when all files are in place.

    Args:
        folder: `Path` of the set's folder.
        made_from: what the files are, in words, without the name of somebody's folder.
        paths: their `Path`s. A copy gets a checksum, so that two people can tell whether they have the same one.
        official: whether they are the publisher's own files.
    """
    note = {"made_from": made_from, "official": official, "files": len(paths)}
    note["bytes"] = sum(path.stat().st_size for path in paths)
    note["md5"] = _md5_of_all(paths)
    temporary = folder / f".{NAME}.{os.getpid()}.part"
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(note, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / NAME)
    finally:
        temporary.unlink(missing_ok=True)


def _md5_of_all(paths):
    """The MD5 of all files' contents, one after the other, in the order of their names."""
    digest = hashlib.md5(usedforsecurity=False)
    for path in sorted(paths):
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def read_note(folder):
    """What the note says, in words; "of unknown origin" if there is none, or if it cannot be read."""
    try:
        with (folder / NAME).open(encoding="utf-8") as file:
            note = json.loads(file.read(_MOST_BYTES))
        words = str(note["made_from"])[:500]
        return words if note["official"] is True else f"{words}; MD5 of all files {str(note['md5'])[:32]}"
    except (OSError, ValueError, KeyError, TypeError):
        return "of unknown origin"
