"""Writes the table of the data sets in docs/data.md anew from the registry.  python -m neural_similarity.data.table"""

from neural_similarity.data import registry
from neural_similarity.data.checks import counted_in_words
from neural_similarity.data.places import REPOSITORY
from neural_similarity.files import write_atomically

PAGE = REPOSITORY / "docs" / "data.md"
BEGIN, END = "<!-- data sets: begin -->", "<!-- data sets: end -->"
COLUMNS = (
    "`data.name`",
    "set",
    "images per split",
    "pixels",
    "classes",
    "where it comes from",
    "checked by",
    "licence",
)


def markdown():
    """The table, in Markdown: one row per set of the registry."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *map(_row, registry.DATA_SETS.values())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def written_into(page):
    """The text `page` with the table of today between its two markers."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{markdown()}\n\n{END}{rest.partition(END)[2]}"


def _row(entry):
    counts = entry.counts or {}
    return (
        f"`{entry.name}`",
        f"[{entry.title}]({entry.page})" if entry.page else entry.title,
        ", ".join(f"{count:,} {split}" for split, count in counts.items()) or "as many as there are",
        f"{entry.image_size}×{entry.image_size}" if entry.image_size else "`data.image_size`",
        str(len(entry.classes)) if entry.classes else "its folders",
        _origin(entry),
        _checks(entry),
        entry.licence,
    )


def _origin(entry):
    if not isinstance(entry, registry.DownloadedSet):
        return entry.origin
    archives = ", ".join(f"[{archive.name}]({archive.url})" for archive in entry.archives)
    return f"{entry.origin}: {archives}"


def _checks(entry):
    """How the files of a set are checked, in words."""
    if not isinstance(entry, registry.DownloadedSet):
        return "–"
    ways = []
    for archive in entry.archives:
        if archive.md5:
            ways.append("MD5 of the archive")
        if archive.file_md5:
            ways.append(f"MD5 of each of {len(archive.file_md5)} files")
        if counted := counted_in_words(archive):
            ways.append(f"only counted, as no checksum is known: {counted}")
    return "; ".join(ways)


if __name__ == "__main__":
    write_atomically(PAGE, written_into(PAGE.read_text(encoding="utf-8")))
