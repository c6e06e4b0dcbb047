"""The table of the data sets in docs/data.md, read from the registry."""

from neural_similarity.data import registry
from neural_similarity.data.checks import counted_in_words
from neural_similarity.reporting.summary import Column, Markdown, Table


def data_sets() -> Table:
    """The `Table` with one row for each set of the registry."""
    entries = list(registry.DATA_SETS.values())
    columns = {
        "`data.name`": [f"`{entry.name}`" for entry in entries],
        "set": [f"[{entry.title}]({entry.page})" if entry.page else entry.title for entry in entries],
        "images per split": [_counts(entry) for entry in entries],
        "pixels": [f"{e.image_size}×{e.image_size}" if e.image_size else "`data.image_size`" for e in entries],
        "classes": [_classes(entry) for entry in entries],
        "where it comes from": [_origin(entry) for entry in entries],
        "checked by": [_checks(entry) for entry in entries],
        "licence": [entry.licence for entry in entries],
    }
    return Table([Column(Markdown(name), None, list(map(Markdown, cells))) for name, cells in columns.items()])


def _counts(entry):
    counts = entry.counts or {}
    return ", ".join(f"{count:,} {split}" for split, count in counts.items()) or "as many as there are"


def _classes(entry):
    if not (entry.classes or entry.class_counts):
        return "its folders"
    count = len(entry.classes) if entry.classes else sum(entry.class_counts.values())
    return f"{count:,}, each in one split" if entry.class_splits else f"{count:,}"


def _origin(entry):
    if not isinstance(entry, registry.DownloadedSet):
        return entry.origin
    archives = ", ".join(f"[{archive.name}]({archive.url})" for archive in entry.archives)
    return f"{entry.origin}: {archives}"


def _checks(entry):
    """How the files of a set are checked, in words."""
    if isinstance(entry, registry.RegroupedSet):
        return f"as `{entry.images_of}`"
    if isinstance(entry, registry.BroughtSet):
        return entry.checked_by
    if not isinstance(entry, registry.DownloadedSet):
        return "–"
    if all(archive.is_one_file for archive in entry.archives):
        return f"MD5 of each of the {len(entry.archives)} files"
    ways = []
    for archive in entry.archives:
        if archive.md5:
            ways.append("MD5 of the archive")
        if archive.file_md5:
            ways.append(f"MD5 of each of {len(archive.file_md5)} files")
        if counted := counted_in_words(archive):
            ways.append(f"only counted, as no checksum is known: {counted}")
    return "; ".join(ways)
