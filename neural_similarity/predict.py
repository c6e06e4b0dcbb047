"""Names what a trained network sees in images.

python -m neural_similarity.predict RUN image.png [image.jpg …] [--top 3]
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from neural_similarity.data.image_files import read_image
from neural_similarity.training.main import guarded
from neural_similarity.training.runs import load_run, open_run


def predict(run, paths):
    """The class probabilities of images, by the newest checkpoint of a run.

    Args:
        run: the run's folder.
        paths: files of images; they make one batch.

    Returns:
        `(len(paths), classes)` float array; each row sums to 1.

    Raises:
        UserError: no run in `run`, no checkpoint yet, or an image that cannot be read.
    """
    model = load_run(run)
    size = model.input_shape[1]
    images = np.stack([read_image(path, size) for path in paths]).astype(np.float32)
    logits = np.asarray(model(images, training=False), np.float64)
    likelihoods = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return likelihoods / np.sum(likelihoods, axis=-1, keepdims=True)


def main(arguments=None):
    """The command line; exits with 2 at a mistake."""
    about = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m neural_similarity.predict", description=about)
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder; a train.py prints it")
    parser.add_argument("images", metavar="IMAGE", type=Path, nargs="+", help="PNG, JPEG, or what else Pillow reads")
    parser.add_argument("--top", metavar="N", type=_count, default=3, help="classes to name (default: %(default)s)")
    options = parser.parse_args(arguments)
    sys.exit(guarded(lambda: _print_predictions(options.run, options.images, options.top)))


def _count(text):
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)


def _print_predictions(run, paths, top):
    classes = open_run(run).details["classes"]
    for path, probabilities in zip(paths, predict(run, paths), strict=True):
        best = np.argsort(-probabilities, kind="stable")[:top]
        print(f"{path}: " + ", ".join(f"{classes[i]} {100 * probabilities[i]:.1f} %" for i in best))


if __name__ == "__main__":
    main()
