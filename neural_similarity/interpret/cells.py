"""The cells of an image: where they are in pixels and in words, and images that are put together or masked by cells.

p images or pairs · r = cells² cells, row by row · s height and width of an image in pixels · m chosen cells
"""

import numpy as np


def cell_edges(size: int, cells: int) -> np.ndarray:
    """The pixels where cells begin and end along one side: `(cells + 1,)` integers from 0 to `size`.

    Four cells of 224 pixels begin at 0, 56, 112 and 168. If `size` is no multiple of `cells`, they differ by a pixel.
    """
    return np.round(np.linspace(0, size, cells + 1)).astype(int)


def in_words(cell: tuple[int, int], cells: int) -> str:
    """Where a cell is, as "upper left (1,1)" or "centre (2,3)": in words, then its row and its column from 1.

    Args:
        cell: its row and its column, from 0.
        cells: how many there are in a row.
    """
    row, column = (min(int(3 * (place + 0.5) / cells), 2) for place in cell)
    words = ("upper ", "", "lower ")[row] + ("left", "middle", "right")[column]
    return f"{'centre' if row == column == 1 else words} ({cell[0] + 1},{cell[1] + 1})"


def rebuilt(other: np.ndarray, plan: np.ndarray) -> np.ndarray:
    """An image that is put together from cells of another one.

    Each cell shows the cell of the other image to which it sends most of its weight. The brightness says how much
    weight it has: the heaviest cell is as bright as the other image, and a cell without weight is black.

    Args:
        other: `(s, s, 3)` uint8, the image from which the cells are taken.
        plan: T, `(r, r)`: how much each cell, a row, sends to each cell of the other image, a column.

    Returns:
        `(s, s, 3)` uint8.
    """
    cells = round(len(plan) ** 0.5)
    edges = cell_edges(len(other), cells)
    starts, lengths = edges[:-1], np.diff(edges)
    own = np.repeat(np.arange(cells), lengths)  # the row of cells, or the column, in which a pixel lies
    offset = np.arange(len(other)) - starts[own]
    source = np.argmax(plan, axis=1).reshape(cells, cells)[own[:, None], own]  # (s, s), the cell that a pixel shows
    rows, columns = source // cells, source % cells
    y = starts[rows] + np.minimum(offset[:, None], lengths[rows] - 1)
    x = starts[columns] + np.minimum(offset, lengths[columns] - 1)
    weights = plan.sum(1).reshape(cells, cells)
    brightness = weights / max(weights.max(), 1e-12)
    return np.round(other[y, x] * brightness[own[:, None], own][..., None]).astype(np.uint8)


def masked(images: np.ndarray, chosen: np.ndarray, cells: int) -> np.ndarray:
    """Images in which some cells have the mean colour of the image.

    Args:
        images: `(p, s, s, 3)`.
        chosen: `(p, m)`, the numbers of the cells that are masked in each image.
        cells: how many there are in a row.

    Returns:
        `(p, s, s, 3)` float32.
    """
    images = np.asarray(images, np.float32)
    edges = cell_edges(images.shape[1], cells)
    own = np.repeat(np.arange(cells), np.diff(edges))
    hidden = np.zeros((len(images), cells * cells), bool)
    np.put_along_axis(hidden, chosen, True, axis=1)
    hidden = hidden.reshape(-1, cells, cells)[:, own[:, None], own]
    return np.where(hidden[..., None], images.mean((1, 2), keepdims=True), images)
