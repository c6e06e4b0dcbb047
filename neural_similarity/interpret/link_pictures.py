"""Draws two images side by side, and lines between the cells that match."""

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from neural_similarity.interpret.pairs import Link

# Okabe and Ito's colours, told apart with every kind of colour vision; the lightest ones first, as they lie on photos.
_COLOURS = ("#F0E442", "#56B4E9", "#E69F00", "#CC79A7", "#009E73", "#D55E00", "#0072B2")
_EDGE = "#202020"  # around frames and lines, so that they are seen on every photo
_POINTS = 11  # size of the letters for which the widths below are meant
_FRAME, _THINNEST, _WIDEST, _RIM = 2.2, 1.2, 6.0, 1.8  # widths in points


def colour_of(number: int) -> str:
    """The colour of a link, by its place among the strongest ones, from 0."""
    return _COLOURS[number % len(_COLOURS)]


def draw_links(
    axes, images: np.ndarray, links: Sequence[Link], cells: int, *, gap: float = 0.3, points: float = _POINTS
) -> None:
    """Draws two images with a frame around each linked cell, and a line from cell to cell.

    The line is wider, the more weight it carries. On it stands S, the similarity of the two cells.

    Args:
        axes: matplotlib axes, whose frame and ticks are taken away. They are 2 + `gap` times as wide as high.
        images: `(2, s, s, 3)` uint8.
        links: the links, the strongest first.
        cells: how many cells there are in a row.
        gap: between the images, in widths of an image.
        points: size of the letters; lines and frames grow with it.
    """
    axes.set_axis_off()
    for image, left in zip(images, (0, 1 + gap), strict=True):
        axes.imshow(image, extent=(left, left + 1, 1, 0), interpolation="antialiased")
    axes.set(xlim=(-0.01, 2.01 + gap), ylim=(1.01, -0.01), aspect="equal")
    most = max((link.weight for link in links), default=1.0)
    frames, middles = {}, {}  # (cell, image) → how many frames it has; link → height of the middle of its line
    for number, link in reversed([*enumerate(links)]):  # so that the strongest lies above
        ends = []
        for cell, left, side in ((link.a, 0, 1), (link.b, 1 + gap, 0)):
            nested = frames[cell, left] = frames.get((cell, left), -1) + 1
            inset = min(0.04 + 0.09 * nested, 0.4)
            x, y = left + (cell[1] + inset) / cells, (cell[0] + inset) / cells
            size = (1 - 2 * inset) / cells
            _frame(axes, x, y, size, colour_of(number), points / _POINTS)
            # Each line ends at a height of its own, so that lines between the same rows lie beside each other.
            ends.append((x + side * size, (cell[0] + (number + 1) / (len(links) + 1)) / cells))
        width = (_THINNEST + (_WIDEST - _THINNEST) * link.weight / most) * points / _POINTS
        rim = withStroke(linewidth=width + _RIM * points / _POINTS, foreground=_EDGE)
        x, y = zip(*ends, strict=True)
        middles[number] = sum(y) / 2
        axes.plot(x, y, color=colour_of(number), linewidth=width, solid_capstyle="round", zorder=5, path_effects=[rim])
    step = 0.0245 * points / (axes.get_position().height * axes.figure.get_size_inches()[1])  # of labels that touch
    for number, height in enumerate(_apart([middles[i] for i in range(len(links))], step)):
        box = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": colour_of(number), "linewidth": 1.8}
        words = f"{links[number].similarity:.2f}"
        axes.text(1 + gap / 2, height, words, ha="center", va="center", fontsize=points, zorder=7, bbox=box)


def _frame(axes, x, y, size, colour, scale):
    rim = withStroke(linewidth=(_FRAME + _RIM) * scale, foreground=_EDGE)
    style = {"fill": False, "edgecolor": colour, "linewidth": _FRAME * scale, "path_effects": [rim]}
    axes.add_patch(Rectangle((x, y), size, size, zorder=4, **style))


def _apart(heights, step):
    """Heights from 0 to 1, moved as little as needed to be `step` from each other; nearer where there is no room."""
    heights = np.array(heights)
    order = np.argsort(heights, kind="stable")
    for _ in range(100):
        for upper, lower in itertools.pairwise(order):
            missing = max(step - (heights[lower] - heights[upper]), 0) / 2
            heights[upper] -= missing
            heights[lower] += missing
        heights = np.clip(heights, step / 2, 1 - step / 2)
    return heights
