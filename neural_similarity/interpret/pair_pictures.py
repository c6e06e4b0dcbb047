"""Draws why two images are similar: what matches, how much it weighs, and how the score adds up."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from neural_similarity.interpret.canvas import Canvas, plain
from neural_similarity.interpret.cells import in_words, rebuilt
from neural_similarity.interpret.link_pictures import colour_of, draw_links
from neural_similarity.interpret.pairs import PairExplanation
from neural_similarity.interpret.waterfall import draw_score, draw_waterfall

_DOTS_PER_INCH = 110
_SMALL, _POINTS, _LARGE = 10, 12, 14  # sizes of the letters
_GAP = 0.3  # between the two images of the large picture, in widths of an image
_MOST_LISTED = 10  # links that have a line of words
# In inches:
_WIDTH, _MARGIN, _BETWEEN = 13.2, 0.35, 0.12
_LARGE_IMAGE, _IMAGE, _MATRIX = 3.9, 2.55, 3.0
_HEAD, _TITLE = 0.98, 0.5
_BAR = 0.12  # width of a bar of colours


def pair_figure(explained: PairExplanation, links: int = 5) -> Figure:
    """A figure of a `PairExplanation`.

    - Above: the two images. The cells of each of the strongest links have frames of one colour, and a line between
      them that is wider, the more weight it carries; on it stands their similarity S. A list names them in words.
    - In the middle: the weights u and v of the cells as colours over the images. Beside them each image is put together
      from cells of the other one: see `cells.rebuilt`.
    - Below: the matrices T and S, with the same links framed, and how the contributions T · S add up to the structural
      similarity SS, and with the cosine to the score.

    Args:
        explained: what is drawn.
        links: how many links are drawn. Those without weight never are.

    Returns:
        A matplotlib `Figure`, which needs no display.
    """
    strongest = explained.strongest_links(links)
    middle = _HEAD + _LARGE_IMAGE + _TITLE + 0.3
    below = middle + _IMAGE + _TITLE + 0.35
    figure = Figure((_WIDTH, below + _MATRIX + 0.75), dpi=_DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    canvas = Canvas(figure)
    canvas.text(_WIDTH / 2, 0.28, explained.in_words(), ha="center", fontsize=_LARGE, weight="bold")
    for i, name in enumerate(explained.names):
        x = _MARGIN + (0.5 + i * (1 + _GAP)) * _LARGE_IMAGE
        canvas.text(x, _HEAD - 0.15, plain(_short(name)), ha="center", fontsize=_SMALL)
    width = (2 + _GAP) * _LARGE_IMAGE
    axes = canvas.axes(_MARGIN, _HEAD, width, _LARGE_IMAGE)
    draw_links(axes, explained.images, strongest, explained.cells, gap=_GAP, points=_POINTS)
    _list(canvas, _MARGIN + width + 0.25, explained, strongest)
    _weights(canvas, middle, explained)
    _rebuilt(canvas, middle, explained)
    _matrices(canvas, below, explained, strongest)
    _sums(canvas, below, explained, len(strongest))
    return figure


def _list(canvas, x, explained, links):
    """The links in words, one below the other."""
    canvas.text(x, _HEAD + 0.08, "Strongest links", fontsize=_POINTS, weight="bold")
    listed = links[:_MOST_LISTED]
    step = min(0.62, 3.1 / max(len(listed), 1))
    for number, link in enumerate(listed):
        y = _HEAD + 0.45 + step * number
        canvas.text(x, y, "■", fontsize=_LARGE + 2, color=colour_of(number))
        where = " ↔ ".join(in_words(cell, explained.cells) for cell in (link.a, link.b))
        canvas.text(x + 0.28, y - 0.02, f"{number + 1}  {where}", fontsize=_SMALL)
        numbers = f"T {100 * link.weight:.1f} % · S {link.similarity:.2f} = {link.contribution:.3f}"
        canvas.text(x + 0.28, y + 0.18, numbers, fontsize=_SMALL, color="0.35")
    together, whole = sum(link.contribution for link in links), explained.structural_similarity
    words = f"Together {together:.3f} of SS {whole:.3f}" if links else "None: no cell has weight"
    canvas.text(x, _HEAD + _LARGE_IMAGE - 0.1, words, fontsize=_SMALL)


def _weights(canvas, top, explained):
    """The weights of the cells as colours over the two images, which are grey below them."""
    canvas.text(_MARGIN, top - 0.2, "How much each cell weighs: u and v", fontsize=_POINTS, weight="bold")
    most = max(explained.u.max(), explained.v.max())
    for i, (image, weights) in enumerate(zip(explained.images, (explained.u, explained.v), strict=True)):
        axes = canvas.axes(_MARGIN + i * (_IMAGE + _BETWEEN), top, _IMAGE, _IMAGE)
        axes.set_axis_off()
        axes.imshow(image.mean(-1), cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0))
        heat = weights.reshape(explained.cells, -1)
        shown = axes.imshow(
            heat, cmap="inferno", alpha=0.5, vmin=0, vmax=most, extent=(0, 1, 1, 0), interpolation="bilinear"
        )
    bar = canvas.axes(_MARGIN + 2 * (_IMAGE + _BETWEEN), top, _BAR, _IMAGE)
    canvas.figure.colorbar(shown, cax=bar, format=lambda value, _: f"{100 * value:.0f} %")
    bar.tick_params(labelsize=_SMALL)


def _rebuilt(canvas, top, explained):
    """Each image, put together from cells of the other one."""
    start = _WIDTH - 0.15 - 2 * (_IMAGE + _BETWEEN)
    words = "Each image made of the other one's cells"
    canvas.text(start, top - 0.2, words, fontsize=_POINTS, weight="bold")
    first, second = explained.images
    for i, (other, plan) in enumerate(((second, explained.plan), (first, explained.plan.T))):
        axes = canvas.axes(start + i * (_IMAGE + _BETWEEN), top, _IMAGE, _IMAGE)
        axes.set_axis_off()
        axes.imshow(rebuilt(other, plan), extent=(0, 1, 1, 0))


def _matrices(canvas, top, explained, links):
    """T and S, with the drawn links framed."""
    cells = explained.cells
    reach = float(np.abs(explained.similarities).max()) or 1.0
    shares = {"cmap": "inferno", "vmin": 0}
    drawn = (
        ("Transported weight T", explained.plan, shares, lambda value, _: f"{100 * value:.1f} %"),
        ("Similarity S", explained.similarities, {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach}, None),
    )
    for i, (title, values, colours, form) in enumerate(drawn):
        x = _MARGIN + 0.3 + i * (_MATRIX + 1.15)
        canvas.text(x - 0.3, top - 0.2, title, fontsize=_POINTS, weight="bold")
        axes = canvas.axes(x, top, _MATRIX, _MATRIX)
        shown = axes.imshow(values, interpolation="nearest", **colours)
        _ticks(axes, cells)
        size = 0.9 * 72 * _MATRIX / cells**2  # of a square in points
        for number, link in enumerate(links):
            row, column = (cell[0] * cells + cell[1] for cell in (link.a, link.b))
            axes.plot(column, row, "s", ms=size, mfc="none", mec=colour_of(number), mew=min(1.8, size / 3))
        bar = canvas.axes(x + _MATRIX + 0.08, top, _BAR, _MATRIX)
        canvas.figure.colorbar(shown, cax=bar, format=form)
        bar.tick_params(labelsize=_SMALL)


def _sums(canvas, top, explained, coloured):
    """How the contributions add up to SS, and SS and the cosine to the score."""
    x = _MARGIN + 2 * (_MATRIX + 1.15) + 0.25
    canvas.text(x - 0.3, top - 0.2, "Contributions T · S, and their sum SS", fontsize=_POINTS, weight="bold")
    width = 0.62 * (_WIDTH - x - 0.15)
    draw_waterfall(canvas.axes(x + 0.1, top, width, _MATRIX), explained, coloured, _SMALL - 1)
    rest = x + width + 0.6
    draw_score(canvas.axes(rest, top, _WIDTH - rest - 0.15, _MATRIX), explained, _SMALL - 1)


def _ticks(axes, cells):
    """Ticks between the rows of cells, and the rows' numbers."""
    between = np.arange(1, cells) * cells - 0.5
    middle = np.arange(cells) * cells + (cells - 1) / 2
    for axis, name in ((axes.xaxis, "row of cells in the second image"), (axes.yaxis, "row in the first image")):
        axis.set_ticks(between, minor=True)
        axis.set_ticks(middle, [str(row + 1) for row in range(cells)], fontsize=_SMALL)
        axis.set_label_text(name, fontsize=_SMALL)
    axes.tick_params(which="major", length=0)
    axes.grid(which="minor", color="white", linewidth=0.7)
    axes.tick_params(which="minor", length=0)


def _short(name):
    """The end of a long name, which tells it from others."""
    return name if len(name) <= 48 else "…" + name[-47:]
