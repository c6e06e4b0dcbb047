"""Names what a trained network sees in images: `python -m neural_similarity predict RUN image.png …`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from neural_similarity.data.image_files import read_image
from neural_similarity.errors import UserError
from neural_similarity.families import load_run
from neural_similarity.training.runs import open_run

# Of all images in a batch: 64 images of 32×32. The largest of our networks then takes half a gigabyte.
_PIXELS_PER_BATCH = 2**16


def predict(run: str | Path, paths: Sequence[str | Path]) -> np.ndarray:
    """The probability of each class for each image, as the network of a run's newest checkpoint sees it.

    The images are read and given to the network in batches, so that memory does not grow with their number.

    Args:
        run: the run's folder.
        paths: image files.

    Returns:
        `(len(paths), classes)` float64 array. The row of an image sums to 1.

    Raises:
        UserError: `run` is no run's folder, the run has no checkpoint yet, or an image cannot be read.
    """
    rows = []
    for _, found in _predictions(run, paths):
        if isinstance(found, UserError):
            raise found
        rows.append(found)
    return np.stack(rows)


def describe(run: str | Path, paths: Sequence[str | Path], top: int = 3) -> Iterator[tuple[str, bool]]:
    """Yields for each image a line, as "cat.png: cat 71.3 %, dog 20.1 %, deer 4.0 %", and whether it could be read.

    A line comes as soon as its batch is done. An image that cannot be read has a line that says why, and the others
    are answered all the same.

    Args:
        run: the run's folder.
        paths: image files.
        top: how many classes to name, the most likely first.

    Raises:
        UserError: `run` is no run's folder, or the run has no checkpoint yet.
    """
    classes = open_run(run).facts["classes"]
    for path, found in _predictions(run, paths):
        if isinstance(found, UserError):
            yield str(found), False
            continue
        best = np.argsort(-found, kind="stable")[:top]
        yield f"{path}: " + ", ".join(f"{classes[i]} {100 * found[i]:.1f} %" for i in best), True


def _predictions(run, paths):
    """Yields (path, its probabilities `(classes,)` float64, or the UserError that it cannot be read), in order."""
    model = load_run(run)
    size = model.input_shape[1]
    batch_size = max(1, _PIXELS_PER_BATCH // size**2)
    for start in range(0, len(paths), batch_size):
        part = paths[start : start + batch_size]
        found = [_read(path, size) for path in part]
        images = [image for image in found if not isinstance(image, UserError)]
        rows = iter(_probabilities(model, np.stack(images).astype(np.float32)) if images else ())
        for path, image in zip(part, found, strict=True):
            yield path, image if isinstance(image, UserError) else next(rows)


def _read(path, size):
    try:
        return read_image(path, size)
    except UserError as error:
        return error


def _probabilities(model, images):
    """The softmax of the logits of images `(b, h, w, 3)`: `(b, classes)` float64."""
    logits = np.asarray(model(images, training=False), np.float64)
    likelihoods = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return likelihoods / np.sum(likelihoods, axis=-1, keepdims=True)
