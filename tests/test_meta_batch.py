"""The mean over the tasks of a meta-batch, beside the tasks one by one."""

import numpy as np
import pytest
import tensorflow as tf

from neural_similarity.few_shot.functional import call_with
from neural_similarity.few_shot.heads import prototypes
from neural_similarity.few_shot.inner_loop import adapted
from neural_similarity.few_shot.meta_batch import mean_over_tasks
from neural_similarity.layers import StaticSimilarityConv2D
from neural_similarity.models import conv4
from neural_similarity.models.seeding import seeded
from neural_similarity.ops import squared_distances


@pytest.fixture(scope="module")
def model():
    with seeded(0):
        return conv4(StaticSimilarityConv2D, filters=16, image_size=16)


@pytest.fixture(scope="module")
def episodes():
    """Three tasks of two classes of three images."""
    return tf.constant(np.random.default_rng(0).uniform(0, 255, (3, 2, 3, 16, 16, 3)), tf.float32)


def task_of(model, second_order=True):
    """Adapts the matrices M to the first two images of each class, and measures on the last."""
    paths = [weight.path for weight in model.trainable_variables]
    is_matrix = [path.endswith("similarity_matrix") for path in paths]

    def task(parameters, images):
        def measure(matrices):
            values, matrices = dict(zip(paths, parameters, strict=True)), iter(matrices)
            values |= {path: next(matrices) for path, inner in zip(paths, is_matrix, strict=True) if inner}
            features = call_with(model, values, tf.reshape(images, (6, 16, 16, 3)), training=True)
            features = tf.reshape(features, (2, 3, -1))
            centres = prototypes(tf.reshape(features[:, :2], (4, -1)), [0, 0, 1, 1], 2)
            logits = -squared_distances(features[:, 2], centres)
            return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits([0, 1], logits)), logits

        matrices = [p for p, inner in zip(parameters, is_matrix, strict=True) if inner]
        loss, logits = measure(adapted(lambda values: measure(values)[0], matrices, [0.02] * 4, 2, second_order))
        return {"loss": loss, "accuracy": tf.reduce_mean(tf.cast(tf.argmax(logits, -1) == [0, 1], tf.float32))}

    return task


@pytest.mark.parametrize("second_order", [True, False])
def test_it_is_the_mean_of_the_tasks(model, episodes, second_order):
    task, parameters = task_of(model, second_order), [weight.value for weight in model.trainable_variables]
    expected, losses = [0.0] * len(parameters), []
    for images in episodes:
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            measured = task(parameters, images)
        losses.append(measured["loss"])
        expected = [a + b / 3 for a, b in zip(expected, tape.gradient(losses[-1], parameters), strict=True)]
    means, gradients = tf.function(lambda data: mean_over_tasks(task, parameters, data, second_order))(episodes)
    assert list(means) == ["loss", "accuracy"]
    assert float(means["loss"]) == pytest.approx(np.mean(losses), rel=1e-5)
    for one, other in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * max(1e-3, np.abs(other).max()))


def test_its_graph_does_not_grow_with_the_number_of_tasks(model, episodes):
    task, parameters = task_of(model), [weight.value for weight in model.trainable_variables]
    sizes = []
    for tasks in (1, 3):
        function = tf.function(lambda data: mean_over_tasks(task, parameters, data))
        graph = function.get_concrete_function(episodes[:tasks]).graph.as_graph_def()
        sizes.append(len(graph.node) + sum(len(body.node_def) for body in graph.library.function))
    assert sizes[0] == sizes[1]


def test_a_parameter_without_effect_is_refused():
    with pytest.raises(ValueError, match=r"places \[1\]"):
        mean_over_tasks(lambda values, x: {"loss": values[0] * x}, [tf.constant(1.0), tf.constant(1.0)], tf.ones(2))
