"""Whether the files of a data set are what the registry says. The standard library alone; see setup.py.

A file that a set needs is named by a *key* of its archive in the registry: the path of a file that is checked by MD5 or
by its number of lines, or a pattern such as `images/*/*.jpg` whose files are counted.
"""

import hashlib
import os
from pathlib import Path

BLOCK_BYTES = 1 << 20


def keys(archive):
    """All paths and patterns that the set needs from an archive, in the registry's order."""
    return [*archive.file_md5, *archive.file_counts, *archive.line_counts]


def expected(archive, key):
    """What the registry says of a key: "MD5 5dd7…", "8 files" or "8 lines"."""
    if key in archive.file_md5:
        return f"MD5 {archive.file_md5[key]}"
    if key in archive.file_counts:
        return f"{archive.file_counts[key]:,} files"
    return f"{archive.line_counts[key]:,} lines"


def paths_of(archive, key, folder):
    """The files of a key that are in a folder, sorted.

    Empty ones do not count for a pattern, nor do those whose name begins with a dot: Macs leave such files beside
    images.
    """
    if key in archive.file_counts:
        return _fitting(folder, key)
    return [folder / key] if (folder / key).is_file() else []


def _fitting(folder, pattern):
    paths = (path for path in folder.glob(pattern) if not path.name.startswith("."))
    return sorted(path for path in paths if path.is_file() and path.stat().st_size)


def copies_of(archive, key, folder):
    """Where a folder that somebody brought has the files of a key.

    Returns:
        ({path in the set's folder: path of the file}; the patterns or the path that they were found under, in words).
        If there is nothing under the key itself, the other layouts that the registry knows are looked for.
    """
    paths = paths_of(archive, key, folder)
    if paths or key not in archive.other_layouts:
        return {path.relative_to(folder): path for path in paths}, key
    found = {pattern: _fitting(folder, pattern) for pattern in archive.other_layouts[key]}
    parts = Path(key).parts
    kept = sum("*" in part for part in parts)
    copies = {Path(*parts[:-kept], *path.parts[-kept:]): path for paths in found.values() for path in paths}
    return copies, ", ".join(pattern for pattern, paths in found.items() if paths) or key


def found(archive, key, folder):
    """What there is of a key in a folder, in the words of `expected`; None if there is no file of it."""
    return found_in_files(archive, key, paths_of(archive, key, folder))


def found_in_files(archive, key, paths):
    """`found` for the files of a key that are known already."""
    if not paths:
        return None
    return f"{len(paths):,} files" if key in archive.file_counts else found_in_file(archive, key, paths[0])


def found_in_file(archive, key, path):
    """What there is in the file at `path`, in the words of `expected`. The key is not a pattern.

    A file that has not the size that the registry knows is not read. Its size is returned: "17 bytes".
    """
    size = path.stat().st_size
    if size != archive.file_bytes.get(key, size):
        return f"{size:,} bytes"
    with path.open("rb") as stream:
        return found_in_stream(archive, key, stream)


def found_in_stream(archive, key, stream):
    """`found_in_file` for a binary stream, which is read to its end."""
    if key in archive.file_md5:
        return f"MD5 {_md5_of_stream(stream)}"
    lines, last = 0, b"\n"
    while block := stream.read(BLOCK_BYTES):
        lines += block.count(b"\n")
        last = block[-1:]
    lines += last != b"\n"  # the last line may lack its end
    return f"{lines:,} lines"


def bytes_of(paths):
    """How many bytes some files have together."""
    return sum(path.stat().st_size for path in paths)


def too_large(entry, size):
    """Says that a size in bytes is more than a set can have: "3,000 bytes, more than …"; None if it is not."""
    if size <= most_bytes(entry):
        return None
    return f"{size:,} bytes, more than the {entry.space_mb:,} MB that the whole set needs"


def most_bytes(entry):
    """The size that nothing that belongs to a set can exceed, in bytes."""
    return entry.space_mb * 10**6


def lacking(archive, folder):
    """The keys of which `folder` does not hold what is expected."""
    return [key for key in keys(archive) if found(archive, key, folder) != expected(archive, key)]


def copy_if_right(archive, key, stream, target):
    """Copies a binary stream to `target` if it holds what is expected of the key.

    A file of a pattern is always copied, because nothing is known of a single one.

    The copy lies beside the target until it is known to be right, so that neither an interruption nor a full disk
    leaves half a file under the target's name.

    Raises:
        OSError: the file cannot be written.
    """
    # Not tempfile: its files are readable by their owner alone, and data folders are shared.
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("wb") as copy:
            while block := stream.read(BLOCK_BYTES):
                copy.write(block)
            copy.flush()
            os.fsync(copy.fileno())
        if key in archive.file_counts or found_in_file(archive, key, temporary) == expected(archive, key):
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def md5_of(path):
    """The MD5 of a file, 32 hex digits."""
    with path.open("rb") as stream:
        return _md5_of_stream(stream)


def _md5_of_stream(stream):
    digest = hashlib.md5(usedforsecurity=False)
    while block := stream.read(BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def web_page_note(path):
    """What to add to a message about the file at `path` if the file is a web page; otherwise "".

    A server that does not have a file often sends a page that says so. The note is: " (starts with `<!DOCTYPE`: a web
    page, not an archive)".
    """
    with path.open("rb") as stream:
        start = stream.read(200).lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:9].lower() != b"<!doctype" and start[:5].lower() not in (b"<html", b"<head", b"<?xml"):
        return ""
    begins = start.decode("ascii", "replace").split(">")[0].split()[0]
    kind = "an archive" if {".tar", ".tgz"} & set(path.suffixes) else "data"
    return f" (starts with `{begins}`: a web page, not {kind})"


def counted_in_words(archive):
    """What is counted because no checksum of it is known: "`images/*/*.jpg` (8 files), `list.txt` (8 lines)", or ""."""
    return ", ".join(f"`{key}` ({expected(archive, key)})" for key in (*archive.file_counts, *archive.line_counts))
