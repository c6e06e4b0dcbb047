"""Draws a few-shot episode for people: what the network saw, what it answered, and its similarity matrices M."""

import textwrap

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from neural_similarity.data.class_lists import MINI_IMAGENET_TEST_WORDS
from neural_similarity.interpret.canvas import Canvas, plain
from neural_similarity.interpret.matrix_rows import draw_rows, height_of_rows, rows_of_matrices, width_of_rows

_MOST_SHOTS, _MOST_QUERIES = 5, 6  # images of a class that are drawn
_RIGHT, _WRONG = "#0072B2", "#D55E00"  # of Okabe and Ito, told apart with every kind of colour vision
_DOTS_PER_INCH = 110
_SMALL, _POINTS, _LARGE = 11, 12, 14  # sizes of the letters
_LETTERS_PER_LINE = 12  # of a name under an image
# In inches:
_IMAGE, _CELL, _ROW = 0.9, 1.08, 1.45  # an image, what one takes in a row, and the height of a row
_NAMES, _GAP, _HEAD, _MARGIN = 1.5, 0.35, 1.2, 0.1
_NARROWEST = 9.0


def episode_figure(episode, title, static, dynamic):
    """A figure of an episode: one row per class, with its support images on the left and its queries on the right.

    A right answer has a thin blue frame and a tick. A wrong one has a thick, dashed, orange frame, and a cross with the
    name of the class that the network took the image for. Of each class at most 5 support images and 6 queries are
    drawn, the first ones.

    Below stand the matrices M (see `matrix_rows`), if the network has any.

    Args:
        episode: an `interpret.episodes.Episode`.
        title: above the picture; the first line is larger.
        static, dynamic: what `static_matrices` and `dynamic_matrices` return.

    Returns:
        A matplotlib `Figure`, which needs no display.
    """
    n_way, k_shot, n_query = *episode.support.shape[:2], episode.queries.shape[1]
    shots, queries = min(k_shot, _MOST_SHOTS), min(n_query, _MOST_QUERIES)
    rows = rows_of_matrices(episode, static, dynamic)
    width = max(_NAMES + _CELL * (shots + queries) + _GAP + _MARGIN, width_of_rows(rows), _NARROWEST)
    top_of_rows = _HEAD + _ROW * n_way
    figure = Figure((width, top_of_rows + height_of_rows(rows)), dpi=_DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    canvas = Canvas(figure)
    first, *further = plain(title).splitlines()
    canvas.text(width / 2, 0.22, first, ha="center", fontsize=_LARGE, weight="bold")
    canvas.text(width / 2, 0.52, "\n".join(further), ha="center", fontsize=_POINTS)
    start = _NAMES + _CELL * shots + _GAP
    shown = f"{'' if shots == k_shot else f'{shots} of '}{k_shot} support image{'s' * (k_shot > 1)}"
    canvas.text(_NAMES + (_CELL * shots) / 2, 0.95, shown, ha="center", fontsize=_POINTS, style="italic")
    shown = f"{'' if queries == n_query else f'{queries} of '}{n_query} queries:  ✓ right   ✗ wrong, taken for …"
    canvas.text(start + (_CELL * queries) / 2, 0.95, shown, ha="center", fontsize=_POINTS, style="italic")
    words = [_words(name) for name in episode.classes]
    for i, name in enumerate(words):
        y = _HEAD + _ROW * i
        canvas.text(0.1, y + 0.35, _wrapped(name), fontsize=_POINTS, weight="bold")
        right = f"{np.sum(episode.right[i])} of {n_query} right"
        canvas.text(0.1, y + 0.75, right, fontsize=_SMALL)
        for j in range(shots):
            _image(canvas.axes(_NAMES + _CELL * j, y, _IMAGE, _IMAGE), episode.support[i, j])
        for j in range(queries):
            is_right = episode.right[i, j]
            axes = canvas.axes(start + _CELL * j, y, _IMAGE, _IMAGE)
            _image(axes, episode.queries[i, j], is_right)
            mark = "✓" if is_right else "✗ " + _wrapped(words[episode.predicted[i, j]])
            axes.set_xlabel(mark, fontsize=_SMALL - 1, labelpad=4, linespacing=0.95)
    draw_rows(canvas, rows, top_of_rows)
    return figure


def _image(axes, image, is_right=None):
    """An image, with the frame of a right or a wrong answer, or without a frame."""
    axes.imshow(image)
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_visible(is_right is not None)
        side.set(color=_RIGHT if is_right else _WRONG, linewidth=1.5 if is_right else 3.5)
        side.set_linestyle("-" if is_right else (0, (2.2, 1.1)))


def _words(name):
    """The name of a class as people read it: a WordNet id in words if it is known, and spaces for underscores."""
    return plain(MINI_IMAGENET_TEST_WORDS.get(name, name)).replace("_", " ")


def _wrapped(name):
    """A name in up to two lines."""
    lines = textwrap.wrap(name, _LETTERS_PER_LINE)
    return "\n".join(lines if len(lines) <= 2 else [lines[0], lines[1][: _LETTERS_PER_LINE - 1] + "…"])
