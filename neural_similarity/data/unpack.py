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


_MOST_AT_ONCE = 2 * checks.BLOCK_BYTES  # that `tarfile` asks for; only a header that lies makes it ask for more
_DAMAGE = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError)


class UnsafeArchive(Exception):
    """Nothing can be unpacked from the archive. The message says what is wrong with it.

    A member would be written outside of the set's folder, the members are larger than the set, or it is damaged.
    """


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
    if large := checks.too_large(entry, path.stat().st_size):
        return f"{origin or path}: {large}."
    if archive.md5:
        md5 = checks.md5_of(path)
        if md5 == archive.md5:
            return None
        return f"{origin or path}: expected MD5 {archive.md5}, got {md5}{checks.web_page_note(path)}."
    wanted = {key: checks.expected(archive, key) for key in checks.keys(archive)}
    try:
        content = _content(entry, archive, path)
    except _DAMAGE as error:
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
        UnsafeArchive: before anything is written, where the headers of the members tell it.
    """
    if archive.is_one_file:
        with path.open("rb") as stream:
            checks.copy_if_right(archive, archive.name, stream, folder / archive.name)
        return
    try:
        with _opened(entry, path) as (tar, _):
            members = list(_members(entry, tar))
            for member in members:
                _refuse_if_unsafe(entry, path, member)
            for member in members:
                name, key = _name_and_key(entry, archive, member)
                if key in wanted:
                    checks.copy_if_right(archive, key, tar.extractfile(member), folder / name)
    except _DAMAGE as error:
        raise UnsafeArchive(f"{path}: cannot be unpacked ({error}).") from error


@contextlib.contextmanager
def _opened(entry, path):
    """Opens an archive: (the TarFile, the stream of its bytes). Neither gives more bytes than the set can have."""
    with gzip.open(path) as content:
        stream = _Bounded(content, checks.most_bytes(entry))
        with contextlib.closing(tarfile.open(fileobj=stream, mode="r:")) as tar:
            yield tar, stream


def _members(entry, tar):
    """Yields the members; ReadError as soon as their sizes, as the headers tell them, exceed what the set can have."""
    total = 0
    for member in tar:
        total += member.size
        if member.size < 0 or (large := checks.too_large(entry, total)):
            raise tarfile.ReadError(large if member.size >= 0 else "a negative size")
        yield member


class _Bounded:
    """The content of a gzip file for `tarfile`, up to a number of bytes: a small file can unpack to terabytes."""

    def __init__(self, content, most_bytes):
        self.content, self.most_bytes = content, most_bytes
        self.tell = content.tell

    def read(self, size):
        if not 0 <= size <= _MOST_AT_ONCE:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        block = self.content.read(size)
        self._check(self.tell())
        return block

    def seek(self, position):
        self._check(position)
        return self.content.seek(position)

    def _check(self, position):
        if position > self.most_bytes:
            raise tarfile.ReadError(f"it unpacks to more than {self.most_bytes:,} bytes, more than the whole set needs")


def _content(entry, archive, path):
    """What a file holds of an archive's keys, as {key: words of `checks.expected`}. The file is read to its end."""
    content, counted = {}, {}
    # The tar's end comes before gzip's checksum, so that the rest of the stream is read too.
    with _opened(entry, path) as (tar, stream):
        for member in _members(entry, tar):
            name, key = _name_and_key(entry, archive, member)
            if key in archive.file_counts:
                counted.setdefault(key, set()).add(name)
            elif key is not None:
                content[key] = checks.found_in_stream(archive, key, tar.extractfile(member))
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
            alike = len(parts) == len(name.parts) and all(map(fnmatch.fnmatchcase, name.parts, parts))
            fits = alike and member.size and not name.name.startswith(".")
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
