"""Draws the training of runs, finished or not, from their `metrics.jsonl`.

python -m neural_similarity plots RUN [RUN …] --out curves.png
"""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from neural_similarity.data.streams import printable
from neural_similarity.errors import UserError
from neural_similarity.families import family_of
from neural_similarity.files import shown
from neural_similarity.training.logs import read_rows
from neural_similarity.training.results import spoken
from neural_similarity.training.runs import open_run

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
    """A figure with two panels. Both have the training step on the horizontal axis, and a colour for each run.

    The left panel shows the training loss without penalties: the logged values as dots, and `smoothed` as a line. The
    right panel shows the headline score in percent: that of each evaluation, and as a thin line that of the training
    batches, if they have one. If a run has a validation split, its score there has hollow markers.

    Args:
        runs: run folders. The legend calls a run by its config. If several runs have one config, it adds the folder.
        title: above both panels.

    Returns:
        A matplotlib `Figure`. It needs no display.
    """
    curves = [_curves(folder) for folder in runs]
    labels = _labels(runs)
    width, height = _INCHES
    widest = _INCHES_PER_LEGEND_ENTRY + _INCHES_PER_CHARACTER * max(map(len, labels))
    columns = max(1, min(int(width / widest), len(labels)))
    height += _INCHES_PER_LEGEND_ROW * math.ceil(len(labels) / columns)
    figure = Figure((width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    FigureCanvasAgg(figure)
    loss, score = figure.subplots(1, 2, sharex=True)
    handles = []
    for i, (label, (train, train_score, validation, test)) in enumerate(zip(labels, curves, strict=True)):
        color, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        line = {"color": color, "linestyle": DASHES[i // len(COLOURS) % len(DASHES)], "linewidth": 1.5, "label": label}
        steps, values = train
        size, alpha = (5, 0.8) if len(steps) <= _MOST_MARKERS else (2, 0.2)
        loss.plot(steps, values, ".", color=color, markersize=size, alpha=alpha, zorder=1, rasterized=True)
        loss.plot(steps, smoothed(values), **line, zorder=2)
        steps, values = train_score
        score.plot(steps, 100 * smoothed(values), **{**line, "linewidth": 0.8}, alpha=0.6, zorder=1)
        steps, values = test
        line |= {"marker": marker if len(steps) <= _MOST_MARKERS else "", "markersize": 4}
        handles += score.plot(steps, 100 * values, **line)
        if validation.size:
            steps, values = validation
            score.plot(steps, 100 * values, **{**line, "linewidth": 0.8}, markerfacecolor="white", zorder=1.5)
    _describe(loss, "training loss (without penalties)")
    measures = dict.fromkeys(_headline(folder)[1] for folder in runs)
    hollow = ";\nvalidation, hollow" if any(validation.size for _, _, validation, _ in curves) else ""
    _describe(score, f"{spoken(', '.join(measures))} (%): {_headline(runs[0])[0]}{hollow}; training, thin")
    losses = np.concatenate([values for (_, values), *_ in curves])
    if 0 < _LOGARITHMIC_FROM * losses.min() < losses.max():
        loss.set_yscale("log")
        loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        loss.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        loss.yaxis.set_minor_locator(NullLocator())
    figure.legend(
        handles,
        list(map(_plain, labels)),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=_FONT_POINTS,
    )
    if title:
        figure.suptitle(_plain(title), fontsize=_FONT_POINTS + 2)
    return figure


def smoothed(values: np.ndarray) -> np.ndarray:
    """A running mean over about a hundredth of the values.

    Value i becomes the mean of the values i − r to i + r, with r = n // 200 for n values: with 1,000 values, each mean
    is over 11 of them. Near an end r is smaller, so that both sides stay equally long. The first and the last value
    never change, and with fewer than 200 values none does.

    Args:
        values: `(n,)` numbers.

    Returns:
        `(n,)` float64 array.
    """
    count = len(values)
    reach = np.minimum(count // 200, np.minimum(np.arange(count), np.arange(count)[::-1]))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(count)
    return (sums[at + reach + 1] - sums[at - reach]) / (2 * reach + 1)


def _curves(folder):
    """The curves of a run, each as (steps, values): training loss, and training, validation and test score.

    The last three may be empty.
    """
    run = open_run(folder)
    family = family_of(run.config)
    split, measure = family.HEADLINE.split("/")
    rows = read_rows(run.folder / "metrics.jsonl")

    def curve(split, name):
        points = [(row["step"], row[name]) for row in rows if row["split"] == split and name in row]
        return np.array(points, dtype=float).reshape(-1, 2).T

    train = curve("train", family.TRAINING_LOSS)
    if not train.size:
        advice = "Restore the file" if run.result else "Let the run go on"
        raise UserError(f"{run.shown()}: no row of the training loss in metrics.jsonl. {advice}.")
    return train, curve("train", measure), curve("validation", measure), curve(split, measure)


def _headline(folder):
    """The split and the measure of a run's headline score: ("test", "accuracy")."""
    return family_of(open_run(folder).config).HEADLINE.split("/")


def _labels(folders):
    """What the legend calls each run: its config, and its folder too if another run has the same config."""
    names = [open_run(folder).details.config for folder in folders]
    count = Counter(names)
    return [
        f"{name}, {Path(folder).resolve().name}" if count[name] > 1 else name
        for name, folder in zip(names, folders, strict=True)
    ]


def _plain(text):
    """A text for matplotlib, which would take what stands between two `$` for a formula."""
    return printable(text).replace("$", r"\$")


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
