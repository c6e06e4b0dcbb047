"""The images that a command shows a network."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neural_similarity import config as configs
from neural_similarity.data.image_files import read_image
from neural_similarity.errors import UserError
from neural_similarity.families import image_recognition
from neural_similarity.training.runs import Run

FIRST_IMAGES = ("0", "1", "2")  # what is shown where nobody names an image


def named_images(run: Run, names: Sequence[str]) -> np.ndarray:
    """The named images, `(b, h, w, 3)` float32 in 0–255, at the size that the run's network takes.

    Args:
        run: a run of image recognition.
        names: texts, each the number of a test image of the run, counted from 0, or the path of an image file.

    Raises:
        UserError: an image is not there or cannot be read.
    """
    test = None
    images = []
    for name in names:
        if not re.fullmatch(r"\d+", name, re.ASCII):
            images.append(read_image(Path(name), run.config.data.image_size))
            continue
        if test is None:
            test = image_recognition.load_data(configs.load(run.folder / "config.yaml")).test
        if int(name) >= len(test):
            raise UserError(f"image {name}: the run has {len(test):,} test images, counted from 0. Name other images.")
        images.append(test.images[int(name)])
    return np.stack(images).astype(np.float32)
