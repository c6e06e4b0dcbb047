"""Feature maps as coarse grids of cells.  b batch · h, w rows and columns of the map · y, x of the grid · c channels"""

import functools

import numpy as np
import tensorflow as tf


@functools.lru_cache
def grid_operator(size: int, cells: int) -> np.ndarray:
    """The matrix that turns `size` pixels in a line into `cells` cells.

    A cell is a mean. If `size` is a multiple of `cells`, it is the mean of the pixels that it covers. Otherwise the
    line is first interpolated linearly, so that its two ends stay where they are, to a multiple of `cells`: to four
    points a cell, or to more if the line has more pixels than that. DIML (Zhao et al., ICCV 2021) makes 4×4 cells of a
    7×7 map in this way, in its released code.

    Args:
        size: the number of pixels, at least 1.
        cells: the number of cells, at least 1.

    Returns:
        `(cells, size)` float64, read-only. Every row sums to one.

    Raises:
        ValueError: a number is less than 1.
    """
    if size < 1 or cells < 1:
        raise ValueError(f"`size` and `cells` must be 1 or more. Received: size={size}, cells={cells}")
    points_per_cell = 1 if size % cells == 0 else max(4, -(-size // cells))
    points = size if size % cells == 0 else cells * points_per_cell
    places = np.linspace(0, size - 1, points)  # of the points, counted in pixels
    left = np.minimum(places.astype(int), max(size - 2, 0))
    weights = np.zeros((points, size))
    np.add.at(weights, (np.arange(points), left), 1 - (places - left))
    np.add.at(weights, (np.arange(points), np.minimum(left + 1, size - 1)), places - left)
    operator = weights.reshape(cells, -1, size).mean(axis=1)
    operator.flags.writeable = False
    return operator


def grid_cells(maps, cells):
    """The cells of feature maps: `G = P M Pᵀ` in every channel, where P is `grid_operator`.

    As every row of P sums to one, a 1×1 convolution with a bias may come before or after it, with the same result.

    Args:
        maps: `(b, h, w, c)`.
        cells: y and x, the number of cells in height and in width.

    Returns:
        `(b, cells, cells, c)` in the dtype of `maps`.
    """
    maps = tf.convert_to_tensor(maps)
    rows, columns = (tf.constant(grid_operator(size, cells), maps.dtype) for size in maps.shape[1:3])
    return tf.einsum("xw,bywc->byxc", columns, tf.einsum("yh,bhwc->bywc", rows, maps))
