"""The network of a run of metric learning, and what it compares images by."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from neural_similarity.data.image_files import middle_square, resized_centre
from neural_similarity.data.registry import DATA_SETS
from neural_similarity.distances import Structural
from neural_similarity.errors import UserError
from neural_similarity.families import load_run
from neural_similarity.families.metric_learning_parts import ranking_distance, training_distance
from neural_similarity.families.unseen_classes import open_run_of
from neural_similarity.training.runs import Run

_AT_ONCE = 64  # images of a block


class TrainedMetric:
    """A trained network, with all that is needed to compare images as the run's evaluation does.

    Args:
        run: a `Run` of metric learning, which has a checkpoint.

    Attributes:
        run: the `Run`.
        model: from images `(b, s, s, 3)` of 0 to 255 to maps of the embedding.
        distance: the `Structural` distance of the config's ranking, or else of its training. A config that neither
            ranks nor trains so has none; it gets the one of the paper.
        candidates: how many of the nearest images by cosine that evaluation ranks again; 100 if it ranks none so.
        scaled: what makes a square of an image file, as in the evaluation.

    Raises:
        UserError: the run has no checkpoint yet.
    """

    def __init__(self, run: Run):
        config = run.config
        self.run = run
        self.model = load_run(run.folder)
        known = [ranking_distance(config, self.model.training_loss), training_distance(config)]
        self.distance = next((distance for distance in known if isinstance(distance, Structural)), Structural())
        self.candidates = getattr(config.ranking, "candidates", 100)
        # Sets of small images are read whole, and photos as networks are usually tested.
        self.scaled = middle_square if DATA_SETS[config.data.name].image_size else resized_centre
        shape = tf.TensorSpec((None, *self.model.input_shape[1:]), tf.float32)
        self._maps = tf.function(lambda images: self.model(images, training=False), input_signature=[shape])

    @property
    def image_size(self) -> int:
        """s, height and width of the images in pixels."""
        return self.model.input_shape[1]

    def prepare(self, images: np.ndarray) -> np.ndarray:
        """What `distance` needs of images `(b, s, s, 3)` from 0 to 255: `(b, 1 + r, c)` float32.

        They are computed in blocks, so that memory does not grow with their number.
        """
        blocks = np.split(images, range(_AT_ONCE, len(images), _AT_ONCE))
        found = [self.distance.prepare(self._maps(tf.constant(block, tf.float32))) for block in blocks]
        return np.concatenate(found).astype(np.float32)


def open_metric_run(folder: str | Path) -> Run:
    """The `Run` of metric learning in a folder.

    Raises:
        UserError: there is no run, or it is of another family.
    """
    command = "python metric_learning/diml/train.py --config configs/quickstart/diml.yaml"
    return open_run_of("metric_learning", "metric learning", command, folder)


def load_metric(folder: str | Path) -> TrainedMetric:
    """The `TrainedMetric` of the newest checkpoint in a run's folder.

    Raises:
        UserError: there is no run of metric learning, or it has no checkpoint yet.
    """
    return TrainedMetric(open_metric_run(folder))


def refuse_metric_run(run: Run, wanted: str) -> None:
    """Raises a `UserError` for a run that compares, where one that names is wanted; the message tells what to call.

    Args:
        run: any run.
        wanted: what the command is for, as "a run of image recognition".
    """
    name = run.shown()
    if run.config.family == "bregman":
        raise UserError(
            f"{name}: a run of learned divergences ({run.details.config}), which compares vectors; expected {wanted}. "
            f"Next: python -m neural_similarity divergence {name}"
        )
    if run.config.family == "metric_learning":
        raise UserError(
            f"{name}: a run of metric learning ({run.details.config}), which compares images; expected {wanted}. "
            f"Next: python -m neural_similarity retrieve {name} --gallery DIR IMAGE, or python -m neural_similarity "
            f"pair {name} IMAGE IMAGE"
        )
