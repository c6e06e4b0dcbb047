"""What all methods have in common.

t tasks · n ways · m images of a class (the support images, then the queries) · s support images · q queries
"""

import abc
from collections.abc import Callable

import keras
import tensorflow as tf

from neural_similarity import models
from neural_similarity.config.few_shot import FewShot
from neural_similarity.data.class_splits import ClassSplits
from neural_similarity.data.episodes import training_episodes
from neural_similarity.families.similarity import convolution
from neural_similarity.few_shot.functional import Learned


class Method(abc.ABC):
    """One method under one config."""

    fixed_features = False  # whether `answer` is `answer_features` of the model's features

    def __init__(self, config: FewShot):
        self.config = config
        self.method = config.method

    def backbone(self, image_size: int, dtype: str) -> keras.Model:
        """The network of features that the config describes, the same for all methods."""
        decay = self.config.batch_norm.decay
        further = {"batch_norm_decay": decay} if self.config.similarity.kind == "dynamic" else {}
        convolutions = convolution(self.config.similarity, **further)
        return models.conv4(convolutions, self.config.model.filters, image_size, decay, dtype)

    @abc.abstractmethod
    def network(self, image_size: int, num_classes: int, dtype: str) -> keras.Model:
        """The model that is trained, for a training split of `num_classes` classes."""

    @abc.abstractmethod
    def batch(self, splits: ClassSplits) -> Callable:
        """The function `batch(step)` of a `Task`."""

    @abc.abstractmethod
    def step(self, model: keras.Model, optimizer) -> Callable:
        """The function `step(batch)` of a `Task`."""

    @abc.abstractmethod
    def answer(self, model, support, labels, queries, n_way) -> tf.Tensor:
        """The logits `(q, n_way)` of queries.

        Args:
            model: a trained `network`. It does not change.
            support: `(s, h, w, 3)` images.
            labels: `(s,)` integers from 0 to n_way − 1.
            queries: `(q, h, w, 3)` images.
            n_way: how many classes the support images are of.
        """

    @abc.abstractmethod
    def learn(self, model, support, labels, n_way) -> Learned:
        """What the support images teach. It answers every query alone.

        Where `batch_norm.mode` is `running`, the moving averages of the training images normalise the images, and
        otherwise the statistics of the support images: `batch` has no answer to a query alone.

        Args:
            model, support, labels, n_way: as for `answer`.
        """

    def _episodes(self, splits, n_way):
        """`batch(step)` of training episodes `(t, n, m, h, w, 3)`."""
        episode = self.config.episode
        images = episode.k_shot + episode.n_query
        data = self.config.data
        return training_episodes(splits.train, self.config.seed, self.method.tasks, n_way, images, data.augmentation)


def features_of(model: keras.Model) -> keras.Model:
    """The model up to its features, `(b, f)`."""
    return keras.Model(model.input, model.get_layer("features").output)


def class_labels(n_way: int, images_per_class: int) -> tf.Tensor:
    """The labels of images that stand class by class: of two classes with three images 0 0 0 1 1 1."""
    return tf.repeat(tf.range(n_way), images_per_class)


def measures(logits, labels) -> tuple[tf.Tensor, tf.Tensor]:
    """The mean cross-entropy and the accuracy, two scalars of the logits' dtype."""
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    correct = tf.cast(tf.argmax(logits, -1, tf.int32) == labels, logits.dtype)
    return tf.reduce_mean(cross_entropy), tf.reduce_mean(correct)


def flat(x):
    """`(n, m, …)` → `(n·m, …)`."""
    return tf.reshape(x, (-1, *x.shape[2:]))
