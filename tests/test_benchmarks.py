"""The benchmarks compare forms that compute the same, count and time as they say, and print what was measured."""

import argparse
import functools
import json
import math
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks import (
    attention,
    bregman,
    docs,
    episode,
    equal_work,
    export,
    filters,
    hlo,
    input_pipeline,
    layers,
    measure,
    memory,
    meta_batch,
    pieces,
    precision,
    profile,
    released_start,
    reranking,
    show,
    streaming,
    structural_step,
    train_step,
)
from benchmarks.released import released_form
from neural_similarity import config as configs
from neural_similarity import ops
from neural_similarity.data import ImageSet
from neural_similarity.families import image_recognition
from neural_similarity.layers import (
    BatchNormalization2D,
    DynamicSimilarityConv2D,
    GlobalSimilarity2D,
    NeuralSimilarityPredictor,
)
from neural_similarity.models import cnn9
from neural_similarity.reporting.multiply_adds import multiply_adds


def tiny_network(name):
    config = configs.load(configs.REPOSITORY / "configs" / "cifar10" / f"{name}.yaml", environment={})
    convolution = image_recognition.convolution(config)
    model = cnn9(
        10, convolution, widths=(3, 4, 5), weight_decay=config.loss.weight_decay, image_size=8, dtype="float64"
    )
    random = np.random.default_rng(0)
    model.set_weights([weight + 0.1 * random.standard_normal(weight.shape) for weight in model.get_weights()])
    return config, model


@pytest.mark.parametrize("name", train_step.NETWORKS)
def test_released_form_is_the_same_function_with_the_same_gradients(name):
    config, ours = tiny_network(name)
    released = released_form(ours)
    random = np.random.default_rng(1)
    batch = (tf.constant(random.uniform(0, 255, (3, 8, 8, 3))), tf.constant([1, 5, 9]))

    def loss_and_gradients(model):
        with tf.GradientTape() as tape:
            loss, _ = image_recognition.build_loss(config, model)(batch)
        return loss, *tape.gradient(loss, model.trainable_variables)

    assert len(released.weights) == len(ours.weights)
    for expected, found in zip(loss_and_gradients(ours), loss_and_gradients(released), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    for expected, found in zip(ours.non_trainable_variables, released.non_trainable_variables, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=expected.path)


def test_multiply_adds():
    """Counted by hand. The root takes 32·32 pixels · 9 taps · 3·32 channels, and so on for the others.

    Dynamic DNS adds at every pixel 9·(i·64 + 64·9) for the predictor, and 9·i for the product with M.
    """
    plain = 32**2 * 9 * (3 * 32 + 3 * 32 * 32) + 16**2 * 9 * (32 * 64 + 2 * 64**2) + 8**2 * 9 * (64 * 128 + 2 * 128**2)
    plain += 4**2 * 128 * 10
    assert multiply_adds(cnn9(10)) == plain
    pixels = [(32**2, 32)] * 3 + [(16**2, 32)] + [(16**2, 64)] * 2 + [(8**2, 64)] + [(8**2, 128)] * 2
    dns = sum(n * (9 * (i * 64 + 64 * 9) + 9 * i) for n, i in pixels)
    uns = sum(n * (9 * (i * 128 + 128 * 81) + 81 * i) for n, i in pixels)
    for structure, more in (("diagonal", dns), ("unconstrained", uns)):
        network = cnn9(10, convolution=lambda *a, s=structure, **k: DynamicSimilarityConv2D(*a, structure=s, **k))
        assert multiply_adds(network) == plain + more


def test_multiply_adds_of_attention():
    image = keras.Input((3, 4, 16))
    projections = 12 * 16 * (2 + 2 + 16)
    found = multiply_adds(keras.Model(image, GlobalSimilarity2D()(image)))
    assert found == projections + 12 * 12 * 2 + 12 * 12 * 16


def test_multiply_adds_count_what_a_stride_leaves():
    image = keras.Input((7, 5, 2))
    layer = DynamicSimilarityConv2D(3, 3, strides=2, predictor=NeuralSimilarityPredictor(filters=4))
    predictor = 7 * 5 * 9 * (2 * 4 + 4 * 9)
    assert multiply_adds(keras.Model(image, layer(image))) == 3 * 2 * (9 * 2 * 3 + 9 * 2) + predictor


def test_the_plain_network_needs_about_as_many_multiply_adds():
    widths = equal_work.widths_of_equal_work(1.9e8)
    assert all(width % 16 == 0 for width in widths)
    assert multiply_adds(cnn9(10, widths=widths)) == pytest.approx(1.9e8, rel=0.05)


def test_forms_are_called_in_turn_and_timed(monkeypatch):
    calls = []
    forms = {name: lambda name=name: calls.append(name) for name in "ab"}
    clock = types.SimpleNamespace(perf_counter=lambda: sum({"a": 1.0, "b": 5.0}[name] for name in calls))
    monkeypatch.setattr(measure, "time", clock)  # by which a call of a takes a second, and one of b five
    assert measure.alternate(forms, rounds=3) == {"a": [1.0, 1.0, 1.0], "b": [5.0, 5.0, 5.0]}
    assert "".join(calls) == "aabb" + "ababab"
    assert measure.summary([3.0, 1.0, 2.0]) == {"median_s": 2.0, "min_s": 1.0, "max_s": 3.0, "n": 3}


def hold(number_of_bytes):
    return lambda: np.ones(number_of_bytes, np.uint8).sum()


def test_memory_is_what_the_work_adds():
    assert measure.added_memory_bytes(hold, 200_000_000) == pytest.approx(200e6, rel=0.1)


def test_largest_batch(monkeypatch):
    tried = []

    def added(prepare, form, batch_size):
        tried.append(batch_size)
        return None if batch_size > 4_000 else 3e8 + 2e7 * batch_size

    monkeypatch.setattr(measure, "added_memory_bytes", added)
    for begin in (1, 100, 128, 5_000):
        assert memory.largest_batch(None, 4e9, begin) == (184, 3e8 + 2e7 * 184)
    assert len(tried) < 20
    assert memory.largest_batch(None, 1e8, 128) == (0, 0)


def test_train_step_prints_a_table_and_writes_a_line(tmp_path, capsys):
    file = tmp_path / "new" / "train_step.jsonl"
    train_step.main(["--quick", "--only", "baseline", "static_dns", "--json", str(file)])
    before = file.read_text()
    measure.report("again", {"a": lambda row: row["a"]}, [{"a": "é"}], argparse.Namespace(json=file, rounds=3))
    assert file.read_text().startswith(before)
    line, again = map(json.loads, file.read_text().splitlines())
    assert (again["benchmark"], again["rounds"], again["rows"]) == ("again", 3, [{"a": "é"}])
    assert (line["benchmark"], line["batch_size"]) == ("train_step", 16)
    assert line["environment"]["tensorflow"] == tf.__version__
    plain_released, plain, released, ours = line["rows"]
    assert (ours["network"], ours["kind"], ours["precision"]) == ("static_dns", "ours", "float32")
    assert ours["times_the_plain_step"] == pytest.approx(ours["median_s"] / plain["median_s"])
    assert ours["times_faster_than_released_float32"] == pytest.approx(released["median_s"] / ours["median_s"])
    assert released["times_the_plain_step"] == pytest.approx(released["median_s"] / plain_released["median_s"])
    table = capsys.readouterr().out
    assert "| static_dns, ours | float32 |" in table
    assert "| é |" in table


@pytest.mark.parametrize("document", docs.DOCS)
def test_tables_in_the_docs_are_the_recorded_ones(document):
    """Where this fails, `python -m benchmarks.docs` writes the tables anew."""
    found = docs.tables(document)
    assert found
    for command, table in found:
        assert table == docs.printed(command), command


def test_show(tmp_path, capsys):
    file = configs.REPOSITORY / "results/benchmarks/layers.jsonl"
    count = len(measure.recorded(file))
    show.main([str(file)])
    assert capsys.readouterr().out.count("| operation | form | precision |") == count
    for words, expected in [
        (["--number", "0"], f"--number 0: {file} has {count} measurements"),
        (["--number", "99"], f"--number 99: {file} has {count} measurements"),
        (["--column", "GB"], f"--column GB: {file} has operation, form, precision, ms, times faster than released"),
        (["--summary"], f"--summary: {file} holds no measurements of train_step, profile or released_start"),
    ]:
        with pytest.raises(SystemExit):
            show.main([str(file), *words])
        assert expected in capsys.readouterr().err
    with pytest.raises(SystemExit):
        show.main([str(tmp_path / "none.jsonl")])
    assert "none.jsonl: no such file" in capsys.readouterr().err


def test_attention_forms_agree():
    steps = [attention.step_of(form, 3, "float32", 2) for form in attention.FORMS]
    for one, other in zip(*(step.args[0](*step.args[1]) for step in steps), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_attention_prints_a_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(attention, "SIDES", (2,))
    attention.main(["--no-memory", "--rounds", "1", "--batch-size", "1", "--json", str(tmp_path / "a.jsonl")])
    rows = json.loads((tmp_path / "a.jsonl").read_text())["rows"]
    assert [(row["form"], row["precision"], row["map_bytes"]) for row in rows] == [
        (form, precision, 64) for precision in ("float32", "bfloat16") for form in ("plain", "ours")
    ]
    assert "| 2×2, ours | bfloat16 |" in capsys.readouterr().out


def test_forms_of_single_operations_agree():
    """In `benchmarks.layers`, the released form and ours give the same outputs."""
    found = {}
    for operation, form, dtype, size, function, arguments in layers.cases(batch_size=2):
        if dtype == "float32" and form != "plain convolution":
            found.setdefault((operation, size), []).append(function(*arguments))
    assert all(len(outputs) == 2 for outputs in found.values())
    for (operation, size), (released, ours) in found.items():
        np.testing.assert_allclose(ours, released, rtol=1e-4, atol=1e-4, err_msg=f"{operation}, {size}")


def test_pipeline_delivers_batches():
    next_batch = input_pipeline.pipeline_of("crop_flip", 4)
    (images, labels), (other_images, _) = next_batch(), next_batch()
    assert images.shape == (4, 32, 32, 3)
    assert labels.shape == (4,)
    assert np.any(images != other_images)


def test_photos_are_streamed(tmp_path):
    part = streaming.photos(tmp_path, count=32)
    assert 30_000 < (tmp_path / "0.jpg").stat().st_size < 100_000
    next_batch = streaming.reader_of(part, "resized_crop", 6)
    (images, labels), (other_images, _) = next_batch(), next_batch()
    assert images.shape == (6, 224, 224, 3)
    assert np.all(labels[::2] == labels[1::2])
    assert np.any(images != other_images)


@pytest.mark.parametrize("fused_functions", ["compiled"], indirect=True)
def test_a_dynamic_layer_writes_two_arrays_of_nine_images(fused_functions):
    """The mixed patches, for the kernel's gradient, and their own gradient. All other such arrays XLA fuses away."""
    shape = (2, 6, 5, 3)
    image, kernel, matrix = tf.ones(shape), tf.ones((3, 3, 3, 4)), tf.ones((*shape[:3], 9))

    def step(image, kernel, matrix):
        with tf.GradientTape() as tape:
            tape.watch((image, kernel, matrix))
            outputs = ops.dynamic_similarity_conv2d(image, kernel, matrix, ops.Window((3, 3)))
        return tape.gradient(outputs, (image, kernel, matrix), output_gradients=outputs)

    program = hlo.optimized_hlo(step, image, kernel, matrix)
    ninefold = list(hlo.arrays(program, {9 * math.prod(shape)}))
    assert len(ninefold) == 2, ninefold


@pytest.mark.parametrize(
    ("case", "overrides"),
    [("5shot_protonet", []), ("5shot_maml", ["method.inner_steps=1", "method.second_order=false"])],
)
def test_forms_of_an_episode_agree(case, overrides):
    """The losses of three train steps, which see what the steps before have learned."""
    overrides = ["model.filters=16", "episode.n_query=2", *overrides]
    usual, ours = (episode.step_of(case, form, 16, overrides, rate=0.01) for form in episode.FORMS)
    first, *others = [usual() for _ in range(3)]
    assert abs(others[1] - first) > 0.01 * first
    np.testing.assert_allclose([ours() for _ in range(3)], [first, *others], rtol=1e-3)


def test_export_prints_a_table(tmp_path, capsys):
    export.main(["--only", "static_dns", "--rounds", "1", "--batch-size", "1", "--json", str(tmp_path / "e.jsonl")])
    rows = json.loads((tmp_path / "e.jsonl").read_text())["rows"]
    assert [row["form"] for row in rows][:3] == ["this package", "saved_model", "tflite"]
    assert rows[0]["times_here"] == 1
    assert 1 < rows[2]["size_mb"] < rows[1]["size_mb"]
    assert "| static_dns | tflite |" in capsys.readouterr().out


def test_pieces_are_told_beside_the_whole(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(reranking, "CANDIDATES", 5)
    monkeypatch.setattr(pieces, "GALLERY", 12)
    monkeypatch.setattr(pieces, "pieces_of_divergences", functools.partial(pieces.pieces_of_divergences, 16))
    pieces.main(["--rounds", "1", "--batch-size", "10", "--json", str(tmp_path / "p.jsonl")])
    rows = json.loads((tmp_path / "p.jsonl").read_text())["rows"]
    assert {row["piece"] for row in rows if row["share"] == 1} == {"all of it", "the matrix product"}
    assert "| divergences | Mahalanobis |" in capsys.readouterr().out


def test_profile_sums_operations_by_kind():
    found = {
        "_MklNativeConv2DBackpropFilter": 3.0,
        "Conv2D": 2.0,
        "ExecuteAsyncOnStream": 4.0,
        "AssignSubVariableOp": 1.0,
    }
    rows = {row["kind"]: row["ms"] for row in profile.by_kind(found, 12.0)}
    assert rows == {
        "gradients of kernels": 3.0,
        "convolutions": 2.0,
        "pieces compiled by XLA": 4.0,
        "updates of weights": 1.0,
        "everything else": 2.0,
        "the step": 12.0,
    }


def test_profiles_are_shown_side_by_side():
    rows = [{"kind": "pooling", "ms": 1.0, "share": 0.25}, {"kind": "the step", "ms": 4.0, "share": 1.0}]
    line = {"network": "dynamic_dns", "kind": "ours", "precision": "float32", "rows": rows}
    other = {**line, "precision": "mixed_bfloat16", "rows": rows[1:]}
    assert profile.summary([line, other]).splitlines() == [
        "| kind | dynamic_dns, ours, float32 | dynamic_dns, ours, mixed_bfloat16 |",
        "| --- | ---: | ---: |",
        "| pooling | 1 (25 %) |  |",
        "| the step | 4 (100 %) | 4 (100 %) |",
    ]


def test_filters_print_a_table(capsys, monkeypatch):
    monkeypatch.setattr(filters, "CHANNELS_AND_FILTERS", ((4, (9,)),))
    monkeypatch.setattr(filters, "SIZE", 4)
    filters.main(["--rounds", "1", "--batch-size", "2"])
    assert "| 4 → 9 | bfloat16 | gradient of the kernel |" in capsys.readouterr().out


def test_profile_times_operations_and_the_step():
    @tf.function
    def step(x):
        return tf.matmul(tf.matmul(x, x), x)

    step(tf.ones((64, 64)))
    found, whole = profile.milliseconds(lambda: step(tf.ones((64, 64))).numpy())
    assert 0 < sum(took for operation, took in found.items() if "MatMul" in operation) < whole


def test_accuracy_by_the_averages_and_by_each_batch():
    """The class is the sign of a normalised pixel. By averages that are far off, all pixels have one sign."""
    image = keras.Input((1, 1, 1))
    normalised = BatchNormalization2D()(image)
    model = keras.Model(image, keras.layers.Flatten()(keras.ops.concatenate([normalised, -normalised], -1)))
    model.layers[1].moving_mean.assign([100.0])
    model.layers[1].updates.assign(10_000.0)
    pixels = np.array([1, 9] * 5, np.uint8).reshape(10, 1, 1, 1)
    images = ImageSet(pixels, np.array([1, 0] * 5, np.int32))
    assert precision.accuracy(model, images, 4, training=False) == 0.5
    assert precision.accuracy(model, images, 4, training=True) == 1.0


def test_the_forms_of_a_meta_batch_agree():
    small = {"image_size": 16, "filters": 16, "inner_steps": 1}
    found = [meta_batch.step_of(form, 2, **small)() for form in meta_batch.FORMS]
    for loss, norm in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-4)
        assert norm == pytest.approx(found[0][1], rel=1e-2)


def test_forms_of_reranking_agree(monkeypatch):
    monkeypatch.setattr(reranking, "CANDIDATES", 6)
    found = {form: reranking.work_of(form, "alike", 30, 4, 4)() for form in reranking.FORMS}
    ours, _ = found["ours"]
    for form, (ranking, sweeps) in found.items():
        assert (1 < sweeps < 100) if form == "released" else sweeps == 20
        np.testing.assert_array_equal(ranking.indices, ours.indices)
        np.testing.assert_allclose(ranking.scores, ours.scores, atol=1e-3 if form == "released" else 1e-5)
        assert reranking.errors(ranking, "alike", 30, 4, 4).max() < 1e-3


def test_cells_that_show_objects_or_scenes_are_less_alike():
    """As `reranking.maps` says, of any two images."""
    for kind, expected in (("alike", 0.24), ("objects", 0.05)):
        cells = tf.math.l2_normalize(tf.reshape(reranking.maps(kind, 50), (-1, 128)), -1)
        assert float(tf.reduce_mean(tf.matmul(cells, cells, transpose_b=True))) == pytest.approx(expected, abs=0.05)


def test_reranking_prints_a_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(reranking, "CASES", (("objects", 12, 7),))
    monkeypatch.setattr(reranking, "CANDIDATES", 5)
    reranking.main(["--no-memory", "--rounds", "1", "--batch-size", "2", "--json", str(tmp_path / "r.jsonl")])
    rows = json.loads((tmp_path / "r.jsonl").read_text())["rows"]
    assert [row["form"] for row in rows] == list(reranking.FORMS)
    assert rows[-1]["seconds_per_query"] == rows[-1]["median_s"] / 2
    assert "| objects, 12, 7×7 cells | ours | " in capsys.readouterr().out


def test_divergences_are_timed_beside_a_loop(tmp_path, capsys):
    """The loop computes what the matrix has; its time is told for each pair."""
    x, y = (tf.constant(np.random.default_rng(seed).normal(size=(4, 64)), tf.float32) for seed in (0, 1))
    make = bregman.FORMS[bregman.LOOP]
    np.testing.assert_allclose(bregman.loop(make, x, y)(), bregman.all_pairs(make, x, y)(), atol=1e-4)
    bregman.main(["--rounds", "1", "--batch-size", "20", "--json", str(tmp_path / "r.jsonl")])
    rows = json.loads((tmp_path / "r.jsonl").read_text())["rows"]
    assert [row["form"] for row in rows][:-1] == list(bregman.FORMS)
    assert (rows[0]["pairs"], rows[-1]["pairs"]) == (400, bregman.LOOPED**2)
    assert rows[0]["times_euclidean"] == rows[-1]["times_faster_than_loop"] == 1
    assert "| squared Euclidean | 400 | " in capsys.readouterr().out


def test_forms_of_a_structural_step_agree():
    found = [structural_step.step_of(form, 10)() for form in structural_step.FORMS]
    assert found[0][0] > 0.1
    assert np.abs(found[0][1]).max() > 1e-5
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        np.testing.assert_allclose(gradient, found[0][1], rtol=1e-3, atol=1e-7)


def tiny_start(monkeypatch, batch_size=4):
    """Makes `released_start` train a narrow network on the digits; returns its config."""
    monkeypatch.setattr(released_start, "_OVERRIDES", ("model.widths=[2, 3, 4]", "data.name=digits"))
    monkeypatch.setattr(released_start, "_TEST_IMAGES", 8)
    overrides = [*released_start._OVERRIDES, f"data.global_batch_size={batch_size}"]
    return configs.load("configs/cifar10/released/static_dns.yaml", overrides)


def test_a_variant_changes_the_rate_of_the_classifier_alone(monkeypatch):
    config = tiny_start(monkeypatch)
    batch = (tf.random.stateless_uniform((4, 32, 32, 3), (0, 1), maxval=255.0), tf.constant([1, 5, 9, 0]))
    changes = {}
    for rate in (1.0, 0.5, 0.0):
        model = image_recognition.network(config, 10)
        before = {weight.path: weight.numpy() for weight in model.trainable_variables}
        variant = released_start.Variant(classifier_rate=rate)
        accuracy, faded, largest = released_start.step_of(config, model, variant)(batch)
        assert 0 <= accuracy <= 1
        assert 0 <= faded <= 1
        logits = model(batch[0], training=True)
        assert logits.shape == (4, 10)
        assert largest > 0
        changes[rate] = {weight.path: weight.numpy() - before[weight.path] for weight in model.trainable_variables}
    for path, change in changes[1.0].items():
        factor = 0.5 if path == "score/kernel" else 1.0
        np.testing.assert_allclose(changes[0.5][path], factor * change, rtol=1e-4, atol=1e-6, err_msg=path)
    assert np.all(changes[0.0]["score/kernel"] == 0)
    assert np.any(changes[0.0]["root/kernel"])


def test_without_epsilon_the_loss_is_the_usual_cross_entropy():
    logits, labels = tf.constant([[2.0, -1.0, 0.5], [0.0, 60.0, -60.0]]), tf.constant([2, 2])
    expected = keras.losses.categorical_crossentropy(
        tf.one_hot(labels, 3), logits, from_logits=True, label_smoothing=0.1
    )
    found = released_start.loss_of(logits, labels, 0.1, 0.0)
    np.testing.assert_allclose(found, np.mean(expected), rtol=1e-5)
    assert released_start.loss_of(logits, labels, 0.1, 1e-4) < found


def test_a_measurement_of_the_released_start_goes_on_and_is_shown(monkeypatch, tmp_path, capsys):
    tiny_start(monkeypatch)
    names = ("as released", "a tenth of the rate")
    monkeypatch.setattr(released_start, "VARIANTS", {name: released_start.VARIANTS[name] for name in names})
    words = ["--networks", "static_dns", "--steps", "3", "--batch-size", "4", "--json", str(tmp_path / "s.jsonl")]
    released_start.main([*words, "--seeds", "0"])
    released_start.main([*words, "--seeds", "0", "1"])
    lines = measure.recorded(tmp_path / "s.jsonl")
    assert [(row["variant"], row["seed"]) for line in lines for row in line["rows"]] == [
        (name, seed) for seed in (0, 1) for name in names
    ]
    capsys.readouterr()
    show.main([str(tmp_path / "s.jsonl"), "--summary"])
    header, _, first, second = capsys.readouterr().out.splitlines()
    assert "what is changed" in header
    assert first.startswith("| static_dns | as released | ")
    assert second.count(", ") == 6  # two seeds in each of six columns
