"""Prototypical networks, also with a learned divergence; Baseline and Baseline++.

Their features are the same for all episodes.

t tasks · n ways · m images of a class (the support images, then the queries) · s support images · q queries
"""

import abc
from collections.abc import Callable

import tensorflow as tf

from neural_similarity import models
from neural_similarity.data.batches import training_batch
from neural_similarity.distances import Bregman
from neural_similarity.families.divergences import build_divergence
from neural_similarity.families.few_shot_methods.method import Method, class_labels, features_of, flat, measures
from neural_similarity.few_shot.functional import Learned, call_on_episode, call_with, pass_support
from neural_similarity.few_shot.heads import cosine_head, linear_head, prototypes
from neural_similarity.ops import squared_distances
from neural_similarity.training.loop import gradient_step

_IMAGES_AT_ONCE = 64  # of the support images, where each is computed alone


class _OnFeatures(Method):
    """A method whose features are the same for all episodes, and which answers from these features alone."""

    fixed_features = True

    def answer(self, model, support, labels, queries, n_way):
        """See `Method.answer`."""
        mode = self.config.batch_norm.mode
        of_support, of_queries = call_on_episode(features_of(model), support, queries, mode)
        return self.answer_features(model, of_support, labels, of_queries, n_way)

    def answer_features(self, model, support, labels, queries, n_way) -> tf.Tensor:
        """As `answer`, with features `(s, f)` and `(q, f)` in the place of the images."""
        return self.head(model, support, labels, n_way)(queries)

    def learn(self, model, support, labels, n_way):
        """See `Method.learn`."""
        features = features_of(model)
        if self.config.batch_norm.mode == "running":
            starts = range(0, support.shape[0], _IMAGES_AT_ONCE)  # so that memory does not grow with their number
            parts = [support[start : start + _IMAGES_AT_ONCE] for start in starts]
            of_support = tf.concat([call_with(features, {}, part, training=False) for part in parts], 0)
            averages = None
        else:
            of_support, averages = pass_support(features, {}, support)
        return Learned(features, {}, averages, self.head(model, of_support, labels, n_way))

    @abc.abstractmethod
    def head(self, model, support, labels, n_way) -> Callable:
        """The function from features `(q, f)` to logits `(q, n_way)` that support images teach.

        Args:
            model, labels, n_way: as for `answer`.
            support: the images' features, `(s, f)`.
        """


class ProtoNet(_OnFeatures):
    """Prototypical networks (Snell et al., NeurIPS 2017)."""

    def network(self, image_size, num_classes, dtype):
        """Conv-4 alone."""
        return self.backbone(image_size, dtype)

    def batch(self, splits):
        """Episodes of `method.training_n_way` classes."""
        return self._episodes(splits, self.method.training_n_way)

    def step(self, model, optimizer):
        """One step on the mean cross-entropy of the episodes' queries.

        All images of a step share the statistics of batch normalisation.
        """
        k_shot, n_way = self.config.episode.k_shot, self.method.training_n_way

        def of_task(features):  # (n, m, f)
            support, queries = flat(features[:, :k_shot]), flat(features[:, k_shot:])
            logits = self.answer_features(model, support, class_labels(n_way, k_shot), queries, n_way)
            return measures(logits, class_labels(n_way, features.shape[1] - k_shot))

        def loss(episodes):
            tasks, _, images_per_class, *image = episodes.shape
            features = model(tf.reshape(episodes, (-1, *image)), training=True)
            features = tf.reshape(features, (tasks, n_way, images_per_class, -1))
            measured = [of_task(features[task]) for task in range(tasks)]
            cross_entropy, accuracy = (tf.reduce_mean(values) for values in zip(*measured, strict=True))
            return cross_entropy, {"cross_entropy": cross_entropy, "accuracy": accuracy}

        return gradient_step(model, optimizer, loss)

    def head(self, model, support, labels, n_way):
        """See `_OnFeatures.head`."""
        centres = prototypes(support, labels, n_way)
        return lambda queries: -squared_distances(queries, centres)


class BregmanProtoNet(ProtoNet):
    """Prototypical networks under a Bregman divergence D, which is trained with the network.

    With `direction: forward`, the mean feature of the support images is the vector y with the smallest sum of
    D(feature, y), whatever φ is. So it stays the prototype of its class (Snell et al., section 2.3, where D is fixed).
    """

    def network(self, image_size, num_classes, dtype):
        """Conv-4; its attribute `divergence` is a `potentials.Potential`, whose weights belong to the model's."""
        model = self.backbone(image_size, dtype)
        features = model.output
        model.divergence = build_divergence(self.method, features.shape, self.config.seed, features.dtype)
        return model

    def head(self, model, support, labels, n_way):
        """See `_OnFeatures.head`: the logits are −D(query, prototype)."""
        distance = Bregman(model.divergence, direction=self.method.direction)
        centres = distance.prepare(prototypes(support, labels, n_way))
        return lambda queries: distance.coarse(distance.prepare(queries), centres)


class Classifier(_OnFeatures):
    """Baseline and Baseline++ (Chen et al., ICLR 2019): features of a classifier of all training classes."""

    def network(self, image_size, num_classes, dtype):
        """Conv-4 with a classifier of the training classes."""
        backbone = self.backbone(image_size, dtype)
        if self.method.name == "baseline":
            return models.with_linear_head(backbone, num_classes)
        return models.with_cosine_head(backbone, num_classes, self.method.cosine_scale)

    def batch(self, splits):
        """Images of all training classes, with their labels."""
        size, augmentation = self.method.global_batch_size, self.config.data.augmentation
        return training_batch(splits.train.image_set(), self.config.seed, size, augmentation)

    def step(self, model, optimizer):
        """One step on the mean cross-entropy of the images."""

        def loss(batch):
            images, labels = batch
            cross_entropy, accuracy = measures(model(images, training=True), labels)
            return cross_entropy, {"cross_entropy": cross_entropy, "accuracy": accuracy}

        return gradient_step(model, optimizer, loss)

    def head(self, model, support, labels, n_way):
        """See `_OnFeatures.head`. It is trained on the support images."""
        method = self.method
        arguments = (support, labels, n_way, method.fine_tune_steps, method.fine_tune_learning_rate)
        if method.name == "baseline":
            return linear_head(*arguments)
        return cosine_head(*arguments, method.cosine_scale)
