"""Image recognition: which data, network, loss and evaluation a config means."""

import math
import textwrap

import keras
import tensorflow as tf

from neural_similarity import data, models
from neural_similarity.config.image_recognition import ImageRecognition
from neural_similarity.data.batches import evaluation_batches, training_batch
from neural_similarity.data.images import DataMissing
from neural_similarity.errors import UserError
from neural_similarity.families import similarity as similarities
from neural_similarity.layers import TowardsIdentity, penalty_terms, weight_decay
from neural_similarity.losses import smoothed_cross_entropy
from neural_similarity.models.deviation import mean_deviations
from neural_similarity.models.seeding import seeded
from neural_similarity.training.loop import Task, gradient_step
from neural_similarity.training.optimizers import build_optimizer, build_schedule

SCORES = ("accuracy",)
TRAINING_LOSS = "cross_entropy"


def headline(config: ImageRecognition) -> str:
    """The score that a table shows."""
    return "test/accuracy"


def describe(config: ImageRecognition) -> dict[str, str]:
    """The classes, the trained numbers and the images of each split, in words; says so where the data are missing."""
    words = {}
    try:
        classes = data.class_names(config.data.name, config.data.root_path)
        named = textwrap.shorten(", ".join(classes), 80, placeholder=" …")
        words["classes"] = f"{len(classes):,} ({named})"
        weights = network(config, len(classes)).trainable_variables
        words["parameters"] = f"{sum(int(v.shape.num_elements()) for v in weights):,}"
    except DataMissing:
        words |= dict.fromkeys(("classes", "parameters"), "unknown until the data are there")
    try:
        words["data"] = ", ".join(f"{count:,} {split}" for split, count in _counts(config).items())
    except DataMissing as missing:
        words["data"] = f"missing. {missing}"
    return words


def check_data(config: ImageRecognition) -> None:
    """Raises a UserError if the config's images are not there. They are not read."""
    _counts(config)


def _counts(config):
    """{split: number of images}."""
    return data.count_images(config.data.name, config.data.root_path, config.data.validation_fraction, config.seed)


def num_classes(config: ImageRecognition) -> int:
    """The number of classes, without reading the images."""
    return len(data.class_names(config.data.name, config.data.root_path))


def load_data(config: ImageRecognition) -> data.Splits:
    """The config's images, as `data.load` splits them."""
    return data.load(
        config.data.name, config.data.root_path, config.data.validation_fraction, config.seed, config.data.image_size
    )


def build_model(config: ImageRecognition, facts: dict) -> keras.Model:
    """The network of a config for the classes that `facts` names.

    Raises:
        UserError: `facts` name no classes.
    """
    classes = facts.get("classes")
    if not classes or not isinstance(classes, list):
        raise UserError("run.json: damaged (`facts` have no list of `classes`). Train anew with another --run-dir.")
    return network(config, len(classes))


def network(config: ImageRecognition, num_classes: int, dtype: str | None = None) -> keras.Model:
    """The network of a config, with the initial weights that belong to its seed; `dtype` replaces its precision."""
    with seeded(config.seed):
        return _network(config, num_classes, dtype or config.runtime.precision)


def _network(config, num_classes, dtype):
    model = config.model
    shared = {
        "widths": model.widths,
        "weight_decay": config.loss.weight_decay,
        "debias": config.batch_norm.debias,
        "batch_norm_decay": config.batch_norm.decay,
        "image_size": config.data.image_size,
        "input_scaling": config.data.input_scaling,
        "dtype": dtype,
    }
    if model.name == "cnn9":
        return models.cnn9(num_classes, convolution(config), **shared)
    if model.name == "cnn9_128":
        return models.cnn9_128(num_classes, head_batch_norm=model.head_batch_norm, **shared)
    return models.spherenet9(
        num_classes,
        model.operator,
        attention=model.attention,
        query_relu=model.query_relu,
        head_batch_norm=model.head_batch_norm,
        orthogonality=model.orthogonality,
        **shared,
    )


def convolution(config):
    """What makes the convolutions that the config's section `similarity` describes, as `cnn9` takes it."""
    similarity, decay = config.similarity, config.loss.weight_decay
    further = {}
    if similarity.kind == "static":
        strength = similarity.weight_decay
        towards_zero = similarity.penalty_target == "zero"  # DEVIATION Q2
        further = {
            "similarity_initializer": similarity.initializer,
            "similarity_regularizer": weight_decay(strength) if towards_zero else TowardsIdentity(strength / 2),
        }
    if similarity.kind == "dynamic":
        further = {
            "debias": config.batch_norm.debias,
            "batch_norm_decay": config.batch_norm.decay,
            "regularizer": weight_decay(similarity.decay_multiplier * decay),
            "batch_norm_regularizer": weight_decay(decay),
        }
    return similarities.convolution(similarity, **further)


def build_loss(config, model):
    """The loss of a batch in training mode.

    Returns:
        A function `loss((images, labels)) → (total, measures)` of images `(b, h, w, 3)` and labels `(b,)`. The total is
        the mean cross-entropy plus the penalties; the measures are its terms and the accuracy, scalars by name.
    """

    def loss(batch):
        images, labels = batch
        logits = model(images, training=True)
        cross_entropy = tf.reduce_mean(smoothed_cross_entropy(labels, logits, config.loss.label_smoothing))
        terms = {"cross_entropy": cross_entropy, **penalties(model)}
        return tf.add_n(list(terms.values())), {**terms, "accuracy": tf.reduce_mean(_correct(labels, logits))}

    return loss


def penalties(model):
    """The penalties of a model by name, scalars: `"penalty"` on the size of weights, and maybe `"orthogonality"`."""
    found = {}
    for weight in model.trainable_weights:
        for name, value in penalty_terms(weight).items():
            found.setdefault(name, []).append(value)
    return {name: tf.add_n(values) for name, values in found.items()}


def build_task(config, model, replicas, splits):
    """The `Task` of training `model` on `splits`. Call it, like `build_model`, under `replicas.scope()`."""
    batch_size = config.data.global_batch_size
    optimizer = build_optimizer(config.optimizer, build_schedule(config.optimizer, config.schedule))
    optimizer.build(model.trainable_variables)
    return Task(
        model=model,
        optimizer=optimizer,
        batch=training_batch(splits.train, config.seed, batch_size, config.data.augmentation),
        step=gradient_step(model, optimizer, build_loss(config, model)),
        evaluate=evaluation(config, model, replicas, splits),
        scores=SCORES,
    )


def evaluation(config, model, replicas, splits):
    """`evaluate() → {split: {"cross_entropy", "accuracy"}}` over the validation images, if any, and the test images.

    If the network has similarity matrices M, there also is a "split" `"similarity"`: {layer: mean of |M − I|}, with a
    dynamic M predicted for the first batch of test images.
    """

    def sums(batch):
        images, labels, counted = batch
        logits = model(images, training=False)
        cross_entropy = smoothed_cross_entropy(labels, logits, config.loss.label_smoothing)
        measures = {"cross_entropy": cross_entropy, "accuracy": _correct(labels, logits)}
        return {name: tf.reduce_sum(values * counted) for name, values in measures.items()}

    compiled = replicas.compile(sums, reduce="sum")
    deviations = mean_deviations(model)
    deviations = deviations and replicas.compile(deviations, reduce="mean")

    def evaluate():
        results = {}
        for name, image_set in splits.parts().items():
            if name != "train":
                batches = evaluation_batches(image_set, config.data.global_batch_size)
                totals = [{k: float(v) for k, v in compiled(batch).items()} for batch in batches]
                results[name] = {k: math.fsum(t[k] for t in totals) / len(image_set) for k in totals[0]}
        if deviations:
            images, *_ = next(evaluation_batches(splits.test, config.data.global_batch_size))
            results["similarity"] = {name: float(value) for name, value in deviations(images).items()}
        return results

    return evaluate


def _correct(labels, logits):
    return tf.cast(tf.argmax(logits, -1, tf.int32) == labels, tf.float32)
