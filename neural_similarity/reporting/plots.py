"""Draws the training of runs, finished or not, from their curves.

python -m neural_similarity plots RUN [RUN …] --out curves.png
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from neural_similarity.errors import UserError
from neural_similarity.files import shown
from neural_similarity.interpret.canvas import plain
from neural_similarity.reporting.curves import curves_of, smoothed
from neural_similarity.training.results import spoken

# Okabe and Ito's colours, told apart with every kind of colour vision; their yellow is too light for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
DASHES = ("-", "--", ":")  # the first seven runs have solid lines, the next seven dashed ones
FORMATS = (".png", ".svg", ".pdf")
_INCHES, _INCHES_PER_LEGEND_ROW = (9.0, 3.2), 0.22
_DOTS_PER_INCH = 200  # so that the picture is sharp where it is shown at half its size
_INCHES_PER_LEGEND_ENTRY, _INCHES_PER_CHARACTER = 0.6, 0.065
_MOST_MARKERS = 40  # a curve of up to so many values is drawn with a marker at each
_LOGARITHMIC_FROM = 10  # if the largest loss is more than so many times the smallest, the axis is logarithmic
_FONT_POINTS = 9


def training_curves(runs: Sequence[str | Path], path: str | Path, title: str | None = None) -> Path:
    """Draws `training_figure` to a file; returns its `Path`.

    Args:
        runs: run folders.
        path: the file to write: .png, .svg or .pdf.
        title: above the picture.

    Raises:
        UserError: a folder is no run's folder or has no metrics yet, or `path` cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{shown(path)}: a picture's name ends in one of {', '.join(FORMATS)}.")
    figure = training_figure(runs, title)
    try:
        figure.savefig(path, dpi=_DOTS_PER_INCH)
    except OSError as error:
        raise UserError(f"{shown(path)}: cannot be written ({error.strerror}).") from None
    return path


def training_figure(runs: Sequence[str | Path], title: str | None = None) -> Figure:
    """A figure with two panels. Both have the training step on the horizontal axis, and a colour for each recipe.

    The left panel shows the training loss without penalties: the logged values as dots, and `smoothed` as a line. The
    right panel shows the headline score in percent: that of each evaluation, and as a thin line that of the training
    batches, if they have one. If a run has a validation split, its score there has hollow markers.

    Runs that differ in the seed alone are one curve, the mean over the seeds. A band around it goes from the lowest to
    the highest of them. Its dots are left out, and its training score is not drawn.

    Args:
        runs: run folders. The legend calls a recipe by its config. If there are several of one config, it adds their
            scale or their folder.
        title: above both panels.

    Returns:
        A matplotlib `Figure`. It needs no display.

    Raises:
        UserError: a folder is no run's folder, or has no row of the training loss yet.
    """
    recipes = curves_of(runs)
    labels = [recipe.label for recipe in recipes]
    width, height = _INCHES
    widest = _INCHES_PER_LEGEND_ENTRY + _INCHES_PER_CHARACTER * max(map(len, labels))
    columns = max(1, min(int(width / widest), len(labels)))
    height += _INCHES_PER_LEGEND_ROW * math.ceil(len(labels) / columns)
    figure = Figure((width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    FigureCanvasAgg(figure)
    loss, score = figure.subplots(1, 2, sharex=True)
    handles = []
    for i, recipe in enumerate(recipes):
        color, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        dash = DASHES[i // len(COLOURS) % len(DASHES)]
        line = {"color": color, "linestyle": dash, "linewidth": 1.5, "label": recipe.label}
        if recipe.seeds == 1:
            _dots(loss, recipe.loss, color)
            score.plot(
                recipe.training_score.steps,
                100 * smoothed(recipe.training_score.mean),
                **{**line, "linewidth": 0.8},
                alpha=0.6,
                zorder=1,
            )
        _band(loss, recipe.loss.smooth(), color)
        loss.plot(recipe.loss.steps, smoothed(recipe.loss.mean), **line, zorder=2)
        _band(score, recipe.score, color, 100)
        line |= {"marker": marker if len(recipe.score.steps) <= _MOST_MARKERS else "", "markersize": 4}
        handles += score.plot(recipe.score.steps, 100 * recipe.score.mean, **line)
        if recipe.validation.steps.size:
            hollow = {**line, "linewidth": 0.8, "markerfacecolor": "white"}
            score.plot(recipe.validation.steps, 100 * recipe.validation.mean, **hollow, zorder=1.5)
    _describe(loss, "training loss (without penalties)")
    measures = ", ".join(dict.fromkeys(recipe.measure for recipe in recipes))
    hollow = ";\nvalidation, hollow" if any(recipe.validation.steps.size for recipe in recipes) else ""
    thin = "; training, thin" if any(recipe.seeds == 1 for recipe in recipes) else ""
    band = ";\nband: lowest to highest seed" if any(recipe.seeds > 1 for recipe in recipes) else ""
    _describe(score, f"{spoken(measures)} (%): {recipes[0].split}{hollow}{thin}{band}")
    losses = np.concatenate([recipe.loss.mean for recipe in recipes])
    if losses.size and 0 < _LOGARITHMIC_FROM * losses.min() < losses.max():
        loss.set_yscale("log")
        loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        loss.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        loss.yaxis.set_minor_locator(NullLocator())
    figure.legend(
        handles,
        list(map(plain, labels)),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=_FONT_POINTS,
    )
    if title:
        figure.suptitle(plain(title), fontsize=_FONT_POINTS + 2)
    return figure


def _dots(axes, curve, color):
    size, alpha = (5, 0.8) if len(curve.steps) <= _MOST_MARKERS else (2, 0.2)
    axes.plot(curve.steps, curve.mean, ".", color=color, markersize=size, alpha=alpha, zorder=1, rasterized=True)


def _band(axes, curve, color, factor=1):
    """What lies between the lowest and the highest seed; nothing for a single one."""
    if np.any(curve.low != curve.high):
        axes.fill_between(curve.steps, factor * curve.low, factor * curve.high, color=color, alpha=0.2, linewidth=0)


def _describe(axes, name):
    axes.set_xlabel("step", fontsize=_FONT_POINTS)
    axes.set_ylabel(name, fontsize=_FONT_POINTS)
    axes.tick_params(labelsize=_FONT_POINTS)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=(1, 2, 2.5, 5, 10)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
