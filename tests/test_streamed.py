"""Images that are read from their files when they are chosen: the same pixels, nothing read before, mistakes told."""

import shutil
import subprocess
import sys
import threading
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_retrieval as tiny
from pictures import pixels, save, save_set
from PIL import Image
from run_checks import without_times
from small_tasks import one_replica

from neural_similarity import data
from neural_similarity.config import REPOSITORY
from neural_similarity.data import batches, class_folder_sets, episodes, image_files, streamed
from neural_similarity.data.balanced import balanced_rows
from neural_similarity.data.image_files import middle_square, read_image
from neural_similarity.data.retrieval_batches import training_batch
from neural_similarity.data.retrieval_sets import load_retrieval_set
from neural_similarity.data.streamed import ImageFiles
from neural_similarity.errors import UserError, mistake_in, remembered
from neural_similarity.training import loop
from neural_similarity.training.checkpoints import Checkpoints
from neural_similarity.training.runs import Run


@pytest.fixture
def files(tmp_path):
    paths = [save(tmp_path / f"{i}.png", pixels(10 + i, 12, seed=i)) for i in range(5)]
    return ImageFiles(paths, 8, middle_square, tmp_path)


@pytest.fixture
def small_memory(monkeypatch):
    """Every set is too large for the memory."""
    monkeypatch.setattr(streamed, "MOST_BYTES_IN_MEMORY", 0)


# Like an array


def test_files_are_indexed_as_an_array_is(files):
    whole = np.stack([read_image(path, 8) for path in files.paths])
    assert (files.shape, len(files)) == (whole.shape, 5)
    for indices in (
        *(np.array([3, 0, 3]), np.array([[1, 2], [4, 0]]), slice(1, 4), slice(None), 2, -1, [4, 1], np.array([], int)),
        np.array([True, False, True, False, False]),
    ):
        np.testing.assert_array_equal(files[indices], whole[indices])
        assert files[indices].dtype == np.uint8
    with pytest.raises(IndexError):
        files[5]
    assert files.names == tuple(f"{i}.png" for i in range(5))


def test_the_limit_is_in_bytes_of_pixels(files, monkeypatch):
    paths = {"train": files.paths[:3], "test": files.paths[3:]}
    monkeypatch.setattr(streamed, "MOST_BYTES_IN_MEMORY", 5 * 8 * 8 * 3)
    assert all(isinstance(images, np.ndarray) for images in streamed.read_or_stream(paths, 8, files.root).values())
    monkeypatch.setattr(streamed, "MOST_BYTES_IN_MEMORY", 5 * 8 * 8 * 3 - 1)
    assert all(isinstance(images, ImageFiles) for images in streamed.read_or_stream(paths, 8, files.root).values())


def test_several_readers_at_once_leave_pillow_as_it_was(files):
    """An evaluation reads while the next batch is prepared."""
    before, limit = list(warnings.filters), Image.MAX_IMAGE_PIXELS
    threads = [threading.Thread(target=lambda: [files[:] for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (warnings.filters, Image.MAX_IMAGE_PIXELS) == (before, limit)
    assert image_files._readers == 0


# The folders of the other families


def test_image_recognition_on_a_large_folder(small_memory, tmp_path, monkeypatch, logged):
    root = save_set(tmp_path / "set", splits=("train", "val", "test"), size=12)
    with monkeypatch.context() as patch:
        patch.setattr(streamed, "MOST_BYTES_IN_MEMORY", 10**9)
        expected = data.load("folder", root, image_size=8)
    assert logged.messages == []
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", None)  # neither to load nor to know it again
        splits = data.load("folder", root, image_size=8)
        facts = splits.facts()
    assert logged.messages == [
        f"{root}: the images are too many for the memory, so that each is read from its file whenever it is needed; "
        "nobody looked for copies among them"
    ]
    batch, other = (batches.training_batch(s.train, 0, 5, "crop_flip") for s in (splits, expected))
    for one, two in zip(batch(tf.constant(3, tf.int64)), other(tf.constant(3, tf.int64)), strict=True):
        np.testing.assert_array_equal(one, two)
    for split, part in splits.parts().items():
        found, wanted = (list(batches.evaluation_batches(p, 5)) for p in (part, expected.parts()[split]))
        for one, two in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one[0], two[0])
    assert facts["classes"] == expected.facts()["classes"]
    root.rename(tmp_path / "moved")
    moved = data.load("folder", tmp_path / "moved", image_size=8)
    assert moved.facts() == facts
    save(tmp_path / "moved" / "test" / "cat" / "0.png", pixels(12, 13))
    assert moved.facts()["data_checksum"] != facts["data_checksum"]


def test_few_shot_recognition_on_a_large_folder(small_memory, tmp_path, monkeypatch, logged):
    root = save_set(tmp_path, ("ant", "bee", "cat", "dog"), ("mine",), images=3, size=12) / "mine"
    with monkeypatch.context() as patch:
        patch.setattr(streamed, "MOST_BYTES_IN_MEMORY", 10**9)
        expected = class_folder_sets.load_class_folder(root, 8, (0.5, 0, 0.5), 0)
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", None)
        splits = class_folder_sets.load_class_folder(root, 8, (0.5, 0, 0.5), 0)
        facts = splits.facts()
    assert "too many for the memory" in logged.messages[-1]
    assert facts["train_classes"] == expected.facts()["train_classes"]
    step = tf.constant(2, tf.int64)
    one, two = (episodes.training_episodes(s.train, 0, 2, 2, 3, "flip")(step) for s in (splits, expected))
    np.testing.assert_array_equal(one, two)
    one, two = (s.test.image_set() for s in (splits, expected))
    np.testing.assert_array_equal(one.images[np.array([5, 0])], two.images[np.array([5, 0])])


OWN = ["data.name=folder", "data.image_size=8", "model.widths=[2, 3, 4]", "data.global_batch_size=6"]
OWN += ["schedule.train_steps=4", "evaluation.every_steps=4", "schedule.warmup_steps=0", "data.augmentation=none"]


def test_a_run_on_a_large_folder_stops_at_a_damaged_image(tmp_path):
    """As a program, since TensorFlow has a log of its own, in which nothing may stand."""
    root = save_set(tmp_path / "set", size=12)
    words = [word for text in [*OWN, f"data.root={root}"] for word in ("--set", text)]
    bad = root / "train" / "cat" / "2.png"
    bad.write_bytes(bad.read_bytes()[:300])
    program = "import runpy; from neural_similarity.data import streamed; streamed.MOST_BYTES_IN_MEMORY = 0; "
    program += "runpy.run_path('nsl_image_recog/baseline/train.py', run_name='__main__')"
    words += ["--run-dir", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-c", program, *words], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{bad}: cannot be read as an image (")
    assert line.endswith("--resume goes on with the same set, and --run-dir DIR begins anew with another.")
    assert Run(tmp_path / "run").checkpoints.steps() == [0]


# In the training loop


def loop_on(part, folder, steps, seed=0):
    """A `Loop` that trains a linear layer on the mean colours of the images of two classes."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="head")], name="network")
    optimizer = keras.optimizers.SGD(1e-4, name="sgd")
    optimizer.build(model.trainable_variables)

    def loss(batch):
        images, labels = batch
        logits = model(tf.reduce_mean(images, (1, 2)))
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)), {}

    task = loop.Task(
        model=model,
        optimizer=optimizer,
        batch=training_batch(part, seed, 2, 1, False, "resized_crop"),
        step=loop.gradient_step(model, optimizer, loss),
        evaluate=lambda: {"test": {"accuracy": float(np.mean(part.read(np.array([0])))) / 255}},
        scores=("accuracy",),
    )
    made = loop.Loop(
        task,
        one_replica(),
        Checkpoints(folder / "checkpoints"),
        folder,
        train_steps=steps,
        evaluate_every_steps=4,
        checkpoint_every_minutes=60,
        check_place=lambda: None,
    )
    made.restore()
    return made


def test_a_damaged_image_in_the_middle_of_training(tmp_path):
    """What was saved stays, and when the file is whole again the run goes on as if it had always been."""
    root = save_set(tmp_path, ("ant", "bee", "cat"), ("mine",), images=8, size=16) / "mine"
    (root / "lists.yaml").write_text("{train: [ant, bee], test: [cat]}")
    part = load_retrieval_set("folder", root, 14, class_splits="lists.yaml").train
    folders = [tmp_path / name for name in ("whole", "stopped")]
    for folder in folders:
        folder.mkdir()
    expected = loop_on(part, folders[0], 20).run()
    rows = np.stack([balanced_rows(part.rows, 0, step, 2, 1, False) for step in range(20)])
    firsts = {row: int(np.argmax(np.any(rows == row, 1))) for row in np.unique(rows)}  # its first step of each image
    row, at = next((row, step) for row, step in firsts.items() if step > 4 and step % 4 == 2)
    bad = part.images.paths[row]
    content = bad.read_bytes()
    bad.write_bytes(content[:-100])
    stopped = loop_on(part, folders[1], 20)
    with pytest.raises(UserError) as error:
        stopped.run()
    assert stopped.step == at  # every step before was made
    assert str(error.value).startswith(f"{bad}: cannot be read as an image (image file is truncated")
    assert "\n" not in str(error.value)
    assert error.value.__suppress_context__
    saved = Checkpoints(folders[1] / "checkpoints").steps()
    assert saved == [at - 2]
    bad.write_bytes(content)
    rows = loop_on(part, folders[1], 20).run()
    assert without_times(rows) == without_times(expected)


def test_a_file_that_is_gone_and_one_that_may_not_be_read(monkeypatch, tmp_path):
    tiny.use_tiny(monkeypatch, tmp_path)
    tiny.write_birds(tmp_path)
    splits = load_retrieval_set("cub200", tmp_path, 14)
    shutil.rmtree(tmp_path / "CUB_200_2011")
    batch = training_batch(splits.train, 0, 2, 2, True, "resized_crop")
    with pytest.raises(UserError, match=r"Auklet_\d.jpg: no such file|Albatross_\d.jpg: no such file"):
        list(loop.batches(batch, 0, 3))
    with pytest.raises(UserError, match=r"Albatross_0.jpg: no such file"):
        splits.facts()


def test_other_errors_of_a_batch_stay_what_they_are():
    def batch(step):
        return tf.numpy_function(remembered(lambda _: 1 / 0), [step], tf.int64)

    with pytest.raises(tf.errors.OpError, match="ZeroDivisionError"):
        list(loop.batches(batch, 0, 3))


def test_the_longest_message_is_the_mistake():
    def fail(text):
        raise UserError(text)

    for text in ("a: damaged", "a: damaged, and b too"):
        with pytest.raises(UserError):
            remembered(fail)(text)
    assert mistake_in(ValueError("in a thread: a: damaged, and b too\n  File x")) == "a: damaged, and b too"
    assert mistake_in(ValueError("in a thread: a: damaged\n  File x")) == "a: damaged"
    assert mistake_in(ValueError("something else")) is None
