"""Several replicas, a compiled step and 16 bits: each trains as one replica in float32 does."""

import numpy as np
import pytest
import tensorflow as tf
from digits_runs import digits, refusal
from small_tasks import build, noise, one_replica, train_steps, two_replicas

from neural_similarity import config as configs
from neural_similarity import ops
from neural_similarity.errors import UserError
from neural_similarity.families import image_recognition
from neural_similarity.training.runtime import Replicas, Runtime
from neural_similarity.training.workers import Workers

MIRRORED = Runtime("mirrored", 2, "float32", False, False)


def test_the_batch_must_divide_among_the_devices(tmp_path, capsys):
    with pytest.raises(UserError, match=r"2 devices cannot share it.*global_batch_size=4"):
        MIRRORED.check_batch(configs.load("configs/cifar10/static_dns.yaml", ["data.global_batch_size=5"]))
    with pytest.raises(UserError, match=r"`method.tasks` is 3, and 2 devices cannot share it.*method.tasks=2"):
        MIRRORED.check_batch(configs.load("configs/cifar_fs/5shot_maml.yaml", ["method.tasks=3"]))
    uneven = ["--set", "data.global_batch_size=33", "--set", "runtime.strategy=mirrored"]
    for extra in ([], ["--dry-run"]):
        assert "2 devices cannot share it equally" in refusal(capsys, digits(tmp_path / "r", *uneven, *extra))


def test_a_run_goes_on_where_there_are_as_many_devices():
    with pytest.raises(UserError, match=r"began on 3 devices, and here are 2"):
        Runtime("mirrored", 3, "float32", False, False).start()


def test_mirrored_is_not_compiled():
    section = configs.load(
        "configs/cifar10/static_dns.yaml", ["runtime.strategy=mirrored", "runtime.jit_compile=true"]
    ).runtime
    with pytest.raises(UserError, match="jit_compile"):
        Runtime.resolve(section)


def test_a_mirrored_step_is_the_mean_of_its_halves():
    replicas = two_replicas()
    assert replicas.count == 2
    splits = noise(48)
    _, mirrored = build("static_dns", replicas, splits=splits)
    config, single = build("static_dns", splits=splits)
    before = [v.numpy() for v in single.model.variables]
    for one, other in zip(before, mirrored.model.variables, strict=True):
        np.testing.assert_array_equal(one, other.numpy())
    metrics = train_steps(mirrored, replicas, 1)[0]

    images, labels = single.batch(tf.constant(0, tf.int64))
    loss = image_recognition.build_loss(config, single.model)
    gradients, halves, averages = [], [], []
    for half in (slice(0, 8), slice(8, 16)):
        for variable, value in zip(single.model.variables, before, strict=True):
            variable.assign(value)
        with tf.GradientTape() as tape:
            total, parts = loss((images[half], labels[half]))
        gradients.append(tape.gradient(total, single.model.trainable_variables))
        halves.append({"loss": float(total), **{name: float(value) for name, value in parts.items()}})
        averages.append([v.numpy() for v in single.model.non_trainable_variables])
    single.optimizer.apply([(a + b) / 2 for a, b in zip(*gradients, strict=True)])
    for own, other in zip(single.model.trainable_variables, mirrored.model.trainable_variables, strict=True):
        np.testing.assert_allclose(other.numpy(), own.numpy(), atol=2e-6, err_msg=own.path)
    for a, b, own in zip(*averages, mirrored.model.non_trainable_variables, strict=True):
        np.testing.assert_allclose(own.numpy(), (a + b) / 2, rtol=1e-5, atol=1e-6, err_msg=own.path)
    for name in ("loss", "cross_entropy", "penalty", "accuracy"):
        assert metrics[name] == pytest.approx((halves[0][name] + halves[1][name]) / 2, rel=1e-5), name


def test_compiled_pieces_serve_replicas(monkeypatch):
    """One layer: a second network's collective sums, TensorFlow allows in a process of its own alone."""
    monkeypatch.setattr(ops.fused, "_LARGE", 0)
    random = np.random.default_rng(0)
    image, matrix = random.standard_normal((4, 5, 4, 2)), random.standard_normal((4, 5, 4, 9))
    kernel = tf.constant(random.standard_normal((3, 3, 2, 3)))

    def squares(batch):
        with tf.GradientTape() as tape:
            tape.watch(batch)
            outputs = ops.dynamic_similarity_conv2d(batch[0], kernel, batch[1], ops.Window((3, 3)))
            total = tf.reduce_sum(outputs**2)
        image, matrix = tape.gradient(total, batch)
        return {"total": total, "image": tf.reduce_sum(image**2), "matrix": tf.reduce_sum(matrix**2)}

    batch = (tf.constant(image), tf.constant(matrix))
    single, mirrored = one_replica(), two_replicas()
    expected, found = (replicas.compile(squares, reduce="sum")(batch) for replicas in (single, mirrored))
    assert {k: float(v) for k, v in found.items()} == pytest.approx({k: float(v) for k, v in expected.items()})


def test_mirrored_evaluation_counts_every_image_once():
    replicas = two_replicas()
    splits = noise(19)
    _, mirrored = build("baseline", replicas, splits=splits)
    _, single = build("baseline", splits=splits)
    one, other = mirrored.evaluate()["test"], single.evaluate()["test"]
    assert one["accuracy"] == pytest.approx(other["accuracy"])
    assert one["cross_entropy"] == pytest.approx(other["cross_entropy"], rel=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "static_dns",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("baseline", "static_uns", "dynamic_dns", "dynamic_uns", "nsl_fspherenet")
        ),
    ],
)
def test_the_whole_step_compiles_and_equals_the_graph(name):
    """Everything in float64, where no rounding moves a unit of a ReLU across zero; in float32 what is measured."""
    measured, variables, initial = {}, {}, None
    for jit, dtype in ((False, "float64"), (True, "float64"), (True, None)):
        _, task = build(name, dtype=dtype)
        initial = initial or task.model.get_weights()  # those in float64: a float32 network draws others
        task.model.set_weights(initial)
        (measured[jit, dtype],) = train_steps(task, one_replica(jit), 1)
        variables[jit, dtype] = [v.numpy() for v in (*task.model.variables, *task.optimizer.variables)]
    graph = measured[False, "float64"]
    assert measured[True, "float64"] == pytest.approx(graph, rel=1e-7)
    assert measured[True, None] == pytest.approx(graph, rel=1e-4)
    for expected, found in zip(variables[False, "float64"], variables[True, "float64"], strict=True):
        assert np.linalg.norm(expected - found) <= 1e-7 * np.linalg.norm(expected) + 1e-10
    assert all(np.isfinite(variable).all() for variable in variables[True, None])


def test_bfloat16_trains_float32_weights():
    _, task = build("dynamic_dns", overrides=["runtime.precision=mixed_bfloat16"])
    _, wide = build("dynamic_dns")
    replicas = one_replica()
    narrow_metrics, wide_metrics = (train_steps(t, replicas, 1)[0] for t in (task, wide))
    assert {v.dtype for v in task.model.variables} == {"float32"}
    assert task.model.get_layer("conv2_1").compute_dtype == "bfloat16"
    assert narrow_metrics["loss"] == pytest.approx(wide_metrics["loss"], rel=0.05)
    assert narrow_metrics["loss"] != wide_metrics["loss"]


@pytest.mark.parametrize(
    ("devices", "index", "part"), [(1, 0, slice(0, 4)), (1, 2, slice(8, 12)), (3, 0, slice(0, 12))]
)
def test_each_worker_has_its_part_of_a_batch(devices, index, part):
    class Strategy:
        num_replicas_in_sync = 3

        class extended:
            worker_devices = range(devices)

    workers = Workers(("a:1", "b:1", "c:1"), index) if devices == 1 else None
    assert Replicas(Strategy, workers=workers).own_part(12) == part
