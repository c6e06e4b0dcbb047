"""Puts the files of a data set in place: from a folder, from an archive that is there, or by a download.

The standard library alone; see setup.py.
"""

from pathlib import Path

if __package__:
    from neural_similarity.data import checks, download, origin, unpack
    from neural_similarity.data.places import setup_command
    from neural_similarity.data.streams import tell
else:  # setup.py runs by itself
    import checks
    import download
    import origin
    import unpack
    from places import setup_command
    from streams import tell


class SetupError(Exception):
    """Something the user can put right. The message says what, where, what was expected and the next command."""


def set_up(entry, root, source=None):
    """Puts the files of a data set in `root / entry.folder`. What is there and right is kept.

    Args:
        entry: a DownloadedSet of the registry.
        root: the folder that holds all sets; it is created if it is not there.
        source: a folder to copy from. None takes an archive that lies in `root`, or else downloads it.

    Raises:
        SetupError: a file cannot be had, or is not what the registry says. No such file is ever put in place.
        OSError: a folder cannot be read or written.
    """
    root = Path(root)
    counted = []
    for archive in entry.archives:
        wanted = _wanted(entry, archive, root)
        if wanted and source is not None:
            _copy_from(entry, archive, root, Path(source), wanted)
        elif wanted and not _unpack_from_root(entry, archive, root, wanted):
            _download(entry, archive, root)
        counted += filter(None, [checks.counted_in_words(archive)])
    words = f"; only counted, as no checksum is known: {', '.join(counted)}" if counted else ""
    if any(map(_needs_note, entry.archives)):
        words = f"; its images: {origin.read_note(root / entry.folder)}"
    tell(f"{entry.name}: complete in {root / entry.folder}{words}")


def _needs_note(archive):
    """Whether only the archive has a checksum and not its files, so that later nothing tells them from a copy."""
    return bool(archive.md5 and archive.file_counts)


def _remove_note(archive, folder):
    if _needs_note(archive):
        (folder / origin.NAME).unlink(missing_ok=True)


def _write_note(archive, folder, made_from, official=False):
    if _needs_note(archive) and not checks.lacking(archive, folder):
        paths = [path for key in archive.file_counts for path in checks.paths_of(archive, key, folder)]
        origin.write_note(folder, made_from, paths, official)


def _wanted(entry, archive, root):
    """The keys (see checks.py) of which the set's folder does not hold what is expected.

    Raises SetupError if a pattern fits more files than the set has: nobody can tell which of them do not belong to it.
    """
    folder = root / entry.folder
    for pattern, count in archive.file_counts.items():
        there = len(checks.paths_of(archive, pattern, folder))
        if there > count:
            raise SetupError(
                f"{entry.name}: {folder / pattern}: expected {count:,} files, found {there:,}. Next: move {folder} "
                f"away, then: {setup_command(entry.name, root)}"
            )
    return checks.lacking(archive, folder)


def _copy_from(entry, archive, root, source, wanted):
    """Copies what is `wanted` from the first place below `source` that has it right; the archive is the last place."""
    names = [entry.folder, *filter(None, [entry.released_folder])]
    places = [source, *(source / name for name in names), *(source / "data" / name for name in names)]
    wrong, layouts = {}, []
    for key in wanted:
        expected = checks.expected(archive, key)
        for place in places:
            copies, layout = checks.copies_of(archive, key, place)
            if large := checks.too_large(entry, checks.bytes_of(copies.values())):
                wrong.setdefault(key, f"{place / layout}: expected {expected}, got {large}.")
                continue
            found = checks.found_in_files(archive, key, list(copies.values()))
            if found == expected:
                _remove_note(archive, root / entry.folder)
                for target, path in copies.items():
                    with path.open("rb") as stream:
                        checks.copy_if_right(archive, key, stream, root / entry.folder / target)
                tell(f"{entry.name}: {key} copied from {place}{'' if layout == key else f' ({layout})'}")
                layouts.append(layout)
                break
            if found:
                path = place / layout
                page = checks.web_page_note(path) if path.is_file() else ""
                wrong.setdefault(key, f"{path}: expected {expected}, got {found.removeprefix('MD5 ')}{page}.")
    if layouts:
        made_from = f"copied from {', '.join(layouts)}, not unpacked from the official archive"
        _write_note(archive, root / entry.folder, made_from)
    missing = _wanted(entry, archive, root)
    path = source / archive.name
    if missing and path.is_file():
        fault = unpack.fault(entry, archive, path)
        if fault:
            raise SetupError(
                f"{entry.name}: {fault}\n  Delete it, get it again from {entry.page}, then: "
                f"{setup_command(entry.name, root, source)}"
            )
        missing = _unpack(entry, archive, root, path, missing)
    problems = [wrong[key] for key in missing if key in wrong]
    absent = [key for key in missing if key not in wrong]
    if absent:
        problems.append(
            f"{len(absent)} of {len(checks.keys(archive))} files not found: {', '.join(absent)}. Looked in "
            f"{', '.join(map(str, places))}, and for the archive {path}."
        )
    if problems:
        raise SetupError(
            f"{entry.name}: " + "\n  ".join(problems) + f"\n  Put good copies of them, or of {_title(archive)} from "
            f"{entry.page}, in {source}, then: {setup_command(entry.name, root, source)}"
        )


def _unpack_from_root(entry, archive, root, wanted):
    """Puts what is `wanted` in place from the archive, if that lies in `root`; returns whether it does."""
    path = root / archive.name
    if not path.is_file():
        return False
    fault = unpack.fault(entry, archive, path)
    if fault:
        tell(f"{entry.name}: {fault} It is not used.")
        return False
    _unpack_all(entry, archive, root, path, wanted)
    return True


def _download(entry, archive, root):
    """Puts what the set lacks in place from an archive, which is downloaded to a partial file in `root`.

    The archive never gets its own name: its check is what tells whether it is whole. It is removed when the files are
    in place.
    """
    root.mkdir(parents=True, exist_ok=True)
    # Different sets have single files of the same name.
    partial = root / f"{f'{entry.name}-' if archive.is_one_file else ''}{archive.name}.part"
    try:
        with download.alone(partial) as file:
            wanted = _wanted(entry, archive, root)  # another process may have put them there meanwhile
            if wanted:
                _fetch(entry, archive, file, partial)
                _unpack_all(entry, archive, root, partial, wanted)
            file.truncate(0)
    except download.BusyError as error:
        raise SetupError(
            f"{entry.name}: another process is downloading it to {error}. Next, when that has ended: "
            f"{setup_command(entry.name, root)}"
        ) from error
    except download.DownloadError as error:
        goes_on = " (goes on with what is there)" if partial.exists() else ""
        raise SetupError(
            f"{entry.name}: {error}\n  Next, later: {setup_command(entry.name, root)}{goes_on}\n  Or get "
            f"{_title(archive)} from {entry.page} by hand; then, DIR being the folder with it: "
            f"{setup_command(entry.name, root, 'DIR')}"
        ) from error


def _fetch(entry, archive, file, partial):
    """Completes the archive in the partial file. A wrong one is emptied, and DownloadError says what it was."""
    if unpack.fault(entry, archive, partial) is None:
        return
    there = partial.stat().st_size
    tell(f"{entry.name}: downloading {archive.url}" + (f", going on after {there:,} bytes" if there else ""))
    in_pieces = download.fetch(archive.url, file, checks.most_bytes(entry))
    fault = unpack.fault(entry, archive, partial, archive.url)
    if fault and in_pieces:
        tell(f"{entry.name}: the pieces do not make the archive, so it is downloaded anew. {fault}")
        file.truncate(0)
        download.fetch(archive.url, file, checks.most_bytes(entry))
        fault = unpack.fault(entry, archive, partial, archive.url)
    if fault:
        file.truncate(0)
        raise download.DownloadError(f"{fault} It was deleted.")


def _unpack_all(entry, archive, root, path, wanted):
    """Puts what is `wanted` in place from the archive at `path`; SetupError if it does not hold that."""
    left = _unpack(entry, archive, root, path, wanted)
    if left:
        raise SetupError(
            f"{entry.name}: {path} is the archive expected, but does not hold the right {', '.join(left)} in "
            f"{entry.folder}/. Next, DIR being a folder with them: {setup_command(entry.name, root, 'DIR')}"
        )


def _unpack(entry, archive, root, path, wanted):
    """Puts what is `wanted` in place from the archive at `path`; returns what is lacking even then."""
    _remove_note(archive, root / entry.folder)
    try:
        unpack.unpack(entry, archive, path, root / entry.folder, wanted)
    except unpack.UnsafeArchive as error:
        raise SetupError(
            f"{entry.name}: {error} Next, DIR being a folder with the files, unpacked by hand: "
            f"{setup_command(entry.name, root, 'DIR')}"
        ) from error
    left = _wanted(entry, archive, root)
    for key in wanted:
        if key not in left:
            tell(f"{entry.name}: {key} {'copied' if archive.is_one_file else 'unpacked'} from {path}")
    if archive.file_counts.keys() <= set(wanted):
        _write_note(archive, root / entry.folder, f"unpacked from the official {archive.name}", official=True)
    return left


def _title(archive):
    """The archive's name, with its MD5 if that is known."""
    return f"{archive.name} (MD5 {archive.md5})" if archive.md5 else archive.name
