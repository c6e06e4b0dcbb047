"""Learned divergences: which data, network, potential, loss and evaluation a config means."""

import zlib

import keras
import numpy as np
import tensorflow as tf

from neural_similarity import data as sets
from neural_similarity import losses, miners, models
from neural_similarity.config.bregman import Bregman, Images
from neural_similarity.data.batches import training_batch
from neural_similarity.data.images import DataMissing, ImageSet
from neural_similarity.data.known_divergences import KnownDivergence, digit_pairs, known_divergence
from neural_similarity.data.registry import DATA_SETS
from neural_similarity.data.vector_sets import (
    RING_RADII,
    TABLES,
    Samples,
    VectorSplits,
    gaussian_rings,
    load_table,
    single_points,
)
from neural_similarity.distances import Bregman as BregmanDistance
from neural_similarity.families import embedding_training
from neural_similarity.families.bregman_evaluation import class_scores, regression_scores
from neural_similarity.families.divergences import build_divergence
from neural_similarity.models.seeding import seeded
from neural_similarity.training.loop import Task, gradient_step
from neural_similarity.training.optimizers import build_optimizer, build_schedule

SCORES = (
    *("r2", "relative_error", "knn_accuracy", "recall_at_1", "map_at_r"),
    *("rand_index", "adjusted_rand_index", "nmi", "asymmetry"),
)
TRAINING_LOSS = embedding_training.TRAINING_LOSS
_AT_ONCE = 1 << 21  # how many float32 numbers the network takes at once in an evaluation: 8 MB


def headline(config: Bregman) -> str:
    """The score that a table shows."""
    if config.loss.name == "regression":
        return "test/r2"
    return "test/rand_index" if config.data.name == "gaussian_rings" else "test/knn_accuracy"


def describe(config: Bregman) -> dict[str, str]:
    """Says in words how the run is measured, how many numbers are trained, and how many samples there are."""
    weights = network(config, num_classes(config)).trainable_variables
    words = {"measured": config.protocol(), "parameters": f"{sum(int(v.shape.num_elements()) for v in weights):,}"}
    if isinstance(config.data, Images):
        try:
            return {**words, "data": ", ".join(f"{n:,} {split}" for split, n in _counts(config).items())}
        except DataMissing as missing:
            return {**words, "data": f"missing. {missing}"}
    data = load_data(config)
    shapes = (data.train.shape, data.test.shape) if config.is_of_pairs else (data.train.x.shape, data.test.x.shape)
    return {**words, "data": "training {}, test {}".format(*(" × ".join(map(str, shape)) for shape in shapes))}


def check_data(config: Bregman) -> None:
    """Raises a UserError if the config's images are not there. They are not read; other samples need no files."""
    if isinstance(config.data, Images):
        _counts(config)


def _counts(config):
    """{split: number of images}."""
    return sets.count_images(config.data.name, config.data.root_path)


def num_classes(config: Bregman) -> int:
    """The number of classes; 0 where there are none."""
    if config.is_of_pairs:
        return 0
    if isinstance(config.data, Images):
        return len(DATA_SETS[config.data.name].classes)
    return TABLES[config.data.name][0] if config.data.name in TABLES else len(RING_RADII)


def load_data(config: Bregman) -> VectorSplits | KnownDivergence:
    """The config's samples. All but images depend also on the config's seed.

    Raises:
        DataMissing: the images' files are not there.
        UserError: a file is damaged.
    """
    data = config.data
    if isinstance(data, Images):
        splits = sets.load(data.name, data.root_path)
        parts = (Samples(part.images, part.labels) for part in (splits.train, splits.test))
        return VectorSplits(*parts, splits.classes)
    if data.name == "digit_pairs":
        return digit_pairs(data.divergence, data.test_fraction, config.seed)
    if data.name == "known_divergence":
        sizes = data.dimensions, data.train_vectors, data.test_vectors
        return known_divergence(data.divergence, data.vectors, *sizes, config.seed)
    if data.name == "gaussian_rings":
        return gaussian_rings({"train": data.train_sets, "test": data.test_sets}, data.points, config.seed)
    return load_table(data.name, data.test_fraction, config.seed)


def _sample_shape(config):
    data = config.data
    if data.name == "gaussian_rings":
        return (data.points, 2) if data.compared == "sets" else (2,)
    if data.name == "known_divergence":
        return (data.dimensions,)
    return (TABLES["digits_table" if data.name == "digit_pairs" else data.name][1],)


def build_model(config: Bregman, facts: dict) -> keras.Model:
    """The network of a config."""
    return network(config, num_classes(config))


def network(config: Bregman, num_classes: int, dtype: str | None = None) -> keras.Model:
    """The network of a config, to embeddings `(b, c)`, or `(b, m, c)` of sets.

    It takes vectors `(b, d)`, sets of points `(b, m, d)`, or images `(b, s, s, 3)` of 0 to 255.

    Its attribute `divergence` is the trained `potentials.Divergence`, whose weights belong to the model's.
    """
    dtype = dtype or config.runtime.precision
    section = config.model
    with seeded(config.seed):
        if section.name == "conv4":
            size = DATA_SETS[config.data.name].image_size
            backbone = models.conv4(
                filters=section.filters, image_size=size, batch_norm_decay=section.batch_norm_decay, dtype=dtype
            )
            model = models.with_embedding(backbone, section.embedding_size)
        elif section.name == "mlp":
            model = models.mlp(_sample_shape(config), section.widths, section.embedding_size, section.layer_norm, dtype)
        else:
            inputs = keras.Input(_sample_shape(config), name="samples")
            model = keras.Model(inputs, keras.layers.Identity(name="embedding")(inputs), name="identity")
        model.divergence = build_divergence(config.divergence, model.output_shape, config.seed)
    return model


def _distance(config, model):
    return BregmanDistance(model.divergence, direction=config.divergence.direction)


def _loss(config, distance):
    section = config.loss
    if section.name == "n_pair":
        return losses.NPairLoss(temperature=section.temperature, distance=distance)
    if section.name == "contrastive":
        miner = miners.RandomNegatives()
        return losses.ContrastiveLoss(negative_margin=section.margin, miner=miner, seed=config.seed, distance=distance)
    miner = miners.SemiHard(section.margin) if section.miner == "semi_hard" else miners.RandomNegatives()
    return losses.TripletLoss(margin=section.margin, squared=False, miner=miner, seed=config.seed, distance=distance)


def build_task(config, model, replicas, data):
    """The `Task` of training `model` on `data`. Call it, like `build_model`, under `replicas.scope()`."""
    optimizer = build_optimizer(config.optimizer, build_schedule(config.optimizer, config.schedule))
    optimizer.build(model.trainable_variables)
    if config.is_of_pairs:
        batch, loss = _pairs(config, data), _regression(config, model, data)
    else:
        batch, decay = _samples(config, data), config.loss.weight_decay
        how = (optimizer, config.seed, model.trainable_variables, decay)
        loss = embedding_training.embedding_loss(_loss(config, _distance(config, model)), model, *how)
    return Task(
        model=model,
        optimizer=optimizer,
        batch=batch,
        step=gradient_step(model, optimizer, loss),
        evaluate=evaluation(config, model, replicas, data),
        scores=(headline(config).split("/")[1],),
    )


def _samples(config, data):
    """`batch(step)`: samples, and their classes `(b,)` int32. No vector and no set comes twice in a batch."""
    if isinstance(config.data, Images):
        images = ImageSet(data.train.x, data.train.labels)
        return training_batch(images, config.seed, config.data.global_batch_size, config.data.augmentation)
    train = single_points(data.train) if getattr(config.data, "compared", None) in ("points", "means") else data.train
    size = min(config.data.global_batch_size, len(train))

    def examples(step):
        rows = _random(config.seed, step).choice(len(train), size, replace=False)
        return train.x[rows], train.labels[rows]

    def batch(step):
        x, labels = tf.numpy_function(examples, [step], (tf.float32, tf.int32), stateful=False)
        return tf.ensure_shape(x, (size, *train.x.shape[1:])), tf.ensure_shape(labels, (size,))

    return batch


def _pairs(config, data):
    """`batch(step)`: two vectors of each pair, `(b, d)` each, and the known divergence `(b,)`."""
    size, (n, d) = config.data.global_batch_size, data.train.shape

    def examples(step):
        random = _random(config.seed, step)
        first, second = (random.integers(n, size=size) for _ in range(2))
        known = data.between(data.train_values[first], data.train_values[second])
        return data.train[first], data.train[second], known

    def batch(step):
        x, y, known = tf.numpy_function(examples, [step], (tf.float32,) * 3, stateful=False)
        return tf.ensure_shape(x, (size, d)), tf.ensure_shape(y, (size, d)), tf.ensure_shape(known, (size,))

    return batch


def _random(seed, step):
    return np.random.default_rng((seed, zlib.crc32(b"samples"), int(step)))


def _regression(config, model, data):
    """The loss of a batch of pairs. Its unit is the mean square of the known divergence of training pairs."""
    random = np.random.default_rng((config.seed, zlib.crc32(b"unit")))
    x, y = (data.train_values[random.integers(len(data.train), size=10_000)] for _ in range(2))
    unit = float(np.mean(data.between(x, y).astype(np.float64) ** 2))
    decay, distance = config.loss.weight_decay, _distance(config, model)

    def loss(batch):
        x, y, known = batch
        first, second = (distance.prepare(model(points, training=True)) for points in (x, y))
        found = losses.relative_squared_error(distance.distances(first, second), known, unit)
        terms = {TRAINING_LOSS: found}
        if decay:
            terms["penalty"] = embedding_training.penalty(model.trainable_variables, decay)
        return tf.add_n(list(terms.values())), terms

    return loss


def evaluation(config, model, replicas, data):
    """`evaluate() → {"test": scores}`; see `bregman_evaluation`."""
    distance = _distance(config, model)

    def evaluate():
        if config.is_of_pairs:
            found = embedded(model, data.test)
            return {"test": regression_scores(distance, found, data.test_values, data.between, config.seed)}
        both = (*compared(config, model, data.train), *compared(config, model, data.test))
        return {"test": class_scores(distance, *both, config.evaluation.neighbours)}

    return evaluate


def compared(config: Bregman, model: keras.Model, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """(embeddings, labels) of what an evaluation compares: samples, points of sets, or means of embedded sets."""
    how = getattr(config.data, "compared", None)
    if how == "means":
        points = embedded(model, single_points(samples).x)
        return points.reshape(len(samples), -1, points.shape[-1]).mean(1), samples.labels
    part = single_points(samples) if how == "points" else samples
    return embedded(model, part.x), part.labels


def embedded(model: keras.Model, samples: np.ndarray) -> np.ndarray:
    """The network's outputs, computed in blocks."""
    size = max(1, _AT_ONCE // int(np.prod(samples.shape[1:])))
    blocks = (samples[start : start + size] for start in range(0, len(samples), size))
    return np.concatenate([np.asarray(model(tf.cast(block, tf.float32), training=False)) for block in blocks])
