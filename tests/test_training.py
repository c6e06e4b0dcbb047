"""The loop on small networks: runs from end to end, resumes, replicas, compilation, and what goes wrong."""

import json
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf
import yaml
from commands import exit_code
from run_checks import assert_equal_runs

from neural_similarity import config as configs
from neural_similarity import load_run, ops
from neural_similarity.data import ImageSet, Splits
from neural_similarity.data.images import stratified_split
from neural_similarity.errors import UserError
from neural_similarity.families import image_recognition, main
from neural_similarity.training import loop, runs
from neural_similarity.training.logs import Metrics, read_rows
from neural_similarity.training.runtime import Replicas, Runtime

TINY = [
    "model.widths=[3, 4, 5]",
    "data.global_batch_size=16",
    "schedule.warmup_steps=0",
    "optimizer.learning_rate=0.01",
]
VARIANTS = ("baseline", "static_dns", "static_uns", "dynamic_dns", "dynamic_uns", "nsl_fspherenet")


def noise(n, seed=0):
    rng = np.random.default_rng(seed)
    images = ImageSet(rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), (np.arange(n) % 10).astype(np.int32))
    return Splits(images, None, images, tuple("0123456789"))


def build(name, replicas=None, overrides=(), splits=None, dtype=None):
    replicas = replicas or Replicas(tf.distribute.get_strategy())
    config = configs.load(f"configs/cifar10/{name}.yaml", [*TINY, *overrides], environment={})
    with replicas.scope():
        model = image_recognition.network(config, 10, dtype)
        return config, image_recognition.build_task(config, model, replicas, splits or noise(48))


def train_steps(task, replicas, steps):
    compiled = replicas.compile(task.step, reduce="mean")
    return [{k: float(v) for k, v in compiled(task.batch(tf.constant(s, tf.int64))).items()} for s in range(steps)]


def weights(task):
    return [variable.numpy() for variable in (*task.model.variables, *task.optimizer.variables)]


def run_main(arguments, default="configs/cifar10/static_dns.yaml"):
    return exit_code(lambda words: main(default, words), *arguments)


def digits(run_dir, *extra):
    """Arguments of a short run on the digits."""
    settings = ["data.name=digits", "data.augmentation=none", "model.widths=[2, 3, 4]", "data.global_batch_size=32"]
    settings += ["schedule.train_steps=25", "evaluation.every_steps=10", "schedule.warmup_steps=5"]
    return [*(word for s in settings for word in ("--set", s)), "--run-dir", str(run_dir), *extra]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of 25 steps on the digits."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    assert run_main(digits(folder)) == 0
    return folder


# A run


def test_a_run_leaves_what_it_promises(finished):
    names = {path.name for path in finished.iterdir()} - {"tensorboard"}
    assert names == {
        "config.yaml",
        "run.json",
        "metrics.jsonl",
        "metrics.csv",
        "checkpoints",
        "result.json",
        "lock",
    }
    rows = read_rows(finished / "metrics.jsonl")
    assert [(r["step"], r["split"]) for r in rows] == [
        (10, "train"),
        (10, "test"),
        (20, "train"),
        (20, "test"),
        (25, "train"),
        (25, "test"),
    ]
    assert rows[0]["loss"] == pytest.approx(rows[0]["cross_entropy"] + rows[0]["penalty"])
    assert [r["learning_rate"] for r in rows if r["split"] == "train"] == pytest.approx([0.1] * 3)
    assert runs.Run(finished).checkpoints.steps() == [10, 20, 25]
    header, *lines = (finished / "metrics.csv").read_text().splitlines()
    assert header.startswith("step,split,loss")
    assert len(lines) == len(rows)
    result = runs.Run(finished).result
    assert result.scores["test/accuracy"].value == rows[-1]["accuracy"]
    assert (result.steps, result.recipe, result.config) == (25, "custom", "cifar10/static_dns")
    assert "schedule.train_steps=25" in result.overrides


def test_load_run_gives_the_trained_network(finished):
    model = load_run(finished)
    splits = image_recognition.load_data(runs.Run(finished).config)
    logits = model.predict(splits.test.images.astype(np.float32), verbose=0)
    accuracy = np.mean(logits.argmax(-1) == splits.test.labels)
    assert accuracy == pytest.approx(read_rows(finished / "metrics.jsonl")[-1]["accuracy"])


def test_eval_only_repeats_the_last_evaluation(finished, capsys):
    assert run_main(digits(finished, "--eval-only")) == 0
    accuracy = read_rows(finished / "metrics.jsonl")[-1]["accuracy"]
    assert f"step 25   test accuracy: {100 * accuracy:.2f} %" in capsys.readouterr().out


def test_dry_run_says_everything_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("NEURAL_SIMILARITY_DATA", raising=False)
    missing = ["--dry-run", "--run-dir", str(tmp_path / "r"), "--set", f"data.root={tmp_path}"]
    assert run_main(missing) == 0
    out = capsys.readouterr().out
    for words in ("parameters: 511,281", "steps: 42,500", "data: missing", "./dataset_setup.sh cifar10", "r (new)"):
        assert words in out
    assert not (tmp_path / "r").exists()


def test_validation_selects_beside_the_last_step(tmp_path):
    assert run_main(digits(tmp_path / "r", "--set", "data.validation_fraction=0.2")) == 0
    rows = read_rows(tmp_path / "r" / "metrics.jsonl")
    result = runs.Run(tmp_path / "r").result
    validation = {r["step"]: r["accuracy"] for r in rows if r["split"] == "validation"}
    test = {r["step"]: r["accuracy"] for r in rows if r["split"] == "test"}
    assert result.scores["test/accuracy"].value == test[25]
    assert result.scores["validation/accuracy"].value == validation[25]
    assert validation[result.selected.step] == max(validation.values())
    assert result.selected.scores["test/accuracy"].value == test[result.selected.step]


# Resuming


def interrupt_at(step, monkeypatch):
    """Sends the process a Ctrl-C in the middle of `step`."""
    batches = loop.batches

    def interrupted(batch, first, last):
        for number, made in enumerate(batches(batch, first, last), start=first + 1):
            if number == step:
                signal.raise_signal(signal.SIGINT)
            yield made

    monkeypatch.setattr(loop, "batches", interrupted)


@pytest.mark.parametrize("step", [3, 14])
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(finished, tmp_path, monkeypatch, capsys, step):
    folder = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        interrupt_at(step, patch)
        assert run_main(digits(folder)) == 130
    assert f"Stopped after step {step}" in capsys.readouterr().err
    assert run_main(digits(folder)) == 2  # nothing resumes unasked
    assert "--resume" in capsys.readouterr().err
    assert run_main(digits(folder, "--resume")) == 0
    assert_equal_runs(folder, finished)


def test_what_was_logged_after_the_last_checkpoint_is_done_again(finished, tmp_path, monkeypatch):
    folder = tmp_path / "killed"
    with monkeypatch.context() as patch:
        interrupt_at(14, patch)
        run_main(digits(folder))
    run = runs.Run(folder)
    run.checkpoints.path(14).unlink()  # as if it had been killed before it could save
    Metrics(folder, 14).add(20, "train", loss=1.0)
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 20, "spl')
    assert run_main(digits(folder, "--resume")) == 0
    assert_equal_runs(folder, finished)


def test_a_damaged_newest_checkpoint_costs_the_steps_since_the_one_before(finished, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "damaged"
    with monkeypatch.context() as patch:
        interrupt_at(14, patch)
        run_main(digits(folder))
    newest = runs.Run(folder).checkpoints.path(14)
    newest.write_bytes(newest.read_bytes()[:-1])
    assert load_run(folder).count_params() > 0
    assert run_main(digits(folder, "--resume")) == 0
    out = capsys.readouterr().out
    assert f"{newest}: damaged (" in out
    assert "step 10, on" in out
    assert_equal_runs(folder, finished)


def test_a_run_without_a_checkpoint_resumes_from_the_start(finished, tmp_path, monkeypatch):
    folder = tmp_path / "early"
    with monkeypatch.context() as patch:
        interrupt_at(1, patch)
        run_main(digits(folder))
    runs.Run(folder).checkpoints.path(1).unlink()
    assert run_main(digits(folder, "--resume")) == 0
    assert_equal_runs(folder, finished)


def test_a_run_of_an_earlier_version_goes_on(finished, tmp_path, monkeypatch):
    """Its config, run.json, metrics and checkpoint have the names that they had then."""
    folder = tmp_path / "earlier"
    with monkeypatch.context() as patch:
        interrupt_at(14, patch)
        run_main(digits(folder))
    run = runs.Run(folder)
    document = yaml.safe_load((folder / "config.yaml").read_text())
    del document["family"], document["data"]["input_scaling"]
    document["batch_norm"] = {"moving_average": "debiased", "decay": document["batch_norm"]["decay"]}
    (folder / "config.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    details = json.loads((folder / "run.json").read_text())
    facts = details.pop("facts")
    (folder / "run.json").write_text(json.dumps({**details, **facts}))
    for path in (folder / "metrics.jsonl", folder / "metrics.csv"):
        path.write_text(path.read_text().replace("cross_entropy", "fit"))
    arrays, state = run.checkpoints.load(14)
    pending = [{"fit" if k == "cross_entropy" else k: v for k, v in step.items()} for step in state["pending"]]
    run.checkpoints.save(14, arrays, {"pending": pending})
    assert "fit" in pending[0]

    assert run.config == runs.Run(finished).config
    assert run_main(["--config", str(folder / "config.yaml"), "--run-dir", str(folder), "--resume"]) == 0
    assert_equal_runs(folder, finished)
    assert load_run(folder).count_params() > 0


# Refusals


def message(capsys, arguments, **kwargs):
    assert run_main(arguments, **kwargs) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err


def test_a_finished_run_is_left_alone(finished, capsys):
    assert "this run is finished" in message(capsys, digits(finished))
    assert "this run is finished" in message(capsys, digits(finished, "--resume"))


def test_another_config_does_not_enter_a_run_folder(finished, capsys):
    for extra in ([], ["--resume"], ["--eval-only"]):
        said = message(capsys, digits(finished, "--set", "seed=1", *extra))
        assert "holds a run of another config; `seed` differ" in said


def test_a_folder_that_is_no_run_is_not_written_to(tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("dear")
    assert "not a run" in message(capsys, digits(tmp_path))


def test_nothing_to_resume_names_the_siblings(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runs, "REPOSITORY", tmp_path)
    config = configs.load("configs/cifar10/static_dns.yaml", ["seed=3"], environment={})
    for name in ("s3-abc", "s3-bad"):
        (tmp_path / "runs/cifar10/static_dns" / name).mkdir(parents=True)
        runs.Run(tmp_path / "runs/cifar10/static_dns" / name).create(config, {})
    (tmp_path / "runs/cifar10/static_dns/s3-bad/config.yaml").unlink()
    said = message(capsys, ["--resume", "--set", "seed=4", "--run-dir", str(tmp_path / "new")])
    assert "nothing to resume here" in said
    assert "s3-abc (unfinished; differs in seed)" in said
    assert "s3-bad (damaged)" in said


def test_the_right_train_py_is_named(capsys):
    said = message(capsys, ["--config", "configs/cifar10/dynamic_dns.yaml"])
    assert "run python nsl_image_recog/dynamic_dns/train.py --config configs/cifar10/dynamic_dns.yaml" in said
    full = ["--config", "configs/cifar10/dynamic_dns.yaml", "--set", "similarity.normalization=full"]
    said = message(capsys, full, default="configs/cifar10/dynamic_dns.yaml")
    assert (
        "nsl_fspherenet/train.py --config configs/cifar10/dynamic_dns.yaml --set similarity.normalization=full" in said
    )


def test_missing_data_names_the_command(tmp_path, capsys):
    said = message(capsys, ["--set", f"data.root={tmp_path}", "--run-dir", str(tmp_path / "r")])
    assert "./dataset_setup.sh cifar10" in said
    assert not (tmp_path / "r").exists()


def test_a_network_that_does_not_fit_gets_one_message(tmp_path, capsys):
    said = message(capsys, digits(tmp_path / "r", "--dry-run", "--set", "model.widths=[2000000, 2000000, 2000000]"))
    assert said.startswith("Out of memory. ")
    assert "smaller data.global_batch_size" in said


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, capsys):
    said = message(capsys, digits(tmp_path / "r", "--set", "optimizer.learning_rate=1e30"))
    assert "Training stopped: the loss of step" in said
    assert "optimizer.learning_rate" in said
    assert runs.Run(tmp_path / "r").checkpoints.steps() == []


MIRRORED = Runtime("mirrored", 2, "float32", False, False)


def test_the_batch_must_divide_among_the_devices(tmp_path, capsys):
    with pytest.raises(UserError, match=r"2 devices cannot share it.*global_batch_size=4"):
        MIRRORED.check_batch(5)
    uneven = ["--set", "data.global_batch_size=33", "--set", "runtime.strategy=mirrored"]
    for extra in ([], ["--dry-run"]):
        assert "2 devices cannot share it equally" in message(capsys, digits(tmp_path / "r", *uneven, *extra))


def test_a_run_goes_on_where_there_are_as_many_devices():
    with pytest.raises(UserError, match=r"began on 3 devices, and here are 2"):
        Runtime("mirrored", 3, "float32", False, False).start()


def test_mirrored_is_not_compiled():
    section = configs.load(
        "configs/cifar10/static_dns.yaml", ["runtime.strategy=mirrored", "runtime.jit_compile=true"]
    ).runtime
    with pytest.raises(UserError, match="jit_compile"):
        Runtime.resolve(section)


def test_only_one_process_trains_in_a_folder(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "r"
    with monkeypatch.context() as patch:
        interrupt_at(3, patch)
        run_main(digits(folder))
    capsys.readouterr()
    with runs.Run(folder).lock():
        assert "another process trains here" in message(capsys, digits(folder, "--resume"))


def test_a_run_that_appears_while_the_data_are_read_is_left_alone(tmp_path, monkeypatch, capsys):
    folder, load_data = tmp_path / "r", image_recognition.load_data

    def load_slowly(config):
        with monkeypatch.context() as patch:
            patch.setattr(image_recognition, "load_data", load_data)
            interrupt_at(3, patch)
            run_main(digits(folder))  # another process, meanwhile
        return load_data(config)

    monkeypatch.setattr(image_recognition, "load_data", load_slowly)
    assert "an unfinished run of this very config is here" in message(capsys, digits(folder))
    assert runs.Run(folder).checkpoints.steps() == [3]


def test_a_folder_where_a_start_was_cut_short_is_free(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    config = configs.load("configs/cifar10/static_dns.yaml", environment={})
    runs.Run(tmp_path).check_new(config)


def test_a_run_dir_that_cannot_be_one(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "a file, not a folder" in message(capsys, digits(tmp_path / "file"))
    assert "Not a directory" in message(capsys, digits(tmp_path / "file" / "r"))


@pytest.mark.parametrize(
    ("name", "text"),
    [("run.json", "{}"), ("run.json", "{"), ("config.yaml", None), ("result.json", "{")],
)
def test_a_damaged_run_folder_is_said_to_be_one(finished, tmp_path, name, text):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    (folder / name).unlink() if text is None else (folder / name).write_text(text)
    run = runs.open_run(folder)
    with pytest.raises(UserError, match=rf"{name}: damaged"):
        (run.details, run.config, run.result, load_run(folder))


def test_metrics_lose_a_torn_last_line_and_nothing_else(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert read_rows(path) == [{"step": 1}, {"step": 2}]
    path.write_text('{"step": 1}\n{"st\n{"step": 2}\n')
    with pytest.raises(UserError, match=r"metrics.jsonl, line 2: damaged"):
        read_rows(path)


def test_test_accuracy_tells_the_truth_while_the_rate_is_high():
    """Both trainings are the same; what they evaluate by is not (DEVIATION D12)."""
    accuracy = {}
    for decay in ("shipped", "0.999"):
        overrides = ["data.name=digits", "data.augmentation=none", "data.global_batch_size=32"]
        overrides += ["model.widths=[8, 8, 8]"]
        overrides += [] if decay == "shipped" else [f"batch_norm.decay={decay}"]
        config = configs.load("configs/cifar10/baseline.yaml", overrides, environment={})
        replicas = Replicas(tf.distribute.get_strategy())
        task = image_recognition.build_task(
            config, image_recognition.network(config, 10), replicas, image_recognition.load_data(config)
        )
        trained = train_steps(task, replicas, 300)[-1]
        assert trained["accuracy"] > 0.9
        accuracy[decay] = task.evaluate()["test"]["accuracy"]
    assert accuracy["shipped"] > accuracy["0.999"] + 0.1


# Replicas and compilation


def test_a_mirrored_step_is_the_mean_of_its_halves():
    replicas = MIRRORED.start()
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
    single, mirrored = Replicas(tf.distribute.get_strategy()), MIRRORED.start()
    expected, found = (replicas.compile(squares, reduce="sum")(batch) for replicas in (single, mirrored))
    assert {k: float(v) for k, v in found.items()} == pytest.approx({k: float(v) for k, v in expected.items()})


def test_mirrored_evaluation_counts_every_image_once():
    replicas = MIRRORED.start()
    splits = noise(19)
    _, mirrored = build("baseline", replicas, splits=splits)
    _, single = build("baseline", splits=splits)
    one, other = mirrored.evaluate()["test"], single.evaluate()["test"]
    assert one["accuracy"] == pytest.approx(other["accuracy"])
    assert one["cross_entropy"] == pytest.approx(other["cross_entropy"], rel=1e-5)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in ("static_uns", "dynamic_dns") else pytest.mark.slow) for name in VARIANTS],
)
def test_the_whole_step_compiles_and_equals_the_graph(name):
    """Everything in float64, where no rounding moves a ReLU's tie; in float32 the loss alone."""
    for dtype, rtol in (("float64", 1e-7), (None, 1e-4)):
        results = []
        for jit in (False, True):
            replicas = Replicas(tf.distribute.get_strategy(), jit_compile=jit)
            _, task = build(name, replicas, dtype=dtype)
            (metrics,) = train_steps(task, replicas, 1)
            results.append((metrics, weights(task)))
        (graph, graph_weights), (jitted, jitted_weights) = results
        assert graph == pytest.approx(jitted, rel=rtol)
        for one, other in zip(graph_weights, jitted_weights, strict=True):
            assert np.isfinite(other).all()
            assert dtype is None or np.linalg.norm(one - other) <= rtol * np.linalg.norm(one) + 1e-10


def test_bfloat16_trains_float32_weights():
    _, task = build("dynamic_dns", overrides=["runtime.precision=mixed_bfloat16"])
    _, wide = build("dynamic_dns")
    replicas = Replicas(tf.distribute.get_strategy())
    narrow_metrics, wide_metrics = (train_steps(t, replicas, 1)[0] for t in (task, wide))
    assert {v.dtype for v in task.model.variables} == {"float32"}
    assert task.model.get_layer("conv2_1").compute_dtype == "bfloat16"
    assert narrow_metrics["loss"] == pytest.approx(wide_metrics["loss"], rel=0.05)
    assert narrow_metrics["loss"] != wide_metrics["loss"]


def test_stratified_halves_are_what_a_validation_split_is_made_of():
    kept, taken = stratified_split(noise(40).train, 0.25, seed=0)
    assert (len(kept), len(taken)) == (30, 10)
    assert sorted(taken.labels) == list(range(10))
