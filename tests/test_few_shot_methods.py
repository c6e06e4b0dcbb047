"""What each few-shot method trains, and how it answers an episode."""

import numpy as np
import pytest
import tensorflow as tf
from few_shot_tasks import METHODS, build, episode, noise_splits
from small_tasks import one_replica, two_replicas

from neural_similarity.families import few_shot
from neural_similarity.families.few_shot_methods import class_labels, measures
from neural_similarity.few_shot.functional import call_with
from neural_similarity.few_shot.inner_loop import adapted


@pytest.mark.parametrize("name", METHODS)
def test_a_step_changes_every_weight(name, look_trained):
    config, _, model = build(name)
    look_trained(model)  # where γ starts at zero, the filters before it have no gradient
    task = few_shot.build_task(config, model, one_replica(), noise_splits())
    before = [weight.numpy() for weight in model.trainable_variables]
    measured = tf.function(task.step)(task.batch(tf.constant(0, tf.int64)))
    assert {"loss", "cross_entropy", "accuracy", "learning_rate"} == measured.keys()
    assert np.isfinite(float(measured["loss"]))
    for weight, value in zip(model.trainable_variables, before, strict=True):
        assert np.isfinite(weight.numpy()).all()
        assert (weight.numpy() != value).any(), weight.path


@pytest.mark.parametrize("adapt", ["all", "head", "similarity"])
def test_the_meta_gradient_agrees_with_finite_differences(adapt):
    """Of the loss after adaptation, by weights of every kind and by the learned rates."""
    overrides = [f"method.adapt={adapt}", "method.learn_inner_rates=true", "method.inner_learning_rate=0.05"]
    config, method, model = build("static_dns", *overrides, dtype="float64")
    support, labels, queries = episode(config)
    wanted = class_labels(3, 2)
    paths = ["conv2/kernel", "conv4/similarity_matrix", "conv1_bn/gamma", "head/bias", "inner_rates/rates"]
    start = {weight.path: weight.value for weight in model.trainable_variables}

    def loss(values):
        values = values | method.adapt(model, values, support, labels, 2, second_order=True)
        return measures(call_with(model, values, queries, training=True), wanted)[0]

    with tf.GradientTape() as tape:
        tape.watch(start)
        value = loss(start)
    gradients = tape.gradient(value, start)
    rng = np.random.default_rng(0)
    for path in paths:
        direction = rng.standard_normal(start[path].shape)
        up, down = (loss(start | {path: start[path] + sign * 1e-6 * direction}) for sign in (1, -1))
        slope = float(tf.reduce_sum(gradients[path] * direction))
        assert abs(slope) > 1e-6, path
        assert slope == pytest.approx(float(up - down) / 2e-6, rel=1e-5, abs=1e-8), path


class Gradients:
    """An optimiser that keeps the gradients and changes nothing."""

    learning_rate = tf.constant(0.1)

    def apply(self, gradients, variables=None):
        self.kept = gradients


@pytest.mark.parametrize("clip", [10.0, 0.01])
@pytest.mark.parametrize("second_order", [True, False])
def test_a_meta_step_beside_a_loop(clip, second_order):
    """The gradient of the mean loss of two tasks after `inner_steps` steps, every number of it clipped."""
    overrides = [f"method.gradient_clip={clip}", f"method.second_order={str(second_order).lower()}"]
    _, method, model = build("static_dns", *overrides, dtype="float64")
    episodes = tf.constant(np.random.default_rng(0).uniform(0, 255, (2, 3, 4, 16, 16, 3)), tf.float32)
    optimizer = Gradients()
    measured = method.step(model, optimizer)(episodes)
    weights = [weight.value for weight in model.trainable_variables]
    paths = [weight.path for weight in model.trainable_variables]
    losses = []
    with tf.GradientTape() as tape:
        tape.watch(weights)
        for images in episodes:
            values = dict(zip(paths, weights, strict=True))
            adapting = [path for path in paths if path.startswith("head/") or "similarity_matrix" in path]
            support, queries = (tf.reshape(x, (6, 16, 16, 3)) for x in (images[:, :2], images[:, 2:]))
            for _ in range(2):
                with tf.GradientTape() as inner:
                    inner.watch(values)
                    logits = call_with(model, values, support, training=True)
                    loss = tf.nn.sparse_softmax_cross_entropy_with_logits([0, 0, 1, 1, 2, 2], logits)
                    loss = tf.reduce_mean(loss)
                slopes = inner.gradient(loss, values)
                for path in adapting:
                    slope = slopes[path] if second_order else tf.stop_gradient(slopes[path])
                    values[path] = values[path] - 0.1 * slope
            logits = call_with(model, values, queries, training=True)
            losses.append(measures(logits, tf.constant([0, 0, 1, 1, 2, 2]))[0])
        mean = (losses[0] + losses[1]) / 2
    assert float(measured["loss"]) == pytest.approx(float(mean), rel=1e-9)
    expected = [np.clip(gradient, -clip, clip) for gradient in tape.gradient(mean, weights)]
    assert (clip < 1) == any((np.abs(gradient) == clip).any() for gradient in expected)
    for path, found, wanted in zip(paths, optimizer.kept, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-10, err_msg=path)


def test_the_loss_of_prototypes_beside_a_loop():
    _, method, model = build("protonet", "method.tasks=2", dtype="float64")
    episodes = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 16, 16, 3)).astype(np.float32)
    measured = method.step(model, Gradients())(tf.constant(episodes))
    features = model(tf.constant(episodes.reshape(-1, 16, 16, 3)), training=True).numpy()
    losses, right = [], []
    for task in features.reshape(2, 4, 4, -1):
        centres = [(task[way, 0] + task[way, 1]) / 2 for way in range(4)]
        for way in range(4):
            for query in task[way, 2:]:
                logits = np.array([-np.sum((query - centre) ** 2) for centre in centres])
                losses.append(-logits[way] + logits.max() + np.log(np.sum(np.exp(logits - logits.max()))))
                right.append(np.argmax(logits) == way)
    assert float(measured["loss"]) == pytest.approx(np.mean(losses), rel=1e-6)
    assert float(measured["accuracy"]) == pytest.approx(np.mean(right))


@pytest.mark.parametrize("name", ["mahalanobis", "max_affine", "input_convex"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_the_loss_of_prototypes_by_a_divergence_beside_a_loop(name, direction):
    settings = [f"method.direction={direction}"]
    _, method, model = build(f"bregman/cifar_fs/{name}", *settings, dtype="float64")
    episodes = np.random.default_rng(0).uniform(0, 255, (1, 4, 4, 16, 16, 3)).astype(np.float32)
    measured = method.step(model, Gradients())(tf.constant(episodes))
    features = model(tf.constant(episodes.reshape(-1, 16, 16, 3)), training=True).numpy()
    losses = []
    task = features.reshape(4, 4, -1)
    centres = task[:, :2].mean(1)
    for way in range(4):
        for query in task[way, 2:]:
            pairs = [(query, centre) if direction == "forward" else (centre, query) for centre in centres]
            logits = np.array([-float(model.divergence.paired(x[None], y[None])[0]) for x, y in pairs])
            losses.append(-logits[way] + logits.max() + np.log(np.sum(np.exp(logits - logits.max()))))
    assert float(measured["loss"]) == pytest.approx(np.mean(losses), rel=1e-6)


def test_prototypes_by_the_squared_distance_are_those_of_protonet():
    """A Mahalanobis divergence with L = √2 I is ‖x − y‖²."""
    answers = []
    for name in ("protonet", "bregman/cifar_fs/mahalanobis"):
        settings = [] if name == "protonet" else ["method.rank=2"]
        config, method, model = build(name, *settings, dtype="float64")
        answers.append(method.answer(model, *episode(config), 3).numpy())
    np.testing.assert_allclose(*answers, rtol=1e-6, atol=1e-9)


def test_a_test_adapts_by_its_own_number_of_steps():
    config, method, model = build("maml", "method.inner_steps=1", "method.test_inner_steps=4", dtype="float64")
    support, labels, queries = episode(config)
    values = method.adapt(model, {}, support, labels, 4)
    expected = call_with(model, values, queries, training=True)
    np.testing.assert_allclose(method.answer(model, support, labels, queries, 3), expected, rtol=1e-10)
    fewer = call_with(model, method.adapt(model, {}, support, labels, 1), queries, training=True)
    assert np.abs(fewer - expected).max() > 1e-6


@pytest.mark.parametrize("name", ["baseline_pp", pytest.param("static_dns", marks=pytest.mark.slow)])
def test_a_compiled_answer_is_the_same(name):
    config, method, model = build(name)
    support, labels, queries = episode(config)
    found = [
        tf.function(lambda: method.answer(model, support, labels, queries, 3), jit_compile=jit_compile)()
        for jit_compile in (False, True)
    ]
    np.testing.assert_allclose(*found, rtol=1e-3, atol=1e-4)


def test_first_order_is_another_gradient():
    gradients = []
    for second_order in (True, False):
        config, method, model = build("maml", "method.inner_learning_rate=0.1", dtype="float64")
        support, labels, queries = episode(config)
        kernel = model.get_layer("conv2").kernel.value
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            values = {"conv2/kernel": kernel}
            values |= method.adapt(model, values, support, labels, 2, second_order)
            loss = measures(call_with(model, values, queries, training=True), class_labels(3, 2))[0]
        gradients.append(tape.gradient(loss, kernel).numpy())
    second, first = gradients
    assert np.abs(second - first).max() > 1e-3 * np.abs(second).max()


@pytest.mark.parametrize("name", ["maml", "anil", "static_dns", "static_uns"])
def test_adaptation_changes_what_the_config_says(name):
    config, method, model = build(name)
    support, labels, _ = episode(config)
    before = {weight.path: weight.numpy() for weight in model.weights}
    after = method.adapt(model, {}, support, labels, 3)
    for weight in model.weights:  # the model itself stays as it is, bit for bit
        np.testing.assert_array_equal(weight.numpy(), before[weight.path])
    trainable = {weight.path for weight in model.trainable_variables}
    head, matrices = {"head/kernel", "head/bias"}, {f"conv{i}/similarity_matrix" for i in range(1, 5)}
    assert after.keys() == {"maml": trainable, "anil": head}.get(name, head | matrices)
    assert all((after[path].numpy() != before[path]).any() for path in after)


def test_the_head_alone_adapts_as_in_the_general_loop():
    """ANIL computes the features once; the loop over the whole network gives the same head."""
    config, method, model = build("anil", "method.inner_learning_rate=0.1", dtype="float64")
    support, labels, _ = episode(config)
    paths = ["head/kernel", "head/bias"]

    def loss(parameters):
        return measures(call_with(model, dict(zip(paths, parameters, strict=True)), support, training=True), labels)[0]

    head = model.get_layer("head")
    expected = adapted(loss, [head.kernel, head.bias], [0.1, 0.1], 3)
    found = method.adapt(model, {}, support, labels, 3)
    for path, value in zip(paths, expected, strict=True):
        np.testing.assert_allclose(found[path], value, rtol=1e-10)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("mode", ["running", "support", "batch"])
def test_answers_to_single_queries(name, mode, look_trained):
    """Only `batch` lets the answer to a query depend on the other queries."""
    if (METHODS[name], mode) == ("maml", "running"):
        return  # refused by the config
    config, method, model = build(name, f"batch_norm.mode={mode}", dtype="float64")
    support, labels, queries = episode(config)
    look_trained(model)
    before = [weight.numpy() for weight in model.weights]
    together = method.answer(model, support, labels, queries, 3)
    single = tf.concat([method.answer(model, support, labels, queries[i : i + 1], 3) for i in range(6)], 0)
    difference = np.abs(together - single).max() / np.abs(together).max()
    assert difference > 1e-4 if mode == "batch" else difference < 1e-6
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


@pytest.mark.parametrize("name", ["protonet", "baseline", "dynamic_proto", "bregman/cifar_fs/input_convex"])
def test_permuting_the_classes_permutes_the_answers(name):
    config, method, model = build(name, dtype="float64")
    support, labels, queries = episode(config)
    order = np.array([2, 0, 1])
    logits = method.answer(model, support, labels, queries, 3)
    permuted = method.answer(model, support, order[labels], queries, 3)
    np.testing.assert_allclose(tf.gather(permuted, order, axis=1), logits, rtol=1e-7, atol=1e-9)


def test_classes_may_have_different_numbers_of_images():
    config, method, model = build("protonet", dtype="float64")
    support, labels, queries = episode(config)
    chosen = [0, 2, 3, 4]  # one image, two, one
    logits = method.answer(model, tf.gather(support, chosen), tf.gather(labels, chosen), queries, 3)
    features = model(tf.concat([support, queries], 0), training=False).numpy()
    centres = [features[0], features[2:4].mean(0), features[4]]
    expected = [[-np.sum((query - centre) ** 2) for centre in centres] for query in features[6:]]
    np.testing.assert_allclose(logits, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_two_replicas_take_the_step_of_one():
    """Each adapts to one task. Batch normalisation sees single tasks in both cases."""
    losses, weights = [], []
    for replicas in (one_replica(), two_replicas()):
        with replicas.scope():
            config, _, model = build("static_uns", "method.gradient_clip=0.01", dtype="float32")
            task = few_shot.build_task(config, model, replicas, noise_splits())
        compiled = replicas.compile(task.step, reduce="mean")
        losses.append([float(compiled(task.batch(tf.constant(step, tf.int64)))["loss"]) for step in range(2)])
        weights.append(model.get_layer("conv3").similarity_matrix.numpy())
    np.testing.assert_allclose(*losses, rtol=1e-5)
    np.testing.assert_allclose(*weights, rtol=1e-3)


@pytest.mark.parametrize(
    "name",
    ["static_dns", *(pytest.param(name, marks=pytest.mark.slow) for name in METHODS if name != "static_dns")],
)
def test_the_whole_step_compiles(name):
    losses = []
    for jit_compile in (False, True):
        config, _, model = build(name)
        task = few_shot.build_task(config, model, one_replica(), noise_splits())
        compiled = tf.function(task.step, jit_compile=jit_compile)
        losses.append([float(compiled(task.batch(tf.constant(step, tf.int64)))["loss"]) for step in range(2)])
    np.testing.assert_allclose(*losses, rtol=1e-3)


@pytest.mark.parametrize("name", ["protonet", "maml"])
def test_sixteen_bits_train(name):
    config, _, model = build(name, "model.filters=16", dtype="mixed_bfloat16")
    task = few_shot.build_task(config, model, one_replica(), noise_splits())
    measured = tf.function(task.step)(task.batch(tf.constant(0, tf.int64)))
    assert np.isfinite(float(measured["loss"]))
    assert model.output.dtype == "float32"
