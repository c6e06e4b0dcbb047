"""Metric learning: which data, network, loss and evaluation a config means."""

import keras
import numpy as np
import tensorflow as tf

from neural_similarity.config.metric_learning import RECALL_AT, MetricLearning
from neural_similarity.data.balanced import balanced_rows
from neural_similarity.data.in_order import in_order
from neural_similarity.data.retrieval_batches import check_classes_per_batch, training_batch
from neural_similarity.data.retrieval_sets import count_retrieval_set, count_training_classes, load_retrieval_set
from neural_similarity.data.retrieval_splits import RetrievalSplits
from neural_similarity.families import embedding_training, unseen_classes
from neural_similarity.families.fixed_features import fixed_features
from neural_similarity.families.metric_learning_parts import (
    build_loss,
    build_network,
    load_pretrained,
    own_learning_rate,
    ranking_distance,
)
from neural_similarity.families.retrieval_evaluation import evaluation as evaluation_of
from neural_similarity.training.loop import Task, gradient_step
from neural_similarity.training.optimizers import build_optimizer, build_schedule

_RECALLS = tuple(f"recall_at_{k}" for k in RECALL_AT)
_RANKED = (*_RECALLS, "r_precision", "map_at_r")
SCORES = (*_RANKED, *(f"{by}_{name}" for by in ("cosine", "divergence") for name in _RANKED), "nmi", "f1")
TRAINING_LOSS = embedding_training.TRAINING_LOSS
_SHOWN = ("recall_at_1", "map_at_r", "cosine_recall_at_1", "divergence_recall_at_1")  # during the training
_EVALUATED_AT_ONCE = 64  # images


def headline(config: MetricLearning) -> str:
    """The score that a table shows."""
    return "test/recall_at_1"


def describe(config: MetricLearning) -> dict[str, str]:
    """The trained numbers, the classes and images of each split, and the ranking, in words."""
    return unseen_classes.describe(config, _counts, network)


def check_data(config: MetricLearning) -> None:
    """Raises a UserError if the config's images are not there, or too few. They are not read."""
    _counts(config)


def num_classes(config: MetricLearning) -> int:
    """The number of training classes. Only a folder of one's own images is looked at for it."""
    if config.data.name == "folder":
        return _counts(config)["train"][0]
    return count_training_classes(config.data.name, config.data.validation_fraction)


def _which(config):
    """The arguments that choose the images of a config."""
    data = config.data
    if data.name == "folder":
        return {"name": data.name, "root": data.root_path, "class_splits": data.class_splits}
    return {"name": data.name, "root": data.root_path, "validation_fraction": data.validation_fraction}


def _counts(config):
    """{split: (number of classes, number of images)}."""
    counts = count_retrieval_set(**_which(config))
    if not config.data.with_replacement:
        check_classes_per_batch(config.data.classes_per_batch, counts["train"][0])
    return counts


def load_data(config: MetricLearning) -> RetrievalSplits:
    """The config's images. Those in files are read when they are needed."""
    return load_retrieval_set(**_which(config), image_size=config.data.image_size)


def build_model(config: MetricLearning, facts: dict) -> keras.Model:
    """The network of a config for the training classes that `facts` names.

    Raises:
        UserError: `facts` name no classes.
    """
    return network(config, len(unseen_classes.training_classes(facts)))


def network(config: MetricLearning, num_classes: int, dtype: str | None = None) -> keras.Model:
    """The network of a config, from raw images to maps of the embedding, `(b, h, w, embedding_size)`.

    Its attribute `training_loss` is the config's loss, and `loss_parameters` the layer with the loss's own weights, if
    it has some. They belong to the model's, so that they are trained and saved with it.
    """
    model = build_network(config, dtype)
    model.training_loss = build_loss(config, num_classes)
    if model.training_loss.parameters:
        model.loss_parameters = model.training_loss.parameters
    return model


def build_task(config, model, replicas, splits):
    """The `Task` of training `model` on `splits`. Call it, like `build_model`, under `replicas.scope()`.

    The backbone gets its pretrained weights when the run begins, so that to resume it, or to load or evaluate a trained
    network, takes the checkpoint alone.
    """
    optimizer = build_optimizer(
        config.optimizer, build_schedule(config.optimizer, config.schedule), _rates(config, model)
    )
    optimizer.build(model.trainable_variables)
    fixed = _FixedBackbone(config, model) if config.model.trained == "head" else None

    def begin(resumed):
        if not resumed:
            load_pretrained(config, model)
        if fixed:
            fixed.compute(splits.train)

    data = config.data
    how = (config.seed, data.classes_per_batch, data.images_per_class, data.with_replacement)
    return Task(
        model=model,
        optimizer=optimizer,
        batch=fixed.batch(splits.train, *how)
        if fixed
        else training_batch(splits.train, *how, data.augmentation, replicas.own_part(config.global_batch_size())),
        step=gradient_step(model, optimizer, _loss(config, model, optimizer, fixed.head if fixed else model)),
        evaluate=_evaluation(config, model, splits, fixed),
        scores=_SHOWN,
        begin=begin,
    )


def evaluation(config, model, replicas, splits):
    """`evaluate() → {split: measures}`; see `retrieval_evaluation.evaluation`."""
    fixed = _FixedBackbone(config, model) if config.model.trained == "head" else None
    return _evaluation(config, model, splits, fixed)


def _rates(config, model):
    """{path of a weight: what multiplies the learning rate for it}: for the weights of the loss."""
    rate = own_learning_rate(config)
    if rate is None:
        return {}
    factor = rate / config.optimizer.learning_rate
    return {weight.path: factor for weight in model.training_loss.own_weights}


def _loss(config, model, optimizer, network):
    """The loss of a batch in training mode, of images or of features that `network` takes, and their labels."""
    own = {v.path for v in model.training_loss.own_weights}
    penalised = [v for v in model.trainable_variables if v.path not in own]
    return embedding_training.embedding_loss(
        model.training_loss, network, optimizer, config.seed, penalised, config.loss.weight_decay
    )


def _evaluation(config, model, splits, fixed):
    def outputs(split, part):
        if fixed:
            yield from fixed.outputs(split, part)
            return
        for images in in_order(part, _EVALUATED_AT_ONCE):
            yield run(images)

    @tf.function(jit_compile=False)
    def run(images):
        return model(tf.cast(images, tf.float32), training=False)

    return evaluation_of(config, ranking_distance(config, model.training_loss), outputs, splits)


class _FixedBackbone:
    """A network of which the head alone is trained: its backbone's features are computed once.

    `head` takes pooled maps `(b, 1 + r, i)` and returns those of the embedding, `(b, 1 + r, c)`.
    """

    def __init__(self, config, model):
        self.head = model.get_layer("projection")
        self.backbone = keras.Model(model.input, self.head.input, name=model.name)
        # The first row of a pooled map is the image as a whole. So a distance without cells reads the file that is kept
        # for one with cells.
        self.folder = None if config.data.root_is_the_set else config.data.root_path / "features"
        cells = [getattr(section, "cells", None) for section in (config.distance, config.ranking)]
        self.features = None  # of the training images
        self.training_cells = cells[0] or cells[1] or 1
        self.ranking_cells = cells[1] or cells[0] or 1

    def compute(self, part):
        """Computes the features of the training images, once the backbone has its weights."""
        self.features = fixed_features(self.backbone, part, self.training_cells, "training", self.folder)

    def batch(self, part, seed, classes_per_batch, images_per_class, with_replacement):
        """`batch(step)`: features `(b, 1 + r, i)` and labels `(b,)` int32, the images that `training_batch` chooses.

        Call `compute` before the first batch.
        """
        size = classes_per_batch * images_per_class
        shape = 1 + self.training_cells**2, self.backbone.output.shape[-1]

        def examples(step):
            rows = balanced_rows(part.rows, seed, int(step), classes_per_batch, images_per_class, with_replacement)
            return self.features[rows], part.labels[rows]

        def batch(step):
            chosen, labels = tf.numpy_function(examples, [step], (tf.float32, tf.int32), stateful=False)
            return tf.ensure_shape(chosen, (size, *shape)), tf.ensure_shape(labels, (size,))

        return batch

    def outputs(self, split, part):
        """The embedding's pooled maps of all images of a part, in blocks."""
        features = fixed_features(self.backbone, part, self.ranking_cells, split, self.folder)
        for start in range(0, len(part), 1024):
            yield self.head(np.asarray(features[start : start + 1024]))
