"""A trained few-shot network as a classifier of somebody's own images, from Python and from the command line."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from few_shot_runs import few_shot_run
from PIL import Image

from neural_similarity import config as configs
from neural_similarity import predict as prediction
from neural_similarity.data.few_shot_sets import load_class_splits
from neural_similarity.errors import UserError
from neural_similarity.families import load_run
from neural_similarity.families.few_shot_methods import features_of, method_of
from neural_similarity.predict import FewShotClassifier, few_shot_classifier, given
from neural_similarity.training import runs

CONFIGS = {
    "protonet": ("quickstart/few_shot", []),
    "protonet_batch": ("quickstart/few_shot", ["batch_norm.mode=batch"]),
    "baseline_pp": ("cifar_fs/5shot_baseline_pp", ["method.fine_tune_steps=5"]),
    "maml": ("cifar_fs/5shot_static_dns", ["method.test_inner_steps=2", "method.learn_inner_rates=true"]),
    "maml_support": ("cifar_fs/5shot_static_dns", ["method.test_inner_steps=2", "batch_norm.mode=support"]),
}
NAMES = ("nine", "six", "seven", "five", "eight")  # not sorted


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """`run(name)` is the folder of a run of `CONFIGS[name]`. No step was trained: `look_trained` made the weights."""
    folders = {}

    def folder(name):
        if name not in folders:
            path, settings = CONFIGS[name]
            folders[name] = few_shot_run(tmp_path_factory.mktemp(name) / "run", *settings, name=path)
        return folders[name]

    return folder


@pytest.fixture(scope="module")
def task():
    """Support images of 5 classes, as many as 1, 2, 3, 4 and 5; their labels; and 10 queries."""
    part = load_class_splits("digits", "data").test
    rows = np.concatenate([rows[: label + 1] for label, rows in enumerate(part.rows)])
    labels = np.repeat(np.array(NAMES), np.arange(1, 6))
    order = np.random.default_rng(0).permutation(len(rows))
    queries = np.concatenate([rows[20:22] for rows in part.rows])
    return part.images[rows[order]], labels[order], part.images[queries]


@pytest.fixture(scope="module")
def files(task, tmp_path_factory):
    """The same as files: `support/CLASS/N.png`, and the queries `N.png`."""
    folder = tmp_path_factory.mktemp("files")
    support, labels, queries = task
    for number, (image, label) in enumerate(zip(support, labels, strict=True)):
        (folder / "support" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / "support" / label / f"{number}.png")
    for number, image in enumerate(queries):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


def answer(folder, task, mode):
    """What `Method.answer` gives: the probabilities, and the classes, which are sorted."""
    support, labels, queries = task
    config = runs.open_run(folder).config
    config = config.model_copy(update={"batch_norm": config.batch_norm.model_copy(update={"mode": mode})})
    classes = sorted(set(labels))
    numbers = tf.constant([classes.index(label) for label in labels])
    support, queries = (tf.constant(images, tf.float32) for images in (support, queries))
    logits = method_of(config).answer(load_run(folder), support, numbers, queries, len(classes))
    return tf.nn.softmax(logits).numpy(), np.array(classes)


@pytest.mark.parametrize(
    ("name", "mode", "transductive"),
    [
        ("protonet", "running", False),
        ("protonet_batch", "support", False),
        ("baseline_pp", "running", False),
        ("maml", "support", False),  # `batch` in its config
        ("maml", "batch", True),
        ("protonet", "batch", True),
    ],
)
def test_it_answers_as_the_method_does(name, mode, transductive, run, task):
    support, labels, queries = task
    classifier = FewShotClassifier(run(name), transductive=transductive)
    assert classifier.fit(support, list(labels)) is classifier
    expected, classes = answer(run(name), task, mode)
    np.testing.assert_array_equal(classifier.classes_, classes)
    np.testing.assert_allclose(classifier.predict_proba(queries), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(classifier.predict(queries), classes[np.argmax(expected, -1)])
    assert np.ptp(expected, axis=0).max() > 1e-2  # images do matter here
    alone = np.concatenate([classifier.predict_proba(query[None]) for query in queries])
    assert np.allclose(alone, expected, rtol=1e-3, atol=1e-5) != transductive


def test_a_run_of_transductive_tests_says_what_is_done_instead(run, logged):
    FewShotClassifier(run("maml"))
    (line,) = logged.messages
    assert "batch_norm.mode: batch" in line
    FewShotClassifier(run("maml"), transductive=True)
    FewShotClassifier(run("maml_support"))
    assert logged.messages == [line]


def test_what_the_classes_are_called_and_the_order_of_the_images_do_not_matter(run, task):
    support, labels, queries = task
    classifier = FewShotClassifier(run("protonet"))
    expected = classifier.fit(support, labels).predict_proba(queries)
    numbers = {"five": 30, "six": -2, "seven": 7, "eight": 0, "nine": 4}  # another order than the names'
    found = classifier.fit(support[::-1], [numbers[label] for label in labels[::-1]]).predict_proba(queries)
    assert classifier.classes_.tolist() == sorted(numbers.values())
    order = [classifier.classes_.tolist().index(numbers[name]) for name in sorted(numbers)]
    np.testing.assert_allclose(found[:, order], expected, rtol=1e-3, atol=1e-6)
    assert classifier.predict(queries).dtype.kind == "i"
    assert classifier.fit(support[:6], labels[:6]).predict_proba(queries).shape == (10, len(set(labels[:6])))


def test_files_are_read_and_answered_in_batches(run, task, files, monkeypatch):
    support, labels, queries = task
    classifier = FewShotClassifier(run("protonet")).fit(support, labels)
    expected = classifier.predict_proba(queries)
    paths = [files / f"{number}.png" for number in range(len(queries))]
    sizes = []
    monkeypatch.setattr(given, "_PIXELS_PER_BATCH", 4 * 32 * 32)
    read = few_shot_classifier.pixels
    monkeypatch.setattr(few_shot_classifier, "pixels", lambda part, size: sizes.append(len(part)) or read(part, size))
    np.testing.assert_allclose(classifier.predict_proba(paths), expected, rtol=1e-4)
    assert sizes == [4, 4, 2]
    assert classifier.predict_proba([]).shape == (0, 5)
    support_paths = sorted((files / "support").glob("*/*.png"))
    classifier.fit([str(path) for path in support_paths], [path.parent.name for path in support_paths])
    np.testing.assert_allclose(classifier.predict_proba(queries), expected, rtol=1e-3, atol=1e-6)
    with pytest.raises(UserError, match=r"none\.png: no such file"):
        classifier.predict([paths[0], files / "none.png"])


@pytest.mark.parametrize("name", ["maml", "maml_support"])
def test_the_merged_network_is_plain_keras_with_the_same_answers(name, run, task):
    support, labels, queries = task
    classifier = FewShotClassifier(run(name))
    before = [np.array(weight) for weight in classifier._model.get_weights()]
    merged = classifier.fit(support, labels).merged()
    assert "neural_similarity" not in merged.to_json()
    x = queries.astype(np.float32)
    np.testing.assert_allclose(merged(x, training=False), classifier._answer(tf.constant(x)), rtol=0, atol=1e-4)
    alone = np.concatenate([merged(query[None], training=False) for query in x])
    np.testing.assert_allclose(tf.nn.softmax(alone), classifier.predict_proba(queries), rtol=1e-3, atol=1e-5)
    kernels = [each.get_layer("conv2").kernel for each in (merged, classifier._model)]
    assert np.max(np.abs(kernels[0] - kernels[1])) > 1e-3  # there is an M to merge
    assert all(map(np.array_equal, before, classifier._model.get_weights()))


def test_what_cannot_be_merged_says_why(run, task):
    support, labels, _ = task
    with pytest.raises(ValueError, match=r"is for `method\.name: maml`"):
        FewShotClassifier(run("protonet")).fit(support, labels).merged()
    with pytest.raises(ValueError, match="Next: leave it out"):
        FewShotClassifier(run("maml"), transductive=True).fit(support, labels).merged()


BAD_FITS = {
    "one path": ("a.png", ["a"], "one image pass ['a.png']"),
    "another size": (np.zeros((2, 28, 28, 3)), ["a", "b"], "(m, 32, 32, 3)"),
    "one image": (np.zeros((32, 32, 3)), ["a"], "one image is images[None]"),
    "several shapes": ([np.zeros((32, 32, 3)), np.zeros((9, 32, 3))], ["a", "b"], "images of several shapes"),
    "up to 1": (np.full((2, 32, 32, 3), 0.5), ["a", "b"], "images * 255"),
    "negative": (np.full((2, 32, 32, 3), -1), ["a", "b"], "numbers from -1 to -1"),
    "not a number": (np.full((2, 32, 32, 3), np.nan), ["a", "b"], "numbers from nan to nan"),
    "too few labels": (np.zeros((2, 32, 32, 3), np.uint8), ["a"], "one for each of the 2 images"),
    "one class": (np.zeros((2, 32, 32, 3), np.uint8), ["a", "a"], "two classes or more"),
    "float labels": (np.zeros((2, 32, 32, 3), np.uint8), [0.5, 1.5], "texts or integers"),
}


@pytest.mark.parametrize("mistake", BAD_FITS)
def test_a_bad_fit_says_what_is_wrong(mistake, run):
    images, labels, message = BAD_FITS[mistake]
    with pytest.raises(ValueError, match=re.escape(message)):
        FewShotClassifier(run("protonet")).fit(images, labels)


def test_other_mistakes_say_what_is_wrong(run, run_folder, task):
    support, _, queries = task
    with pytest.raises(ValueError, match=r"Next: classifier\.fit"):
        FewShotClassifier(run("protonet")).predict(queries)
    with pytest.raises(ValueError, match=r"there are 2 classes; expected 5, .* --set episode\.n_way=2"):
        FewShotClassifier(run("maml")).fit(support[:2], ["a", "b"])
    with pytest.raises(UserError, match=r"a run of image recognition .*; expected a run of few-shot recognition"):
        FewShotClassifier(run_folder)
    with pytest.raises(UserError, match=r"Next: add --support DIR"):
        prediction.predict(run("protonet"), ["a.png"])


# Command line


def test_command_answers_and_passes_over_what_it_cannot_read(run, task, files, tmp_path, command):
    support, labels, queries = task
    (tmp_path / "bad.png").write_bytes(b"no image")
    images = [files / "0.png", tmp_path / "bad.png", files / "9.png"]
    code, out, err = command("predict", run("protonet"), "--support", files / "support", *images, "--top", 2)
    assert code == 2
    assert err.startswith(f"{tmp_path}/bad.png: cannot be read as an image")
    classifier = FewShotClassifier(run("protonet")).fit(support, labels)
    lines = []
    for path, row in zip((images[0], images[2]), classifier.predict_proba(queries[[0, 9]]), strict=True):
        best = np.argsort(-row)[:2]
        lines.append(f"{path}: " + ", ".join(f"{classifier.classes_[i]} {100 * row[i]:.1f} %" for i in best))
    assert out.splitlines() == lines


def test_command_answers_dark_images(run, files, tmp_path, command):
    Image.fromarray(np.eye(32, dtype=np.uint8)).save(tmp_path / "dark.png")
    code, out, _ = command("predict", run("protonet"), tmp_path / "dark.png", "--support", files / "support")
    assert (code, out.count("\n")) == (0, 1)


def test_mistakes_of_the_command_end_in_a_message(run, run_folder, files, tmp_path, command):
    def said(folder, *words):
        code, _, err = command("predict", folder, files / "0.png", *words)
        assert code == 2
        assert err.count("\n") == 1
        return err

    assert "Next: add --support DIR" in said(run("protonet"))
    assert "Next: leave out --support" in said(run_folder, "--support", files / "support")
    (tmp_path / "two" / "cat").mkdir(parents=True)
    (tmp_path / "two" / "dog").mkdir()
    Image.open(files / "0.png").save(tmp_path / "two" / "cat" / "0.png")
    assert f"{tmp_path}/two/dog: no image" in said(run("protonet"), "--support", tmp_path / "two")
    Image.open(files / "1.png").save(tmp_path / "two" / "dog" / "1.png")
    refusal = said(run("maml_support"), "--support", tmp_path / "two")
    assert refusal.startswith(f"{tmp_path}/two: there are 2 classes; expected 5")


def test_command_merges_the_features_and_sends_maml_to_python(run, task, tmp_path, command):
    code, _, err = command("merge", run("maml"), "--out", tmp_path / "maml.keras")
    assert (code, err.count("\n")) == (2, 1)
    assert f'FewShotClassifier("{run("maml")}").fit(images, labels).merged()' in err
    assert not list(tmp_path.iterdir())
    code, out, _ = command("merge", run("baseline_pp"), "--out", tmp_path / "features.keras")
    assert code == 0
    assert "max |Δfeature|" in out
    features = keras.models.load_model(tmp_path / "features.keras")(task[2].astype(np.float32), training=False)
    expected = features_of(load_run(run("baseline_pp")))(task[2].astype(np.float32), training=False)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)


def test_the_lines_of_the_docs_run(run, task, files, tmp_path, monkeypatch):
    page = (configs.REPOSITORY / "docs/few_shot.md").read_text(encoding="utf-8")
    section = page.split("## Using a trained network on your own images\n")[1].split("\n## ")[0]
    code = "\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL))
    for path, name in {"cifar_fs/5shot_protonet": "protonet", "cifar_fs/5shot_static_dns": "maml"}.items():
        assert code.count(f'"runs/{path}/s0-…"') == 1
        code = code.replace(f'"runs/{path}/s0-…"', repr(str(run(name))))
    for number, name in enumerate(("cat1", "cat2", "dog1", "new")):
        Image.open(files / f"{number}.png").save(tmp_path / f"{name}.jpg")
    monkeypatch.chdir(tmp_path)
    said = []
    exec(code, {"print": said.append, "images": task[0], "labels": task[1]})
    ((label,),) = said
    assert label in ("cat", "dog")
    assert keras.models.load_model("five_classes.keras").output_shape == (None, 5)
