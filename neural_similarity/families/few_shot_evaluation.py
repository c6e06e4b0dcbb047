"""How few-shot networks are measured: on episodes, the same ones for every run."""

import time

import numpy as np
import tensorflow as tf

from neural_similarity.config.few_shot import FewShot
from neural_similarity.data.class_splits import ClassImages
from neural_similarity.data.episodes import episode_rows
from neural_similarity.families.few_shot_methods import class_labels, features_of, flat, measures, method_of

_TEST_SEED = 0  # whatever the seed of a run, so that all runs are tested on the same episodes
_IMAGES_PER_BATCH = 250  # when features are computed for later use


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
    """Half the width of the 95 % interval of the mean of two values or more: 1.96 · standard deviation / √n."""
    return float(1.96 * np.std(values, ddof=1) / np.sqrt(len(values)))


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
        support, queries = flat(x[:, : episode.k_shot]), flat(x[:, episode.k_shot :])
        if cached:
            logits = method.answer_features(model, support, labels, queries, n_way)
        else:
            logits = method.answer(model, tf.cast(support, tf.float32), labels, tf.cast(queries, tf.float32), n_way)
        return measures(logits, wanted)

    compiled = tf.function(of_episode, jit_compile=jit_compile)
    if cached:
        backbone = features_of(model)
        embed = tf.function(lambda images: backbone(tf.cast(images, tf.float32), training=False))

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


def _embedded(embed, images, rows):
    """The features `(images, f)` of the images that the episodes need, and the episodes' rows among these."""
    needed, places = np.unique(np.stack(rows), return_inverse=True)
    parts = []
    for start in range(0, len(needed), _IMAGES_PER_BATCH):
        chosen = needed[start : start + _IMAGES_PER_BATCH]
        padded = np.resize(chosen, _IMAGES_PER_BATCH)  # one shape, so that one graph serves all
        parts.append(embed(tf.constant(images[padded])).numpy()[: len(chosen)])
    return np.concatenate(parts), places.reshape(np.shape(rows))
