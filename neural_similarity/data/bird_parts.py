"""Where the parts of the birds are in CUB-200-2011, as its lists say.

n images · k = 15 parts, from back to throat · s height and width in pixels of the image that a network sees
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from neural_similarity.data.image_files import FORMATS, resized_centre_place
from neural_similarity.errors import UserError

PARTS = 15


def read_bird_parts(folder: str | Path) -> dict[str, np.ndarray] | None:
    """The places of the parts of all images.

    Args:
        folder: of the set, with `images.txt` and `parts/part_locs.txt`. A copy with the images alone has neither.

    Returns:
        `{name of the image: (k, 3) float32}`: the column x and the row y in the file's pixels, and 1 where the part is
        visible, 0 where it is not. Names are as in `images.txt`, "001.Black_footed_Albatross/….jpg". None if a list is
        missing.

    Raises:
        UserError: a list is not as it should be.
    """
    lists = Path(folder) / "images.txt", Path(folder) / "parts" / "part_locs.txt"
    if not all(path.is_file() for path in lists):
        return None
    names = dict(_fields(lists[0], 2))
    parts = {name: np.zeros((PARTS, 3), np.float32) for name in names.values()}
    for image, part, *numbers in _fields(lists[1], 5):
        try:
            parts[names[image]][range(PARTS).index(int(part) - 1)] = [float(number) for number in numbers]
        except (KeyError, ValueError) as error:
            raise _odd(lists[1], " ".join((image, part, *numbers))) from error
    return parts


def parts_in_cells(parts: np.ndarray, width: int, height: int, size: int, cells: int) -> np.ndarray:
    """Which parts lie in which cell of an image that `image_files.resized_centre` made.

    Args:
        parts: `(k, 3)`, of one image; see `read_bird_parts`.
        width, height: of the file's image in pixels.
        size: s.
        cells: how many cells there are in a row.

    Returns:
        `(cells², k)` bools. Parts that are not visible, or lie in the border that is cut off, are in no cell.
    """
    before = np.array([width, height])
    scaled, starts = np.array(resized_centre_place((width, height), size))
    places = parts[:, :2] * scaled / before - starts
    column, row = np.floor(places * cells / size).astype(int).T
    inside = (parts[:, 2] > 0) & (places >= 0).all(1) & (places < size).all(1)
    found = np.zeros((cells * cells, len(parts)), bool)
    numbers = np.flatnonzero(inside)
    found[row[inside] * cells + column[inside], numbers] = True
    return found


def parts_of_images(paths: Sequence[Path], parts: Sequence[np.ndarray], size: int, cells: int) -> np.ndarray:
    """`parts_in_cells` of several files: `(n, cells², k)` bools. Of a file only the header is read.

    Args:
        paths: n image files.
        parts: n arrays `(k, 3)`.
        size, cells: as for `parts_in_cells`.
    """
    found = []
    for path, places in zip(paths, parts, strict=True):
        with Image.open(path, formats=FORMATS) as image:
            found.append(parts_in_cells(places, *image.size, size, cells))
    return np.stack(found)


def _fields(path, count):
    """The words of each line of a list, `count` of them."""
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words and len(words) != count:
            raise _odd(path, line)
        if words:
            yield words


def _odd(path, line):
    return UserError(
        f"{path}: {line[:80]!r} is no line of this list; expected that of CUB-200-2011. Next: restore it, or move "
        f"{path.name} away, and the parts are left out"
    )
