"""The part of a picture that shows the similarity matrices M: one row per question, one column per layer."""

import dataclasses
import math

import numpy as np

_SMALL, _POINTS = 11, 12  # sizes of the letters
_NUMBERS_UP_TO = 9  # entries of M: a map of no more has its numbers written in
# In inches:
_MAP, _CELL, _NAMES, _BAR, _HEAD, _ROW = 1.6, 1.8, 1.5, 0.8, 1.25, 1.78


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """Maps of numbers, one per layer, with one scale of colours.

    Attributes:
        name: what the row shows, in a few lines.
        maps: layer name → `(y, x)` array.
        middle: the number that is white, or None for colours from 0 up.
        reach: how far the colours go from the middle, or from 0.
        image: `(h, w, 3)` uint8, drawn in front of the maps, or None.
    """

    name: str
    maps: dict
    middle: float | None
    reach: float
    image: np.ndarray | None = None


def rows_of_matrices(episode, static, dynamic):
    """The `Row`s that show what the matrices of a network are in an episode. Empty if it has none.

    Static layers: M before and after the network adapted, and the change; M alone where M does not adapt. Dynamic
    layers: the mean over all queries and pixels; and how far M is from the identity at every pixel of the first query:
    the mean of |M − I| over the entries of M.

    A diagonal M (DNS) is drawn in the places of the kernel's taps, 3×3 for a 3×3 kernel; another (UNS) as a matrix.

    Args:
        episode: an `interpret.episodes.Episode`.
        static, dynamic: what `static_matrices` and `dynamic_matrices` return.
    """
    if static:
        before = {name: two[0] for name, two in static.items()}
        if any(two[1] is None for two in static.values()):
            return [_of_matrices("M, the same in\nevery episode", before, [before])]
        after = {name: two[1] for name, two in static.items()}
        change = {name: _shaped(after[name] - before[name]) for name in before}
        both = [before, after]
        return [
            _of_matrices("M before\nadaptation", before, both),
            _of_matrices("M after\nadaptation", after, both),
            Row("change:\nafter − before", change, 0.0, _reach(change, 0.0)),
        ]
    if dynamic:
        means = {name: m.mean((0, 1, 2)) for name, m in dynamic.items()}
        first = {name: _deviation(m[0]) for name, m in dynamic.items()}
        identity = 1 if next(iter(means.values())).ndim == 1 else "I"
        words = f"mean |M − {identity}| at\neach pixel of\nthis query"
        return [
            _of_matrices("mean M\nof all queries", means, [means]),
            Row(words, first, None, _reach(first, 0.0), episode.queries[0, 0]),
        ]
    return []


def rows_of_training(start, now):
    """The `Row`s that show what training made of static matrices: at the start, now, and the change.

    Args:
        start, now: layer name → M, `(k,)` or `(k, k)`.
    """
    change = {name: _shaped(now[name] - start[name]) for name in start}
    return [
        _of_matrices("M at the\nstart", start, [start]),
        _of_matrices("M after\ntraining", now, [now]),
        Row("change:\nafter − start", change, 0.0, _reach(change, 0.0)),
    ]


def rows_of_images(matrices, images):
    """The `Row`s that show what M dynamic layers predict: its mean over images and pixels, then |M − I| of each image.

    Args:
        matrices: layer name → `(b, y, x, k)` or `(b, y, x, k, k)`.
        images: `(b, h, w, 3)` in 0–255.
    """
    means = {name: m.mean((0, 1, 2)) for name, m in matrices.items()}
    deviations = [{name: _deviation(m[i]) for name, m in matrices.items()} for i in range(len(images))]
    reach = max(_reach(each, 0.0) for each in deviations)
    identity = 1 if next(iter(means.values())).ndim == 1 else "I"
    words = f"mean |M − {identity}|\nat each pixel"
    shown = np.clip(images, 0, 255).astype(np.uint8)
    return [
        _of_matrices("mean M of\nthese images", means, [means]),
        *(Row(words, each, None, reach, image) for each, image in zip(deviations, shown, strict=True)),
    ]


def height_of_rows(rows):
    """In inches."""
    return _HEAD + _ROW * len(rows) if rows else 0.0


def width_of_rows(rows):
    """In inches."""
    return _NAMES + _CELL * (len(rows[-1].maps) + (rows[-1].image is not None)) + _BAR if rows else 0.0


def draw_rows(canvas, rows, top):
    """Draws `Row`s on a `Canvas`, `top` inches below its upper edge."""
    if not rows:
        return
    size = len(next(iter(rows[0].maps.values())))
    with_images = any(row.image is not None for row in rows)
    words = f"Before a filter sees a {size}×{size} patch, each pixel is multiplied by a number. 1 changes nothing."
    if size * size > _NUMBERS_UP_TO:
        words = (
            f"A filter sees the {size} pixels of a patch mixed: a row of M is a mixed pixel, a column a pixel of the "
            "patch.\nThe identity matrix, with 1 on the diagonal, changes nothing."
        )
    heading = "Similarity matrices M" + ", predicted for every pixel of a layer's input" * with_images
    canvas.text(0.1, top + 0.15, heading, fontsize=_POINTS, weight="bold")
    canvas.text(0.1, top + 0.4, words, fontsize=_POINTS, va="top", linespacing=1.15)
    start = _NAMES + _CELL * with_images
    for column, name in enumerate(rows[0].maps):
        canvas.text(start + _CELL * column + _MAP / 2, top + 1.08, name, ha="center", fontsize=_POINTS)
    for i, row in enumerate(rows):
        y = top + _HEAD + _ROW * i
        canvas.text(0.1, y + _MAP / 2, row.name, fontsize=_SMALL)
        if row.image is not None:
            axes = canvas.axes(_NAMES, y, _MAP, _MAP)
            axes.imshow(row.image)
            axes.set_axis_off()
        low, high = (0, row.reach) if row.middle is None else (row.middle - row.reach, row.middle + row.reach)
        colours = "cividis" if row.middle is None else "RdBu_r"
        for column, values in enumerate(row.maps.values()):
            axes = canvas.axes(start + _CELL * column, y, _MAP, _MAP)
            picture = axes.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            if row.middle is not None and values.size <= _NUMBERS_UP_TO:
                _write_numbers(axes, values, row, picture)
        bar = canvas.axes(start + _CELL * len(row.maps), y, 0.14, _MAP)
        canvas.figure.colorbar(picture, cax=bar)
        bar.tick_params(labelsize=_SMALL - 1)


def _write_numbers(axes, values, row, picture):
    for (y, x), value in np.ndenumerate(values):
        text = f"{value:.3f}" if row.middle else f"{value:+.3f}".replace("-0.000", "0.000").replace("+0.000", "0.000")
        dark = sum(picture.cmap(picture.norm(value))[:3]) < 1.5
        axes.text(x, y, text, ha="center", va="center", fontsize=_SMALL - 2, color="w" if dark else "k")


def _of_matrices(name, matrices, together):
    """A `Row` of matrices with a scale that serves several dictionaries of them."""
    middle = 1.0 if next(iter(matrices.values())).ndim == 1 else 0.0
    reach = max(_reach(each, middle) for each in together)
    return Row(name, {layer: _shaped(m) for layer, m in matrices.items()}, middle, reach)


def _reach(maps, middle):
    return max(float(np.max(np.abs(values - middle))) for values in maps.values()) or 1.0


def _shaped(matrix):
    """A diagonal M `(k,)` as `(√k, √k)`; another stays `(k, k)`."""
    side = math.isqrt(len(matrix))
    return matrix.reshape(side, side) if matrix.ndim == 1 else matrix


def _deviation(matrix):
    """The mean of |M − I| over the entries of M: `(y, x, k)` or `(y, x, k, k)` → `(y, x)`."""
    if matrix.ndim == 3:
        return np.mean(np.abs(matrix - 1), -1)
    return np.mean(np.abs(matrix - np.eye(matrix.shape[-1])), (-2, -1))
