"""Reads the archives of the data sets. The standard library alone; see setup.py."""

import contextlib
import fnmatch
import gzip
import tarfile
import zlib
from pathlib import PurePosixPath

if __package__:
    from neural_similarity.data import checks
else:
    import checks  # setup.py runs by itself


class UnsafeArchive(Exception):
    """A member of the archive would be written outside of the set's folder. The message says which, and where."""


def fault(entry, archive, path, origin=None):
    """Says what keeps the file at `path` from being `archive`.

    If the registry has an MD5 for the archive, the MD5 decides. Otherwise the file is read to its end, so that gzip
    compares its own checksum, and the members that the set needs are counted.

    Args:
        entry: the DownloadedSet.
        archive: one of its archives.
        path: the file.
        origin: what the message calls the file, such as its URL; None is its path.

    Returns:
        One sentence, or None if the file is the archive.
    """
    if archive.md5:
        md5 = checks.md5_of(path)
        if md5 == archive.md5:
            return None
        return f"{origin or path}: expected MD5 {archive.md5}, got {md5}{checks.web_page_note(path)}."
    wanted = {key: checks.expected(archive, key) for key in checks.keys(archive)}
    try:
        content = _content(entry, archive, path)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        return (
            f"{origin or path}: expected a whole .tar.gz archive, and it cannot be read as one ({error})"
            f"{checks.web_page_note(path)}."
        )
    wrong = [key for key in wanted if content.get(key) != wanted[key]]
    if not wrong:
        return None
    return (
        f"{origin or path}: "
        + "; ".join(
            f"expected {wanted[key]} of {entry.folder}/{key}, found {content.get(key, 'none')}" for key in wrong
        )
        + "."
    )


def unpack(entry, archive, path, folder, wanted):
    """Puts files of an archive in place.

    Args:
        entry: the DownloadedSet.
        archive: one of its archives.
        path: the archive's file.
        folder: the set's folder.
        wanted: the keys (see checks.py) of the files to put there.

    Raises:
        UnsafeArchive: before anything is written.
    """
    with tarfile.open(path, "r:gz") as members:
        for member in members:
            _refuse_if_unsafe(entry, path, member)
        for member in members:
            name, key = _name_and_key(entry, archive, member)
            if key in wanted:
                checks.copy_if_right(archive, key, members.extractfile(member), folder / name)


def _content(entry, archive, path):
    """What a file holds of an archive's keys, as {key: words of `checks.expected`}. The file is read to its end."""
    content, counted = {}, {}
    # The tar's end comes before gzip's checksum, so that the rest of the stream is read too.
    with gzip.open(path) as stream, contextlib.closing(tarfile.open(fileobj=stream, mode="r:")) as members:
        for member in members:
            name, key = _name_and_key(entry, archive, member)
            if key in archive.file_counts:
                counted.setdefault(key, set()).add(name)
            elif key is not None:
                content[key] = checks.found_in_stream(archive, key, members.extractfile(member))
        while stream.read(checks.BLOCK_BYTES):
            pass
    return content | {key: f"{len(names):,} files" for key, names in counted.items()}


def _name_and_key(entry, archive, member):
    """(path in the set's folder, its key) of a member that the set needs; otherwise (None, None)."""
    path = PurePosixPath(member.name)
    folder = PurePosixPath(entry.folder)
    if not (member.isfile() and path.is_relative_to(folder)):
        return None, None
    name = path.relative_to(folder)
    for key in checks.keys(archive):
        if key in archive.file_counts:
            parts = PurePosixPath(key).parts
            fits = len(parts) == len(name.parts) and all(map(fnmatch.fnmatchcase, name.parts, parts)) and member.size
        else:
            fits = str(name) == key
        if fits:
            return name, key
    return None, None


def _refuse_if_unsafe(entry, archive, member):
    """Raises UnsafeArchive for a link, and for a path that is absolute or contains `..`.  archive: the file's path."""
    path = PurePosixPath(member.name)
    link = member.issym() or member.islnk()
    if link or path.is_absolute() or ".." in path.parts:
        what = f"is a link to {member.linkname!r}" if link else "leads out of the folder"
        raise UnsafeArchive(
            f"{archive}: expected files in {entry.folder}/ alone, but its member {member.name!r} {what}. "
            "Nothing was unpacked."
        )
