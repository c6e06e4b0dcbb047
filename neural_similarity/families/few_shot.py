"""Few-shot recognition: which data, network, method and evaluation a config means."""

import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from neural_similarity.config.few_shot import FewShot
from neural_similarity.data.class_splits import ClassImages, ClassSplits
from neural_similarity.data.episodes import check_episodes, episode_rows
from neural_similarity.data.few_shot_sets import count_class_splits, load_class_splits
from neural_similarity.data.images import DataMissing
from neural_similarity.errors import UserError
from neural_similarity.families.few_shot_methods import class_labels, features_of, measures, method_of
from neural_similarity.models.seeding import seeded
from neural_similarity.training.loop import Task
from neural_similarity.training.optimizers import build_optimizer, build_schedule
from neural_similarity.training.runs import Run, open_run

HEADLINE = "test/accuracy"
SCORES = ("accuracy",)
TRAINING_LOSS = "cross_entropy"
_TEST_SEED = 0  # whatever the seed of a run, so that all runs are tested on the same episodes
_IMAGES_PER_BATCH = 250  # when features are computed for later use


def describe(config: FewShot) -> dict[str, str]:
    """The trained numbers, the classes and images of each split, and the episodes, in words."""
    words = {"measured": config.protocol()}
    try:
        counts = _counts(config)
        model = network(config, counts["train"][0])
        words["parameters"] = f"{sum(int(v.shape.num_elements()) for v in model.trainable_variables):,}"
        words["data"] = ", ".join(
            f"{classes} {split} classes ({images:,} images)" for split, (classes, images) in counts.items()
        )
    except DataMissing as missing:
        words |= {"parameters": "unknown until the data are there", "data": f"missing. {missing}"}
    return words


def _counts(config):
    """{split: (number of classes, number of images)}, without reading the images."""
    data = config.data
    if data.name == "folder":
        from neural_similarity.data.class_folder_sets import list_class_folder

        files = list_class_folder(data.root_path, data.class_splits, config.seed)
        return {
            split: (len(classes), sum(len(paths) for paths in classes.values())) for split, classes in files.items()
        }
    return count_class_splits(data.name, data.root_path)


def load_data(config: FewShot) -> ClassSplits:
    """The config's images.

    Raises:
        UserError: a split has too few classes or images for the config's episodes.
    """
    data, episode = config.data, config.episode
    if data.name == "folder":
        from neural_similarity.data.class_folder_sets import load_class_folder

        splits = load_class_folder(data.root_path, data.image_size, data.class_splits, config.seed)
    else:
        splits = load_class_splits(data.name, data.root_path)
    training_n_way = {"protonet": getattr(config.method, "training_n_way", None), "maml": episode.n_way}
    for split, part in splits.parts().items():
        n_way = training_n_way.get(config.method.name) if split == "train" else episode.n_way
        if n_way:
            check_episodes(part, split, n_way, episode.k_shot + episode.n_query)
    return splits


def build_model(config: FewShot, facts: dict) -> keras.Model:
    """The network of a config for the training classes that `facts` names.

    Raises:
        UserError: `facts` name no classes.
    """
    classes = facts.get("train_classes")
    if not classes or not isinstance(classes, list):
        raise UserError(
            "run.json: damaged (`facts` have no list of `train_classes`). Train anew with another --run-dir."
        )
    return network(config, len(classes))


def network(config: FewShot, num_classes: int, dtype: str | None = None) -> keras.Model:
    """The network of a config, with the initial weights that belong to its seed; `dtype` replaces its precision."""
    with seeded(config.seed):
        return method_of(config).network(config.data.image_size, num_classes, dtype or config.runtime.precision)


def build_task(config, model, replicas, splits):
    """The `Task` of training `model` on `splits`. Call it, like `build_model`, under `replicas.scope()`."""
    optimizer = build_optimizer(config.optimizer, build_schedule(config.optimizer, config.schedule))
    optimizer.build(model.trainable_variables)
    method = method_of(config)
    return Task(
        model=model,
        optimizer=optimizer,
        batch=method.batch(splits),
        step=method.step(model, optimizer),
        evaluate=evaluation(config, model, replicas, splits),
        scores=SCORES,
    )


def evaluation(config, model, replicas, splits):
    """`evaluate() → {split: measures}` over episodes of the validation classes, if any, and of the test classes.

    The measures are the means over the episodes of the cross-entropy and of the accuracy, the number of episodes
    (`accuracy_n`), half the width of the mean accuracy's 95 % interval (`accuracy_interval95`), and the seconds that an
    episode took.
    """
    measure = episode_measures(config, model, replicas.jit_compile)
    counts = {"validation": config.evaluation.validation_episodes, "test": config.evaluation.episodes}

    def evaluate():
        results = {}
        for split, part in splits.parts().items():
            if split == "train":
                continue
            began = time.perf_counter()
            cross_entropies, accuracies = measure(part, split, counts[split])
            results[split] = {
                "cross_entropy": float(np.mean(cross_entropies)),
                "accuracy": float(np.mean(accuracies)),
                "accuracy_interval95": interval95(accuracies),
                "accuracy_n": counts[split],
                "seconds_per_episode": (time.perf_counter() - began) / counts[split],
            }
        return results

    return evaluate


def interval95(values: np.ndarray) -> float:
    """Half the width of the 95 % interval of a mean: 1.96 · standard deviation / √n. 0 for a single value."""
    return float(1.96 * np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def episode_measures(config, model, jit_compile=False):
    """What measures single episodes.

    Returns:
        `measure(part, split, episodes) → (cross-entropies, accuracies)`, two float64 arrays `(episodes,)`. The episodes
        of a split are the same for every config with the same section `episode`, so that two networks can be compared
        episode by episode.
    """
    method, episode = method_of(config), config.episode
    n_way = episode.n_way
    labels = class_labels(n_way, episode.k_shot)
    wanted = class_labels(n_way, episode.n_query)
    cached = method.fixed_features and config.batch_norm.mode == "running"

    def of_episode(x):
        """The measures of one episode: `x` is `(n, m, h, w, 3)`, or `(n, m, f)` where the features are known."""
        support, queries = (
            tf.reshape(part, (-1, *x.shape[2:])) for part in (x[:, : episode.k_shot], x[:, episode.k_shot :])
        )
        if cached:
            logits = method.answer_features(support, labels, queries, n_way)
        else:
            logits = method.answer(model, tf.cast(support, tf.float32), labels, tf.cast(queries, tf.float32), n_way)
        return measures(logits, wanted)

    compiled = tf.function(of_episode, jit_compile=jit_compile)
    embed = tf.function(lambda images: features_of_model(tf.cast(images, tf.float32), training=False))
    features_of_model = features_of(model) if cached else None

    def measure(part: ClassImages, split: str, episodes: int):
        rows = [evaluated_rows(config, part, split, i) for i in range(episodes)]
        values = part.images
        if cached:
            values, rows = _embedded(embed, part.images, rows)
        measured = [compiled(tf.constant(values[chosen])) for chosen in rows]
        return tuple(np.array([float(value) for value in column]) for column in zip(*measured, strict=True))

    return measure


def evaluated_rows(config: FewShot, part: ClassImages, split: str, number: int) -> np.ndarray:
    """The images of an episode of every evaluation.

    Args:
        config: its section `episode` counts.
        part: the images of the split.
        split: "validation" or "test".
        number: which episode, from 0.

    Returns:
        `(n_way, k_shot + n_query)` indices into `part.images`. The support images of a class stand first.
    """
    episode = config.episode
    return episode_rows(part, _TEST_SEED, split, number, episode.n_way, episode.k_shot + episode.n_query)


def open_few_shot_run(folder: str | Path) -> Run:
    """The `Run` in a folder.

    Raises:
        UserError: there is no run, or it is of another family.
    """
    run = open_run(folder)
    if run.config.family != "few_shot":
        raise UserError(
            f"{run.shown()}: a run of {run.config.family.replace('_', ' ')} ({run.details.config}); this command takes "
            "runs of few-shot recognition. One is trained by: python few_shot/cifar_fs/train.py --config "
            "configs/quickstart/few_shot.yaml"
        )
    return run


def _embedded(embed, images, rows):
    """The features `(images, f)` of the images that the episodes need, and the episodes' rows among these."""
    needed, places = np.unique(np.stack(rows), return_inverse=True)
    parts = []
    for start in range(0, len(needed), _IMAGES_PER_BATCH):
        chosen = needed[start : start + _IMAGES_PER_BATCH]
        padded = np.resize(chosen, _IMAGES_PER_BATCH)  # one shape, so that one graph serves all
        parts.append(embed(tf.constant(images[padded])).numpy()[: len(chosen)])
    return np.concatenate(parts), places.reshape(np.shape(rows))
