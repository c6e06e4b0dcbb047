"""Finds the images of Stanford Online Products in its publisher's layout: two lists, and folders such as bicycle_final.

A line of a list is `image_id class_id super_class_id path`, such as `1 1 1 bicycle_final/111085122871_0.JPG`. A class
is one product. It is called by its number.
"""

from pathlib import Path, PurePosixPath

from neural_similarity.data.listing import entries, file_exists, folder_exists, unreadable
from neural_similarity.errors import UserError
from neural_similarity.files import read_at_most

LISTS = {"train": "Ebay_train.txt", "test": "Ebay_test.txt"}
_MOST_BYTES = 100_000_000  # in a list; the real ones have some four million
_LINE = "`image_id class_id super_class_id path`, as `1 1 1 bicycle_final/111085122871_0.JPG`"


def holds_lists(folder: Path) -> bool:
    """Whether both lists are in a folder."""
    return folder_exists(folder) and all(file_exists(folder / name) for name in LISTS.values())


def list_products(folder: Path, again: str) -> dict[str, dict[str, list[Path]]]:
    """Reads both lists, and looks whether the images are there. No image is read.

    Args:
        folder: holds the lists and the folders of images.
        again: what to do if something is missing, for messages.

    Returns:
        `{split: {class: paths}}` in the order of the lists.

    Raises:
        UserError: a list cannot be read, names an image that is not there, or names one twice; or both lists have a
            class.
    """
    splits, there, seen = {}, {}, set()
    for split, name in LISTS.items():
        classes = splits[split] = {}
        for number, label, path in _lines(folder / name):
            parent = str(path.parent)
            if parent not in there:
                there[parent] = set(entries(folder / parent)[1]) if folder_exists(folder / parent) else set()
            if path.name not in there[parent]:
                raise UserError(f"{folder / name}, line {number}: names {path}, which is not there. Next: {again}")
            if path in seen:
                raise UserError(f"{folder / name}, line {number}: names {path} a second time. Next: {again}")
            seen.add(path)
            classes.setdefault(label, []).append(folder / path)
    both = splits["train"].keys() & splits["test"].keys()
    if both:
        raise UserError(
            f"{folder}: the class {min(both)} stands in {' and in '.join(LISTS.values())}; expected each class in one "
            f"of them. Next: {again}"
        )
    return splits


def _lines(path):
    """Yields (line number, class, path of the image) of a list."""
    try:
        lines = read_at_most(path, _MOST_BYTES).decode("utf-8-sig").splitlines()
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise UserError(f"{path}: cannot be read as a list ({error}). Next: put a good copy there") from error
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words == ["image_id", "class_id", "super_class_id", "path"]:
            continue
        image = PurePosixPath(words[-1])
        if len(words) != 4 or not words[1].isdecimal() or len(image.parts) != 2 or ".." in image.parts:
            raise UserError(f"{path}, line {number}: {line[:80]!r}; expected {_LINE}. Next: put a good copy there")
        yield number, words[1], image
