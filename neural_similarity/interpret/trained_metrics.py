"""The network of a run of metric learning, and what it compares images by."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from neural_similarity.data.image_files import middle_square, resized_centre
from neural_similarity.data.registry import DATA_SETS
from neural_similarity.distances import Bregman, Structural
from neural_similarity.distances.distance import vectors
from neural_similarity.errors import UserError
from neural_similarity.families import load_run
from neural_similarity.families.metric_learning_parts import ranking_distance
from neural_similarity.families.unseen_classes import open_run_of
from neural_similarity.training.runs import Run

_AT_ONCE = 64  # images of a block
_DESCRIBED_AT_ONCE = 4096


class TrainedMetric:
    """A trained network, with all that is needed to compare images as the run's evaluation does.

    Args:
        run: a `Run` of metric learning, which has a checkpoint.
        with_cells: asks for a `Structural` distance, whatever the config ranks by.

    Attributes:
        run: the `Run`.
        model: from images `(b, s, s, 3)` of 0 to 255 to maps of the embedding.
        distance: the one that a config ranks by: a `Structural` one, or the `Bregman` of a divergence that was trained.
            A config that ranks by the cosine or the Euclidean distance gets the `Structural` distance of its training,
            or else the one of the paper.
        candidates: how many of the nearest images that evaluation ranks again; 100 if it ranks none so. 0 for
            a divergence between whole images, which are not ranked again.
        scaled: what makes a square of an image file, as in the evaluation.

    Raises:
        UserError: the run has no checkpoint yet.
    """

    def __init__(self, run: Run, with_cells: bool = False):
        config = run.config
        self.run = run
        self.model = load_run(run.folder)
        ranking, training = ranking_distance(config, self.model.training_loss), self.model.training_loss.distance
        if isinstance(ranking, Structural) or (isinstance(ranking, Bregman) and not with_cells):
            self.distance = ranking
        else:
            self.distance = training if isinstance(training, Structural) else Structural()
        self.candidates = getattr(config.ranking, "candidates", 100) if self.has_cells else 0
        # Sets of small images are read whole, and photos as networks are usually tested.
        self.scaled = middle_square if DATA_SETS[config.data.name].image_size else resized_centre
        shape = tf.TensorSpec((None, *self.model.input_shape[1:]), tf.float32)
        self._maps = tf.function(lambda images: self.model(images, training=False), input_signature=[shape])

    @property
    def image_size(self) -> int:
        """s, height and width of the images in pixels."""
        return self.model.input_shape[1]

    @property
    def has_cells(self) -> bool:
        """Whether `distance` compares the cells of images, and not only images as a whole."""
        return isinstance(self.distance, Structural)

    @property
    def vectors_per_image(self) -> int:
        """1 + r, how many vectors describe an image; 1 without cells."""
        return 1 + self.distance.cells**2 if self.has_cells else 1

    def descriptors(self, images: np.ndarray) -> np.ndarray:
        """The vectors that describe images `(b, s, s, 3)` from 0 to 255: `(b, 1 + r, c)` float32.

        They are computed in blocks, so that memory does not grow with their number.
        """
        blocks = np.split(images, range(_AT_ONCE, len(images), _AT_ONCE))
        found = [self._of_maps(self._maps(tf.constant(block, tf.float32))) for block in blocks]
        return np.concatenate(found).astype(np.float32)

    def _of_maps(self, maps):
        return self.distance.descriptors(maps) if self.has_cells else vectors(maps)[:, None]

    def described(self, descriptors: np.ndarray):
        """What the methods of `distance` take, as tensors, of `descriptors`; also computed in blocks."""
        describe = self.distance.described if self.has_cells else lambda found: self.distance.prepare(found[:, 0])
        starts = range(0, len(descriptors), _DESCRIBED_AT_ONCE)
        blocks = [describe(tf.constant(descriptors[start : start + _DESCRIBED_AT_ONCE])) for start in starts]
        return tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *blocks)


def open_metric_run(folder: str | Path) -> Run:
    """The `Run` of metric learning in a folder.

    Raises:
        UserError: there is no run, or it is of another family.
    """
    command = "python metric_learning/diml/train.py --config configs/quickstart/diml.yaml"
    return open_run_of("metric_learning", "metric learning", command, folder)


def load_metric(folder: str | Path, with_cells: bool = False) -> TrainedMetric:
    """The `TrainedMetric` of the newest checkpoint in a run's folder.

    Args:
        folder: the run's.
        with_cells: as for `TrainedMetric`.

    Raises:
        UserError: there is no run of metric learning, or it has no checkpoint yet.
    """
    return TrainedMetric(open_metric_run(folder), with_cells)


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
