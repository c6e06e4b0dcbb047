"""The methods of few-shot recognition: what each trains, and how it answers an episode.

t tasks · n ways · m images of a class (the support images, then the queries) · s support images · q queries
"""

import abc
from collections.abc import Callable

import keras
import tensorflow as tf

from neural_similarity import models
from neural_similarity.config.few_shot import FewShot
from neural_similarity.data.batches import training_batch
from neural_similarity.data.class_splits import ClassSplits
from neural_similarity.data.episodes import training_episodes
from neural_similarity.families.similarity import convolution
from neural_similarity.few_shot.functional import Learned, call_on_episode, call_with, pass_support
from neural_similarity.few_shot.heads import cosine_head, linear_head, negative_squared_distances, prototypes
from neural_similarity.few_shot.inner_loop import adapted
from neural_similarity.few_shot.meta_batch import mean_over_tasks
from neural_similarity.training.loop import gradient_step

_IMAGES_AT_ONCE = 64  # of the support images, where each is computed alone


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


class _OnFeatures(Method):
    """A method whose features are the same for all episodes, and which answers from these features alone."""

    fixed_features = True

    def answer(self, model, support, labels, queries, n_way):
        """See `Method.answer`."""
        mode = self.config.batch_norm.mode
        of_support, of_queries = call_on_episode(features_of(model), support, queries, mode)
        return self.answer_features(of_support, labels, of_queries, n_way)

    def answer_features(self, support, labels, queries, n_way) -> tf.Tensor:
        """As `answer`, with features `(s, f)` and `(q, f)` in the place of the images."""
        return self.head(support, labels, n_way)(queries)

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
        return Learned(features, {}, averages, self.head(of_support, labels, n_way))

    @abc.abstractmethod
    def head(self, support, labels, n_way) -> Callable:
        """The function from features `(q, f)` to logits `(q, n_way)` that support images teach.

        Args:
            support: their features, `(s, f)`.
            labels, n_way: as for `answer`.
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

        def loss(episodes):
            tasks, _, images_per_class, *image = episodes.shape
            features = model(tf.reshape(episodes, (-1, *image)), training=True)
            features = tf.reshape(features, (tasks, n_way, images_per_class, -1))
            measured = [_of_task(features[task], k_shot) for task in range(tasks)]
            cross_entropy, accuracy = (tf.reduce_mean(values) for values in zip(*measured, strict=True))
            return cross_entropy, {"cross_entropy": cross_entropy, "accuracy": accuracy}

        def _of_task(features, k_shot):
            support, queries = (_flat(part) for part in (features[:, :k_shot], features[:, k_shot:]))
            logits = self.answer_features(support, class_labels(n_way, k_shot), queries, n_way)
            return measures(logits, class_labels(n_way, features.shape[1] - k_shot))

        return gradient_step(model, optimizer, loss)

    def head(self, support, labels, n_way):
        """See `_OnFeatures.head`."""
        centres = prototypes(support, labels, n_way)
        return lambda queries: negative_squared_distances(queries, centres)


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

    def head(self, support, labels, n_way):
        """See `_OnFeatures.head`. It is trained on the support images."""
        method = self.method
        arguments = (support, labels, n_way, method.fine_tune_steps, method.fine_tune_learning_rate)
        if method.name == "baseline":
            return linear_head(*arguments)
        return cosine_head(*arguments, method.cosine_scale)


class Maml(Method):
    """MAML (Finn et al., ICML 2017), ANIL (Raghu et al., ICLR 2020), and our static NSN: what adapts differs.

    The network is Conv-4 with a linear head of `episode.n_way` classes.
    """

    def network(self, image_size, num_classes, dtype):
        """Conv-4 with a linear head, and with `method.learn_inner_rates` a rate for each adapted weight."""
        backbone = self.backbone(image_size, dtype)
        n_way, method = self.config.episode.n_way, self.method
        if not method.learn_inner_rates:
            return models.with_linear_head(backbone, n_way)
        count = len(self.adapted_paths(models.with_linear_head(backbone, n_way)))
        return models.with_linear_head(backbone, n_way, count, method.inner_learning_rate)

    def adapted_paths(self, model: keras.Model) -> list[str]:
        """The paths of the weights that the inner loop changes, as `["conv1/similarity_matrix", "head/kernel"]`."""
        chosen = {
            "all": lambda path: not path.startswith("inner_rates/"),
            "head": lambda path: path.startswith("head/"),
            "similarity": lambda path: path.startswith("head/") or path.endswith("/similarity_matrix"),
        }[self.method.adapt]
        return [weight.path for weight in model.trainable_variables if chosen(weight.path)]

    def batch(self, splits):
        """Tasks of `episode.n_way` classes."""
        return self._episodes(splits, self.config.episode.n_way)

    def step(self, model, optimizer):
        """One step on the mean loss of the tasks' queries after adaptation.

        The inner loop normalises by the statistics of the support images, and the queries by those of the queries.
        """
        k_shot, method = self.config.episode.k_shot, self.method
        paths = [weight.path for weight in model.trainable_variables]

        def task(parameters, images):
            n_way, images_per_class = images.shape[:2]
            support, queries = _flat(images[:, :k_shot]), _flat(images[:, k_shot:])
            values = dict(zip(paths, parameters, strict=True))
            labels = class_labels(n_way, k_shot)
            values |= self.adapt(model, values, support, labels, method.inner_steps, method.second_order)
            logits = call_with(model, values, queries, training=True)
            cross_entropy, accuracy = measures(logits, class_labels(n_way, images_per_class - k_shot))
            return {"loss": cross_entropy, "cross_entropy": cross_entropy, "accuracy": accuracy}

        def step(episodes):
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            measured, gradients = mean_over_tasks(task, [v.value for v in model.trainable_variables], episodes)
            if replicas > 1:  # what is clipped is the gradient of the whole meta-batch
                context = tf.distribute.get_replica_context()
                gradients = [g / replicas for g in context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)]
            clip = method.gradient_clip
            gradients = [tf.clip_by_value(gradient, -clip, clip) / replicas for gradient in gradients]
            rate = tf.identity(optimizer.learning_rate)
            optimizer.apply(gradients, model.trainable_variables)
            return {**measured, "learning_rate": rate}

        return step

    def adapt(self, model, values, support, labels, steps, second_order=False) -> dict[str, tf.Tensor]:
        """The weights that the inner loop changes, after it: `{path: tensor}`.

        Args:
            model: a `network`.
            values: `{path: tensor}` of weights that differ from the model's own.
            support: `(s, h, w, 3)` images.
            labels: `(s,)` integers.
            steps: of gradient descent.
            second_order: as in `few_shot.inner_loop.adapted`.
        """
        own = {weight.path: weight.value for weight in model.trainable_variables}
        values = {**own, **values}
        paths = self.adapted_paths(model)
        rates = [self.method.inner_learning_rate] * len(paths)
        if self.method.learn_inner_rates:
            rates = tf.unstack(values["inner_rates/rates"])
        if self.method.adapt == "head":  # the features stay as they are, and are computed once
            backbone = features_of(model)
            of_backbone = {weight.path: values[weight.path] for weight in backbone.trainable_variables}
            features = call_with(backbone, of_backbone, support, training=True)

        def loss(parameters):
            if self.method.adapt == "head":
                kernel, bias = parameters
                logits = features @ kernel + bias
            else:
                chosen = {**values, **dict(zip(paths, parameters, strict=True))}
                logits = call_with(model, chosen, support, training=True)
            return measures(logits, labels)[0]

        start = [values[path] for path in paths]
        return dict(zip(paths, adapted(loss, start, rates, steps, second_order), strict=True))

    def answer(self, model, support, labels, queries, n_way):
        """See `Method.answer`."""
        if self.config.batch_norm.mode == "support":
            return self.learn(model, support, labels, n_way)(queries)
        values = self.adapt(model, {}, support, labels, self.method.test_inner_steps)
        return call_with(model, values, queries, training=True)

    def learn(self, model, support, labels, n_way):
        """See `Method.learn`."""
        values = self.adapt(model, {}, support, labels, self.method.test_inner_steps)
        _, averages = pass_support(model, values, support)
        return Learned(model, values, averages, head=None)


def method_of(config: FewShot) -> Method:
    """The method that a config names."""
    methods = {"protonet": ProtoNet, "baseline": Classifier, "baseline_pp": Classifier, "maml": Maml}
    return methods[config.method.name](config)


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


def _flat(x):
    """`(n, m, …)` → `(n·m, …)`."""
    return tf.reshape(x, (-1, *x.shape[2:]))
