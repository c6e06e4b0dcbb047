"""Names what a trained network sees in images: `python -m neural_similarity predict RUN image.png …`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from neural_similarity import pretrained
from neural_similarity.data.image_files import read_image
from neural_similarity.data.support_folder import read_support
from neural_similarity.errors import UserError, nearest
from neural_similarity.families import load_run
from neural_similarity.interpret.trained_metrics import refuse_metric_run
from neural_similarity.predict.given import images_at_once
from neural_similarity.training.runs import open_run

__all__ = ["FewShotClassifier", "describe", "predict"]


def __getattr__(name):
    """Imports `FewShotClassifier` when it is first used."""
    if name == "FewShotClassifier":
        from neural_similarity.predict.few_shot_classifier import FewShotClassifier

        return FewShotClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def predict(run: str | Path, paths: Sequence[str | Path]) -> np.ndarray:
    """The probability of each class for each image, as the network of a run's newest checkpoint sees it.

    The images are read and given to the network in batches, so that memory does not grow with their number.

    Args:
        run: the folder of a run of image recognition, or the name of shipped weights, as "cifar10/static_dns". For
            few-shot recognition see `FewShotClassifier`.
        paths: image files.

    Returns:
        `(len(paths), classes)` float64 array. The row of an image sums to 1.

    Raises:
        UserError: `run` is no such run's folder, the run has no checkpoint yet, or an image cannot be read.
    """
    rows = []
    for _, found in _predictions(*_trained(run)[1:], paths):
        if isinstance(found, UserError):
            raise found
        rows.append(found)
    return np.stack(rows)


def describe(
    run: str | Path, paths: Sequence[str | Path], top: int = 3, support: str | Path | None = None
) -> Iterator[tuple[str, bool]]:
    """Yields for each image a line, as "cat.png: cat 71.3 %, dog 20.1 %, deer 4.0 %", and whether it could be read.

    A line comes as soon as its batch is done. An image that cannot be read has a line that says why, and the others
    are answered all the same.

    Args:
        run: the run's folder, or the name of shipped weights.
        paths: image files.
        top: how many classes to name, the most likely first.
        support: for a run of few-shot recognition, and for no other, a folder with example images of the classes in
            `support/CLASS`.

    Raises:
        UserError: `run` is no run's folder, or the run has no checkpoint yet; `support` is missing, not wanted, or
            cannot be learned from.
    """
    classes, size, probabilities = _trained(run) if support is None else _learned(run, support)
    for path, found in _predictions(size, probabilities, paths):
        if isinstance(found, UserError):
            yield str(found), False
            continue
        best = np.argsort(-found, kind="stable")[:top]
        yield f"{path}: " + ", ".join(f"{classes[i]} {100 * found[i]:.1f} %" for i in best), True


def _trained(run):
    """(classes, image size, function from uint8 images to probabilities) of a run or of shipped weights."""
    if str(run) in pretrained.names() and not Path(run).exists():
        model = pretrained.load_pretrained(str(run))
        classes = pretrained.read_card(str(run)).facts["classes"]
        return classes, model.input_shape[1], lambda images: _probabilities(model, images)
    if not (Path(run) / "run.json").exists() and not Path(run).is_dir():
        raise UserError(
            f"{run}: not a run folder (no run.json), nor shipped weights.{nearest(run, pretrained.names())} A train.py "
            f"prints the folder of its run. Weights are shipped of {', '.join(pretrained.names())}."
        )
    opened = open_run(run)
    refuse_metric_run(opened, "a run that names classes, of image recognition or few-shot recognition")
    if opened.config.family == "few_shot":
        raise UserError(
            f"{run}: a few-shot run, whose network learns the classes from a few images of each. Next: add "
            "--support DIR, a folder with these images in DIR/CLASS/*.png, or in Python call "
            "FewShotClassifier(run).fit(images, labels)"
        )
    model = load_run(run)
    return opened.facts["classes"], model.input_shape[1], lambda images: _probabilities(model, images)


def _learned(run, support):
    """The same of a few-shot run, after it has seen the support images."""
    opened = open_run(run)
    refuse_metric_run(opened, "a run of few-shot recognition")
    family = opened.config.family
    if family != "few_shot":
        raise UserError(
            f"{run}: a run of the family `{family}`, which knows the classes that it was trained on and learns no "
            "others. Next: leave out --support, or name a few-shot run"
        )
    from neural_similarity.predict.few_shot_classifier import FewShotClassifier

    classifier = FewShotClassifier(run)
    images, labels, names = read_support(support, classifier.image_size)
    try:
        classifier.fit(images, labels)
    except ValueError as error:
        raise UserError(f"{support}: {error}") from error
    return names, classifier.image_size, classifier.predict_proba


def _predictions(size, probabilities, paths):
    """Yields (path, its probabilities `(classes,)` float64, or the UserError that it cannot be read), in order."""
    batch_size = images_at_once(size)
    for start in range(0, len(paths), batch_size):
        part = paths[start : start + batch_size]
        found = [_read(path, size) for path in part]
        images = [image for image in found if not isinstance(image, UserError)]
        rows = iter(probabilities(np.stack(images)) if images else ())
        for path, image in zip(part, found, strict=True):
            yield path, image if isinstance(image, UserError) else next(rows)


def _read(path, size):
    try:
        return read_image(path, size)
    except UserError as error:
        return error


def _probabilities(model, images):
    """The softmax of the logits of images `(b, h, w, 3)` uint8: `(b, classes)` float64."""
    logits = np.asarray(model(images.astype(np.float32), training=False), np.float64)
    likelihoods = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return likelihoods / np.sum(likelihoods, axis=-1, keepdims=True)
