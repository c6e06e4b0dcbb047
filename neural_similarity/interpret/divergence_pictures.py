"""Draws a learned divergence: its level sets beside the true ones, or the mean between each two classes.

python -m neural_similarity divergence RUN [--out divergence.png]
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from neural_similarity.distances import Bregman as BregmanDistance
from neural_similarity.errors import UserError
from neural_similarity.families import bregman, load_run
from neural_similarity.families.unseen_classes import open_run_of
from neural_similarity.files import shown
from neural_similarity.interpret.picture_files import check_png, write_png

_DOTS_PER_INCH = 110
_GRID = 80  # samples in each direction, of which D is drawn
_LEVELS = 8
_REFERENCES = 3
_MOST_SAMPLES = 2_000
_MOST_NUMBERS = 12  # classes whose cells hold their numbers


def draw_divergence(folder: str | Path, out: Path | None = None) -> Iterator[str]:
    """Draws the divergence of a run. Yields what was drawn, and the path of the picture.

    Of vectors with two numbers between which a divergence is known, the level sets of D(x, y) around a few references
    y: the true ones beside the learned ones. Of samples with classes, the mean D of each two classes, and what it
    changes by if both change places.

    Args:
        folder: run folder of learned divergences.
        out: the PNG to write; by default `divergence.png` in the run folder.

    Raises:
        UserError: there is no such run, or it has no checkpoint; its vectors have more than two numbers; or the picture
            cannot be written.
    """
    if out is not None:
        check_png(out)
    command = "python metric_learning/bregman/train.py --config configs/quickstart/bregman.yaml"
    run = open_run_of("bregman", "learned divergences", command, folder)
    model, data = load_run(run.folder), bregman.load_data(run.config)
    distance = BregmanDistance(model.divergence, direction=run.config.divergence.direction)
    if run.config.is_of_pairs:
        if data.test.shape[1] != 2:
            raise UserError(
                f"{run.shown()}: its vectors have {data.test.shape[1]} numbers; expected two, to be drawn in a "
                "plane. Next: a run of a config in configs/bregman/known, trained with --set data.dimensions=2"
            )
        figure, words = level_figure(data, distance, model), "the level sets of the true and of the learned divergence"
    else:
        figure = class_figure(class_divergences(distance, model, data.test, run.config), data.train_classes)
        words = "the mean divergence of each two classes, and how it differs if they change places"
    out = run.folder / "divergence.png" if out is None else Path(out)
    write_png(figure, out)
    yield f"{run.details.config}: {words}"
    yield shown(out)


def level_figure(data, distance, model) -> Figure:
    """The level sets of D(x, y) around three references y, in the true divergence and in the learned one.

    Args:
        data: a `KnownDivergence` of vectors with two numbers.
        distance, model: the learned divergence, behind the network.
    """
    references = _far_apart(data.test)
    low, high = data.test.min(0), data.test.max(0)
    x, y = np.meshgrid(*(np.linspace(a, b, _GRID, dtype=np.float32) for a, b in zip(low, high, strict=True)))
    grid = np.stack([x.ravel(), y.ravel()], -1)
    figure = _figure((3.4 * _REFERENCES, 6.6))
    for column, reference in enumerate(references):
        true = data.between(grid, np.broadcast_to(reference, grid.shape))
        prepared = (distance.prepare(np.asarray(model(points, training=False))) for points in (grid, reference[None]))
        learned = -distance.coarse(*prepared).numpy()[:, 0]
        levels = np.quantile(true, np.linspace(0, 1, _LEVELS + 2)[1:-1])
        for row, (name, values) in enumerate((("true", true), ("learned", learned))):
            axes = figure.add_subplot(2, _REFERENCES, row * _REFERENCES + column + 1)
            axes.contourf(x, y, values.reshape(x.shape), levels, cmap="viridis_r", extend="both")
            axes.contour(x, y, values.reshape(x.shape), levels, colors="white", linewidths=0.6)
            axes.scatter(*data.test[:200].T, s=2, color="black", alpha=0.3)
            axes.scatter(*reference, s=60, marker="*", color="#D55E00")
            axes.set_title(f"{name}: D(x, y), y at the star")
    return figure


def _far_apart(points):
    """Three points: the one nearest to the mean, and two that are far from what was chosen before, but no outliers."""
    inside = points[np.argsort(np.linalg.norm(points - points.mean(0), axis=-1))[: len(points) * 4 // 5]]
    chosen = [inside[0]]
    while len(chosen) < _REFERENCES:
        chosen.append(inside[np.argmax(np.min([np.linalg.norm(inside - c, axis=-1) for c in chosen], axis=0))])
    return np.array(chosen)


def class_divergences(distance, model, samples, config):
    """The mean D of all samples of a class and all references of a class.

    Args:
        distance, model: the learned divergence, behind the network.
        samples: the test samples; of many, the first ones.
        config: the run's.

    Returns:
        `(k, k)`, the mean of D(x, y) for x of the class of the row and y of that of the column.
    """
    embeddings, labels = (part[:_MOST_SAMPLES] for part in bregman.compared(config, model, samples))
    prepared = distance.prepare(embeddings)
    divergences = -distance.coarse(prepared, prepared).numpy()
    members = np.eye(labels.max() + 1)[labels]
    members /= np.maximum(members.sum(0), 1)
    return members.T @ divergences @ members


def class_figure(means, classes) -> Figure:
    """Two matrices: the mean divergence of each two classes, and its difference if both change places.

    Args:
        means: `(k, k)`, as `class_divergences` returns them.
        classes: the names of the k classes.
    """
    size = max(4.2, 0.45 * len(classes))
    figure = _figure((2 * size + 1.6, size + 0.6))
    difference = means - means.T
    largest = max(np.abs(difference).max(), 1e-12)
    drawn = (
        ("mean D(sample, reference)", means, {"cmap": "viridis_r", "vmin": 0}),
        ("D(x, y) − D(y, x)", difference, {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}),
    )
    for place, (title, matrix, colours) in enumerate(drawn, start=1):
        axes = figure.add_subplot(1, 2, place)
        figure.colorbar(axes.imshow(matrix, **colours), ax=axes, shrink=0.8)
        axes.set_title(title)
        axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
        axes.set_yticks(range(len(classes)), classes)
        axes.set_xlabel("class of the reference")
        axes.set_ylabel("class of the sample")
        if len(classes) <= _MOST_NUMBERS:
            for (row, column), value in np.ndenumerate(matrix):
                box = {"facecolor": "white", "alpha": 0.6, "edgecolor": "none", "pad": 1}
                axes.text(column, row, f"{value:.2g}", ha="center", va="center", fontsize=8, bbox=box)
    return figure


def _figure(inches):
    figure = Figure(inches, dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
