"""Class-balanced batches and random crops are functions of (seed, step)."""

import collections
import math

import numpy as np
import pytest
import tensorflow as tf
import tiny_retrieval as tiny
from pictures import pixels
from PIL import Image

from neural_similarity.data import augment
from neural_similarity.data.balanced import balanced_rows
from neural_similarity.data.random_crops import crop_box, resized_crops
from neural_similarity.data.retrieval_batches import training_batch
from neural_similarity.data.retrieval_sets import load_retrieval_set
from neural_similarity.data.retrieval_splits import RetrievalPart
from neural_similarity.errors import UserError

ROWS = tuple(np.split(np.arange(100), [2, 5, 9, 14, 40, 60, 61]))  # classes of 2, 3, 4, 5, 26, 20, 1 and 39 images


def in_memory(classes=6, images=4, size=8):
    labels = np.repeat(np.arange(classes, dtype=np.int32), images)
    array = np.random.default_rng(0).integers(0, 256, (len(labels), size, size, 3), np.uint8)
    return RetrievalPart(array, labels, tuple("abcdefghij"[:classes]), tuple(map(str, range(len(labels)))))


@pytest.fixture
def in_files(monkeypatch, tmp_path):
    tiny.use_tiny(monkeypatch, tmp_path)
    tiny.write_birds(tmp_path)
    return load_retrieval_set("cub200", tmp_path, 14).train


def at(batch, step):
    return [part.numpy() for part in batch(tf.constant(step, tf.int64))]


# Which images


def test_without_replacement_all_is_different_as_far_as_it_goes():
    chosen_classes = collections.Counter()
    label_of = np.repeat(np.arange(len(ROWS)), list(map(len, ROWS)))
    for step in range(300):
        chosen = balanced_rows(ROWS, 0, step, 5, 4, with_replacement=False).reshape(5, 4)
        labels = label_of[chosen]
        assert np.all(labels == labels[:, :1])
        assert len(set(labels[:, 0])) == 5
        chosen_classes.update(labels[:, 0].tolist())
        for label, images in zip(labels[:, 0], chosen, strict=True):
            size = len(ROWS[label])
            assert len(set(images)) == min(size, 4)
            np.testing.assert_array_equal(images[size:], images[: max(4 - size, 0)])  # begins again
    assert min(chosen_classes.values()) > 300 * 5 / 8 * 0.8
    assert len({tuple(balanced_rows(ROWS, 0, s, 8, 1, False).tolist()) for s in range(50)}) == 50


def test_with_replacement_every_draw_is_its_own():
    """The classes are drawn uniformly whatever their size, and so are the images of a class."""
    label_of = np.repeat(np.arange(len(ROWS)), list(map(len, ROWS)))
    chosen = np.stack([balanced_rows(ROWS, 3, step, 8, 2, True).reshape(8, 2) for step in range(1000)])
    labels = label_of[chosen]
    assert np.all(labels[..., 0] == labels[..., 1])
    shares = np.bincount(labels[..., 0].ravel(), minlength=8) / labels[..., 0].size
    assert np.abs(shares - 1 / 8).max() < 0.015
    pairs = chosen[labels[..., 0] == 2]  # of a class with four images
    assert np.mean(pairs[:, 0] == pairs[:, 1]) == pytest.approx(1 / 4, abs=0.05)
    assert np.abs(np.bincount(pairs.ravel() - 5) / pairs.size - 1 / 4).max() < 0.03
    assert np.mean([len(set(row)) < 8 for row in labels[..., 0].tolist()]) > 0.99  # some class comes twice


@pytest.mark.parametrize("with_replacement", [True, False])
def test_rows_depend_on_seed_and_step_alone(with_replacement):
    def rows(seed, step):
        return balanced_rows(ROWS, seed, step, 8, 3, with_replacement).tolist()

    assert rows(0, 5) == rows(0, 5)
    assert len({tuple(rows(seed, step)) for seed in range(5) for step in range(5)}) == 25


# Crops


def slow_box(width, height, draws):
    """The crop by exact areas and ratios, one try after the other; whole pixels."""
    for share, ratio, down, along in draws:
        area = (0.08 + 0.92 * share) * width * height
        ratio = (3 / 4) ** (1 - ratio) * (4 / 3) ** ratio
        w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if 1 <= w <= width and 1 <= h <= height:
            return math.floor(along * (width - w + 1)), math.floor(down * (height - h + 1)), w, h
    return None


@pytest.mark.parametrize(("width", "height"), [(500, 375), (375, 500), (224, 224), (60, 300), (3, 2)])
def test_crops_are_as_slow_ones_and_inside(width, height):
    draws = np.random.default_rng(0).random((400, 10, 4))
    boxes = [crop_box(width, height, draw) for draw in draws]
    for box, draw in zip(boxes, draws, strict=True):
        left, top, right, bottom = box
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        expected = slow_box(width, height, draw)
        if expected:
            assert (left, top, right - left, bottom - top) == expected
    if (width, height) == (500, 375):
        areas = np.array([(right - left) * (bottom - top) for left, top, right, bottom in boxes]) / (500 * 375)
        ratios = np.log([(right - left) / (bottom - top) for left, top, right, bottom in boxes])
        assert 0.075 < areas.min() < 0.1
        assert areas.max() > 0.95
        assert np.abs(ratios).max() < math.log(4 / 3) + 0.01
        lefts, tops = ({box[i] for box in boxes} for i in (0, 1))
        assert len(lefts) > 100
        assert len(tops) > 100
        assert {box[2] for box in boxes} >= {500}


@pytest.mark.parametrize(
    ("width", "height", "box"),
    [
        (600, 60, (260, 0, 340, 60)),
        (60, 600, (0, 260, 60, 340)),
        (700, 1, (349, 0, 350, 1)),
        (1, 700, (0, 349, 1, 350)),
        (40, 36, (0, 0, 40, 36)),
    ],
)
def test_where_no_try_fits_the_middle_is_taken(width, height, box):
    draws = np.tile([1.0, 0.5, 0.5, 0.5], (10, 1))  # the whole area as a square
    assert crop_box(width, height, draws) == box


def test_a_later_try_counts_if_the_first_do_not_fit():
    draws = np.array([[0.99, 0.99, 0.5, 0.5], [0.0, 0.5, 0.0, 0.999]])
    assert crop_box(100, 100, draws) == (72, 0, 100, 28)


def test_a_crop_is_cut_out_scaled_and_mirrored_or_not():
    image = Image.fromarray(pixels(50, 70))
    seen = collections.Counter()
    crops = resized_crops(7, 3, 64)
    draws = [crop.keywords["draws"] for crop in crops]
    for crop, draw in zip(crops, draws, strict=True):
        part = image.crop(crop_box(70, 50, draw)).resize((16, 16), Image.Resampling.BILINEAR)
        found = np.asarray(crop(image, 16))
        kinds = {"as it is": np.asarray(part), "mirrored": np.asarray(part)[:, ::-1]}
        seen.update([kind for kind, expected in kinds.items() if np.array_equal(found, expected)])
    assert sum(seen.values()) == 64
    assert 16 < seen["mirrored"] < 48
    assert len({draw.tobytes() for draw in draws}) == 64  # every image has its own


# Batches


@pytest.mark.parametrize("with_replacement", [True, False])
@pytest.mark.parametrize("augmentation", ["none", "resized_crop"])
def test_a_batch_of_files_depends_on_seed_and_step_alone(in_files, augmentation, with_replacement):
    batch = training_batch(in_files, 1, 2, 3, with_replacement, augmentation)
    late, _ = at(batch, 9), at(batch, 2)
    piped = list(tf.data.Dataset.range(7, 12).map(batch))[2]
    for one, other in zip(late, piped, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (piped[0].shape, piped[0].dtype) == ((6, 14, 14, 3), tf.float32)
    assert (piped[1].shape, piped[1].dtype) == ((6,), tf.int32)
    other_seed = at(training_batch(in_files, 2, 2, 3, with_replacement, augmentation), 9)
    assert not np.array_equal(other_seed[0], late[0])
    chosen = balanced_rows(in_files.rows, 1, 9, 2, 3, with_replacement)
    np.testing.assert_array_equal(late[1], in_files.labels[chosen])
    if augmentation == "none":
        np.testing.assert_array_equal(late[0], in_files.read(chosen))
    else:
        for row, crop, image in zip(chosen, resized_crops(1, 9, 6), late[0], strict=True):
            np.testing.assert_array_equal(image, np.asarray(crop(Image.open(in_files.images.paths[row]), 14)))
    own = slice(2, 4)  # the part of one of three workers
    images, labels = at(training_batch(in_files, 1, 2, 3, with_replacement, augmentation, own), 9)
    np.testing.assert_array_equal(images[own], late[0][own])
    np.testing.assert_array_equal(labels, late[1])
    assert not images[:2].any()
    assert not images[4:].any()


@pytest.mark.parametrize("augmentation", ["none", "flip", "crop_flip"])
def test_a_batch_in_memory_is_augmented_as_elsewhere(augmentation):
    part = in_memory()
    batch = training_batch(part, 4, 3, 2, False, augmentation)
    images, labels = at(batch, 5)
    chosen = balanced_rows(part.rows, 4, 5, 3, 2, False)
    expected = augment.AUGMENTATIONS[augmentation](tf.constant(part.images[chosen]), 4, tf.constant(5, tf.int64))
    np.testing.assert_array_equal(images, expected)
    np.testing.assert_array_equal(labels, part.labels[chosen])
    piped = next(iter(tf.data.Dataset.range(5, 6).map(batch)))
    np.testing.assert_array_equal(images, piped[0])
    assert piped[0].shape == (6, 8, 8, 3)


def test_what_does_not_fit_is_refused(in_files):
    with pytest.raises(UserError, match=r"'flip', and the images are read from their files; expected none or resized_"):
        training_batch(in_files, 0, 2, 2, False, "flip")
    with pytest.raises(
        UserError, match=r"'resized_crop', and the images have one small size; expected none or flip or"
    ):
        training_batch(in_memory(), 0, 2, 2, False, "resized_crop")
    with pytest.raises(
        UserError, match=r"`data.classes_per_batch` is 7, and the split `train` has 6 classes; expected"
    ):
        training_batch(in_memory(), 0, 7, 2, False, "none")
    assert at(training_batch(in_memory(), 0, 7, 2, True, "none"), 0)[1].shape == (14,)
