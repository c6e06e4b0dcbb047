"""Draws the similarity matrices M of a trained network.

python -m neural_similarity matrices RUN [--images 0 7 photo.png] [--out matrices.png]
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from neural_similarity.errors import UserError
from neural_similarity.families import family_of
from neural_similarity.files import shown
from neural_similarity.interpret.canvas import Canvas, plain
from neural_similarity.interpret.images import FIRST_IMAGES, named_images
from neural_similarity.interpret.matrices import predicted_matrices
from neural_similarity.interpret.matrix_rows import (
    draw_rows,
    height_of_rows,
    rows_of_images,
    rows_of_training,
    width_of_rows,
)
from neural_similarity.interpret.trained_metrics import refuse_metric_run
from neural_similarity.layers import DynamicSimilarityConv2D, StaticSimilarityConv2D
from neural_similarity.training.runs import Run, open_run

_DOTS_PER_INCH = 110
_TITLE = 0.5  # inches


def learned_matrices(model: keras.Model) -> dict[str, np.ndarray]:
    """M of each static layer: layer name → float32 `(k,)` where M is diagonal (DNS), `(k, k)` where it is not (UNS)."""
    layers = [layer for layer in model.layers if isinstance(layer, StaticSimilarityConv2D)]
    return {layer.name: np.asarray(layer.similarity_matrix, np.float32) for layer in layers}


def has_predicted_matrices(model: keras.Model) -> bool:
    """Whether a network has dynamic layers."""
    return any(isinstance(layer, DynamicSimilarityConv2D) for layer in model.layers)


def trained_figure(run: Run) -> Figure | None:
    """What training made of the static matrices of a run: one column per layer. None if the network has none.

    The rows show M at the start, as the config's seed makes it, M of the newest checkpoint, and the change.

    Raises:
        UserError: the run has no checkpoint yet.
    """
    model = family_of(run.config).build_model(run.config, run.facts)
    start = learned_matrices(model)
    if not start:
        return None
    step = run.load_weights(model)
    return _figure(rows_of_training(start, learned_matrices(model)), run, step)


def predicted_figure(run: Run, images: np.ndarray) -> Figure | None:
    """What the dynamic layers of a run predict for images: one column per layer. None if the network has none.

    The first row shows the mean of M over the images and their pixels. Then comes a row for each image, with how far M
    is from the identity at every pixel. Batch normalisation uses the statistics of these images.

    Args:
        run: a run of image recognition.
        images: `(b, h, w, 3)` in 0–255.

    Raises:
        UserError: the run has no checkpoint yet.
    """
    model = family_of(run.config).build_model(run.config, run.facts)
    if not has_predicted_matrices(model):
        return None
    step = run.load_weights(model)
    return _figure(rows_of_images(predicted_matrices(model, images), images), run, step)


def _figure(rows, run, step):
    figure = Figure((width_of_rows(rows), _TITLE + height_of_rows(rows)), dpi=_DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    canvas = Canvas(figure)
    canvas.text(0.1, 0.25, plain(f"{run.details.config}, seed {run.config.seed}, step {step:,}"), fontsize=14)
    draw_rows(canvas, rows, _TITLE)
    return figure


def draw_run(folder: str | Path, names: Sequence[str] = FIRST_IMAGES, out: Path | None = None) -> Iterator[str]:
    """Draws the matrices of the newest checkpoint of a run. Yields the path of the picture.

    Args:
        folder: run folder of a network with similarity matrices.
        names: for a dynamic network: which images, as `named_images` takes them.
        out: the PNG to write; by default matrices.png in the run folder.

    Raises:
        UserError: the network has no matrices, or predicts them in few-shot episodes; an image is not there; the run
            has no checkpoint; or `out` cannot be written.
    """
    run = open_run(folder)
    refuse_metric_run(run, "a run of a static or dynamic network")
    out = out or run.folder / "matrices.png"
    if out.suffix != ".png":
        raise UserError(f"{shown(out)}: the picture is a PNG. Next: --out {shown(out.with_suffix('.png'))}")
    figure = trained_figure(run)
    if figure is None and run.config.similarity.kind == "dynamic":
        if run.config.family == "few_shot":
            raise UserError(
                f"{run.shown()}: a few-shot network, whose matrices depend on the images of an episode. "
                f"Next: python -m neural_similarity episode {run.shown()}"
            )
        figure = predicted_figure(run, named_images(run, names))
    if figure is None:
        raise UserError(
            f"{run.shown()}: the network of {run.details.config} has no similarity matrices. Take a run of a static or "
            "dynamic network."
        )
    try:
        figure.savefig(out)
    except OSError as error:
        raise UserError(f"{shown(out)}: cannot be written ({error.strerror}). Next: --out another file") from None
    yield shown(out)
