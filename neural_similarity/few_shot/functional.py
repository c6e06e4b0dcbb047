"""Calls of a model with given values in the place of its weights, and what normalises the images of an episode.

s support images · q queries · h, w pixels
"""

import dataclasses
from collections.abc import Callable

import keras
import tensorflow as tf


def call_with(
    model: keras.Model, parameters: dict[str, tf.Tensor], images: tf.Tensor, training: bool, averages=None
) -> tf.Tensor:
    """Calls a model with other values in the place of some of its trainable weights.

    Args:
        model: a built model. Neither its weights nor its moving averages change.
        parameters: a weight's path → its value, as `"conv1/similarity_matrix"`. Other weights keep theirs.
        images: `(b, h, w, 3)`.
        training: whether batch normalisation takes the statistics of this batch.
        averages: the values of the weights that are not trained, as of `pass_support`; by default the model's own.

    Returns:
        The model's output.

    Raises:
        ValueError: `parameters` name a weight that the model does not have.
    """
    if averages is None:
        averages = [v.value for v in model.non_trainable_variables]
    return _call(model, parameters, averages, images, training)[0]


def pass_support(
    model: keras.Model, parameters: dict[str, tf.Tensor], support: tf.Tensor
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Passes support images as in training, with moving averages that start anew.

    After this one update the averages, which are corrected for their start, are the statistics of the support images.

    Args:
        model, parameters: as for `call_with`. All weights that are not trained belong to layers of the class
            `BatchNormalization2D`, with `debias=True`.
        support: `(s, h, w, 3)`.

    Returns:
        The model's output; and the values of `model.non_trainable_variables` afterwards, which are the averages.
    """
    anew = [tf.zeros_like(v.value) for v in model.non_trainable_variables]
    return _call(model, parameters, anew, support, training=True)


def call_by_support(
    model: keras.Model, parameters: dict[str, tf.Tensor], support: tf.Tensor, queries: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Calls a model on an episode, all of whose images are normalised by the statistics of the support images.

    The queries are passed as in inference, with the averages of `pass_support`.

    Args:
        model, parameters: as for `pass_support`.
        support, queries: `(s, h, w, 3)` and `(q, h, w, 3)`.

    Returns:
        The outputs for `support` and for `queries`. No gradient flows from the queries to the statistics.
    """
    of_support, averages = pass_support(model, parameters, support)
    return of_support, call_with(model, parameters, queries, training=False, averages=averages)


def call_on_episode(
    model: keras.Model, support: tf.Tensor, queries: tf.Tensor, batch_norm: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """Calls a model on the images of an episode.

    Args:
        model: as for `call_by_support`. Its weights and averages do not change.
        support, queries: `(s, h, w, 3)` and `(q, h, w, 3)`.
        batch_norm: what normalises the images: `"running"`, the moving averages; `"support"`, the statistics of the
            support images; `"batch"`, the statistics of support images and queries together.

    Returns:
        The outputs for `support` and for `queries`.
    """
    if batch_norm == "support":
        return call_by_support(model, {}, support, queries)
    together = call_with(model, {}, tf.concat([support, queries], 0), training=batch_norm == "batch")
    s = tf.shape(support)[0]
    return together[:s], together[s:]


@dataclasses.dataclass(frozen=True, eq=False)
class Learned:
    """A network that has learned the classes of a task. Called on queries `(q, h, w, 3)`, it gives logits `(q, n)`.

    The logits of a query do not depend on the other queries.

    Attributes:
        model: a Keras model from images to features or to logits.
        parameters: `{path: value}` of the weights that differ from the model's.
        averages: the values of the weights that are not trained, or None for the model's own.
        head: a function from the model's output to logits, or None where the model's output is logits.
    """

    model: keras.Model
    parameters: dict[str, tf.Tensor]
    averages: list[tf.Tensor] | None
    head: Callable | None

    def __call__(self, queries: tf.Tensor) -> tf.Tensor:
        """The logits `(q, n)` of queries."""
        outputs = call_with(self.model, self.parameters, queries, training=False, averages=self.averages)
        return self.head(outputs) if self.head else outputs


def _call(model, parameters, others, images, training):
    """(output, the values of the weights that are not trained afterwards)."""
    known = {weight.path for weight in model.trainable_variables}
    if parameters.keys() - known:
        raise ValueError(f"The model has no trainable weights {sorted(parameters.keys() - known)}")
    trainable = [parameters.get(weight.path, weight.value) for weight in model.trainable_variables]
    return model.stateless_call(trainable, others, images, training=training)
