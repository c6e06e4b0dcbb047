"""Names what a trained network sees in images: `python -m neural_similarity predict RUN image.png …`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from neural_similarity.data.image_files import read_image
from neural_similarity.families import load_run
from neural_similarity.training.runs import open_run


def predict(run: str | Path, paths: Sequence[str | Path]) -> np.ndarray:
    """The probability of each class for each image, as the network of a run's newest checkpoint sees it.

    Args:
        run: the run's folder.
        paths: image files. All of them make one batch.

    Returns:
        `(len(paths), classes)` float64 array. The row of an image sums to 1.

    Raises:
        UserError: `run` is no run's folder, the run has no checkpoint yet, or an image cannot be read.
    """
    model = load_run(run)
    size = model.input_shape[1]
    images = np.stack([read_image(path, size) for path in paths]).astype(np.float32)
    logits = np.asarray(model(images, training=False), np.float64)
    likelihoods = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return likelihoods / np.sum(likelihoods, axis=-1, keepdims=True)


def describe(run: str | Path, paths: Sequence[str | Path], top: int = 3) -> Iterator[str]:
    """Yields one line for each image, as "cat.png: cat 71.3 %, dog 20.1 %, deer 4.0 %".

    Args:
        run: the run's folder.
        paths: image files.
        top: how many classes to name, the most likely first.

    Raises:
        UserError: as `predict`.
    """
    classes = open_run(run).facts["classes"]
    for path, probabilities in zip(paths, predict(run, paths), strict=True):
        best = np.argsort(-probabilities, kind="stable")[:top]
        yield f"{path}: " + ", ".join(f"{classes[i]} {100 * probabilities[i]:.1f} %" for i in best)
