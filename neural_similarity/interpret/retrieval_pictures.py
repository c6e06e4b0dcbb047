"""Draws what a search found: images, their neighbours before and after ranking again, and which parts match."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from neural_similarity.interpret.canvas import Canvas, plain
from neural_similarity.interpret.link_pictures import draw_links

_DOTS_PER_INCH = 110
_SMALL, _POINTS, _LARGE = 9, 12, 14  # sizes of the letters
_RIGHT, _WRONG = "#009E73", "#D55E00"  # green and red of Okabe and Ito, told apart with every kind of colour vision
_GAP = 0.2  # between the two images of a pair, in widths of an image
# In inches:
_IMAGE, _COLUMN = 2.0, 2.45  # an image, and what one takes in a row
_NAMES, _MARGIN, _HEAD = 1.0, 0.3, 0.75
_ROW, _BETWEEN = 2.55, 0.35  # an image with the words below it; the space between two searches
_LETTERS = 30  # of a name below an image


def sheet_figure(
    found: Sequence,
    images: Mapping[int, np.ndarray],
    names: Mapping[int, str],
    cells: int | None,
    by: str = "cosine",
    in_words: Callable = "{:.2f}".format,
) -> Figure:
    """A figure with a block for each search: the image on the left, and its neighbours in rows beside it.

    - The first row: the nearest images by the coarse score, which is the cosine or comes from a divergence.
    - The second row: the nearest ones by that score + structural similarity, and what number each was without it.
    - Below each of those: the pair, with the strongest links between its cells.

    Where classes are known, a right neighbour has a green frame and a tick, and a wrong one a dashed red frame and a
    cross.

    Args:
        found: `predict.retrieval.Found` objects.
        images: number in the gallery → `(s, s, 3)` uint8.
        names: number in the gallery → path in it.
        cells: how many cells there are in a row; None where no image was ranked again.
        by: the name of what gives the coarse score, "cosine" or "divergence".
        in_words: makes a text of a coarse score.

    Returns:
        A matplotlib `Figure`, which needs no display.
    """
    columns = max(len(each.by_coarse) for each in found)
    width = _MARGIN + _COLUMN + _NAMES + _COLUMN * columns
    heights = [_height(each) for each in found]
    figure = Figure((width, _HEAD + sum(heights)), dpi=_DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    canvas = Canvas(figure)
    known = any(each.label is not None for each in found)
    words = "Neighbours, the nearest first" + ":   ✓ right class   ✗ another class" * known
    canvas.text(width / 2, 0.28, words, ha="center", fontsize=_LARGE, weight="bold")
    top = _HEAD
    for each, height in zip(found, heights, strict=True):
        _search(canvas, top, each, images, names, cells, by, in_words)
        top += height
    return figure


def _pair_height():
    return (_COLUMN - 0.1) / (2 + _GAP)


def _height(found):
    return _ROW + (_ROW + _pair_height() + 0.15) * bool(found.reranked) + _BETWEEN


def _search(canvas, top, found, images, names, cells, by, in_words):
    """One search, `top` inches below the upper edge."""
    _image(canvas, _MARGIN, top, found.image)
    label = [_short(found.label)] if found.label is not None else []
    _words(canvas, _MARGIN, top, [_short(found.path.name), *label], bold=True)
    start = _MARGIN + _COLUMN + _NAMES
    canvas.text(start - 0.15, top + _IMAGE / 2, f"by\n{by}", ha="right", fontsize=_POINTS)
    for i, neighbour in enumerate(found.by_coarse):
        x = start + i * _COLUMN
        _image(canvas, x, top, images[neighbour.number], neighbour.is_right)
        _words(
            canvas, x, top, [f"{_mark(neighbour)}{in_words(neighbour.coarse)}", _name(names[neighbour.number], found)]
        )
    if not found.reranked:
        return
    below = top + _ROW
    words = f"by {by} +\nstructural\nsimilarity"
    canvas.text(start - 0.15, below + _IMAGE / 2, words, ha="right", fontsize=_POINTS)
    matches = below + _ROW - 0.02
    canvas.text(start - 0.3, matches + _pair_height() / 2, "strongest\nmatches", ha="right", fontsize=_POINTS)
    for i, neighbour in enumerate(found.reranked):
        x, image = start + i * _COLUMN, images[neighbour.number]
        _image(canvas, x, below, image, neighbour.is_right)
        number = f"{_mark(neighbour)}{neighbour.score:.2f}, number {neighbour.rank} by {by}"
        _words(canvas, x, below, [number, _name(names[neighbour.number], found)])
        axes = canvas.axes(x - (_COLUMN - _IMAGE - 0.1) / 2, matches, _COLUMN - 0.1, _pair_height())
        draw_links(axes, np.stack([found.image, image]), neighbour.links, cells, gap=_GAP, points=6)


def _image(canvas, x, y, image, is_right=None):
    """An image, with the frame of a right or a wrong neighbour, or without a frame."""
    axes = canvas.axes(x, y, _IMAGE, _IMAGE)
    axes.imshow(image)
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_visible(is_right is not None)
        side.set(color=_RIGHT if is_right else _WRONG, linewidth=3)
        side.set_linestyle("-" if is_right else (0, (2.2, 1.1)))


def _words(canvas, x, y, lines, bold=False):
    for i, line in enumerate(lines):
        style = {"weight": "bold"} if bold and i == 0 else {}
        canvas.text(x + _IMAGE / 2, y + _IMAGE + 0.17 + 0.18 * i, plain(line), ha="center", fontsize=_SMALL, **style)


def _mark(neighbour):
    return {True: "✓ ", False: "✗ ", None: ""}[neighbour.is_right]


def _name(name, found):
    """What stands below a neighbour: the folder that names its class where classes are known, and else its own name."""
    path = PurePosixPath(name)
    return _short(path.name if found.label is None else path.parent.name)


def _short(name):
    """The end of a long name, which tells it from others."""
    return name if len(name) <= _LETTERS else "…" + name[1 - _LETTERS :]
