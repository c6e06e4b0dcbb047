"""How a few-shot network answers one test episode, and what its similarity matrices M are in it.

python -m neural_similarity episode RUN [--number N] [--out FILE.png]
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from neural_similarity.config.few_shot import FewShot
from neural_similarity.data.class_splits import ClassImages
from neural_similarity.errors import UserError
from neural_similarity.families import few_shot
from neural_similarity.families.few_shot_evaluation import evaluated_rows
from neural_similarity.families.few_shot_methods import class_labels, method_of
from neural_similarity.few_shot.functional import call_by_support, call_on_episode, call_with
from neural_similarity.files import shown
from neural_similarity.layers import DynamicSimilarityConv2D
from neural_similarity.training.runs import Run


@dataclasses.dataclass(frozen=True, eq=False)
class Episode:
    """One test episode and its answers.  n ways · k shots · q queries of a class

    Attributes:
        classes: the names of the n classes.
        support: `(n, k, h, w, 3)` uint8 images.
        queries: `(n, q, h, w, 3)` uint8 images.
        predicted: `(n, q)` integers from 0 to n − 1: the class that the network names for each query.
    """

    classes: tuple[str, ...]
    support: np.ndarray
    queries: np.ndarray
    predicted: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """`(n, q)` bools: which answers are right."""
        return self.predicted == np.arange(len(self.classes))[:, None]


def answered_episode(config: FewShot, model: keras.Model, test: ClassImages, number: int) -> Episode:
    """The answers of a few-shot network to a test episode, the same episode that every evaluation counts.

    Args:
        config: the run's config.
        model: its trained network.
        test: the images of the test classes.
        number: which episode, from 0.
    """
    rows = evaluated_rows(config, test, "test", number)
    k_shot, n_way = config.episode.k_shot, config.episode.n_way
    names = {int(row): name for name, rows_of in zip(test.classes, test.rows, strict=True) for row in rows_of}
    images = np.asarray(test.images[rows])
    episode = Episode(tuple(names[int(row[0])] for row in rows), images[:, :k_shot], images[:, k_shot:], None)
    support, labels, queries = _as_tensors(episode)
    logits = method_of(config).answer(model, support, labels, queries, n_way)
    predicted = np.argmax(logits, -1).reshape(n_way, -1)
    return dataclasses.replace(episode, predicted=predicted)


def static_matrices(config: FewShot, model: keras.Model, episode: Episode) -> dict[str, tuple]:
    """M of each static layer before and after the network adapted to an episode.

    Returns:
        Layer name → (M, adapted M), two float32 arrays `(k,)` where M is diagonal (DNS), else `(k, k)` (UNS). The
        adapted M is None where the method does not change M in an episode. Empty if the network has no static layers.
    """
    paths = [weight.path for weight in model.trainable_variables if weight.path.endswith("/similarity_matrix")]
    values = _adapted(config, model, episode) if paths else {}
    own = {weight.path: weight for weight in model.trainable_variables}
    return {
        path.split("/")[0]: (
            np.asarray(own[path], np.float32),
            np.asarray(values[path], np.float32) if path in values else None,
        )
        for path in paths
    }


def dynamic_matrices(config: FewShot, model: keras.Model, episode: Episode) -> dict[str, np.ndarray]:
    """M of each dynamic layer for the queries of an episode, as in the evaluation: with its batch normalisation.

    Returns:
        Layer name → float32 array of M at every pixel of the layer's input: `(n·q, y, x, k)` where M is diagonal (DNS),
        else `(n·q, y, x, k, k)` (UNS). Empty if the network has no dynamic layers.
    """
    layers = [layer for layer in model.layers if isinstance(layer, DynamicSimilarityConv2D)]
    values = _adapted(config, model, episode) if layers else {}
    support, _, queries = _as_tensors(episode)
    mode, adapts = config.batch_norm.mode, config.method.name == "maml"
    matrices = {}
    for layer in layers:
        predictor = keras.Model(model.input, layer.predictor(layer.input))
        known = {weight.path for weight in predictor.trainable_variables}
        of_predictor = {path: value for path, value in values.items() if path in known}
        if not adapts:
            predicted = call_on_episode(predictor, support, queries, mode)[1]
        elif mode == "support":
            predicted = call_by_support(predictor, of_predictor, support, queries)[1]
        else:
            predicted = call_with(predictor, of_predictor, queries, training=True)
        matrices[layer.name] = np.asarray(predicted, np.float32)
    return matrices


def draw_run(folder: str | Path, number: int = 0, out: Path | None = None) -> Iterator[str]:
    """Draws a test episode as the newest checkpoint of a run answers it. Yields a line of words, then the path.

    Args:
        folder: run folder of few-shot recognition.
        number: which test episode, from 0.
        out: the PNG to write; by default `episode_NUMBER.png` in the run folder.

    Raises:
        UserError: there is no few-shot run or no checkpoint, the data are missing or of other classes, or `out` is no
            PNG or cannot be written.
    """
    run = few_shot.open_few_shot_run(folder)
    out = out or run.folder / f"episode_{number}.png"
    if out.suffix != ".png":
        raise UserError(f"{shown(out)}: the picture is a PNG. Next: --out {shown(out.with_suffix('.png'))}")
    if not out.parent.is_dir():
        raise UserError(f"{shown(out)}: there is no folder {shown(out.parent)}. Next: make it, or --out another")
    figure, words = run_figure(run, number)
    try:
        figure.savefig(out)
    except OSError as error:
        raise UserError(f"{shown(out)}: cannot be written ({error.strerror}). Next: --out another file") from None
    yield words
    yield shown(out)


def run_figure(run: Run, number: int):
    """(figure, sentence) of a test episode as the newest checkpoint of a run answers it; `number` says which episode.

    Raises:
        UserError: the run has no checkpoint, or the data are missing or of other classes.
    """
    from neural_similarity.interpret.episode_pictures import episode_figure

    config = run.config
    splits = few_shot.load_run_data(run)
    run.check_facts(splits.facts(), leave_out=("data_checksum",))
    model = few_shot.build_model(config, run.facts)
    step = run.load_weights(model)
    episode = answered_episode(config, model, splits.test, number)
    right = episode.right
    accuracy = f"{np.sum(right)} of {right.size} queries right ({100 * np.mean(right):.1f} %)"
    title = f"Test episode {number}: {accuracy}\n{run.details.config}, step {step:,}; {config.protocol()}"
    static, dynamic = (of(config, model, episode) for of in (static_matrices, dynamic_matrices))
    words = f"test episode {number}: {accuracy}, {config.protocol()}"
    return episode_figure(episode, title, static, dynamic), words


def _as_tensors(episode):
    """The support images `(s, h, w, 3)`, their labels `(s,)`, and the queries; the images as float32."""
    support, queries = (
        tf.constant(part.reshape(-1, *part.shape[2:]), tf.float32) for part in (episode.support, episode.queries)
    )
    return support, class_labels(*episode.support.shape[:2]), queries


def _adapted(config, model, episode):
    """The weights that the method changes in the episode: `{path: tensor}`."""
    if config.method.name != "maml":
        return {}
    support, labels, _ = _as_tensors(episode)
    return method_of(config).adapt(model, {}, support, labels, config.method.test_inner_steps)
