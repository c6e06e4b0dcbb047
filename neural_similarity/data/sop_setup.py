"""Puts Stanford Online Products in place from a folder that somebody brings."""

from pathlib import Path

from neural_similarity.data.brought import copy_unless_there, put_in_place
from neural_similarity.data.places import setup_command
from neural_similarity.data.products import LISTS, holds_lists, list_products
from neural_similarity.data.registry import DATA_SETS
from neural_similarity.data.retrieval_files import check_counts
from neural_similarity.errors import UserError

NAME = "sop"


def build(source: Path | None, root: Path) -> None:
    """Copies the lists and the images that they name, unless the set is there.

    Args:
        source: the folder with the two lists, or the folder that holds that one. None only looks whether the set is
            there and whole.
        root: the folder that holds all sets; it is created if it is not there.

    Raises:
        DataMissing: `source` is None, and the set is not there.
        UserError: `source` does not hold the set; what is in its place is not the set; or another process copies it.
        OSError: a file cannot be read or written.
    """
    copy_unless_there(NAME, source, root, _copy)


def _copy(source, root):
    source = source if holds_lists(source) else source / DATA_SETS[NAME].folder
    if not holds_lists(source):
        raise UserError(
            f"{source.parent}: neither there nor in {source.name} are both {' and '.join(LISTS.values())}. Next: name "
            "the folder that holds them, --from DIR"
        )
    again = f"complete {source}, then: {setup_command(NAME, root, source)}"
    found = list_products(source, again)
    check_counts(NAME, found, source, again)
    paths = [path for classes in found.values() for paths in classes.values() for path in paths]
    files = {str(path.relative_to(source)): path for path in (*paths, *(source / name for name in LISTS.values()))}
    put_in_place(NAME, root, files, "copied from a folder in the publisher's layout; no checksum of theirs is known")
