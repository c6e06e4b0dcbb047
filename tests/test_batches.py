"""Batches and augmentation are functions of (seed, step)."""

import numpy as np
import pytest
import tensorflow as tf

from neural_similarity.data import ImageSet
from neural_similarity.data.augment import crop_flip, flip
from neural_similarity.data.batches import evaluation_batches, example_indices, training_batch


def images_of(n, seed=0, size=8):
    rng = np.random.default_rng(seed)
    return ImageSet(rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8), np.arange(n, dtype=np.int32))


def test_every_pass_is_a_permutation_and_batches_run_across_its_end():
    rows = np.concatenate([example_indices(3, step, 4, 10) for step in range(10)])
    assert rows.shape == (40,)
    passes = rows.reshape(4, 10)
    assert all(sorted(one) == list(range(10)) for one in passes)
    assert len({tuple(one) for one in passes}) == 4
    assert not np.array_equal(example_indices(3, 0, 4, 10), example_indices(4, 0, 4, 10))


def test_a_batch_may_be_larger_than_the_set():
    assert sorted(example_indices(0, 0, 10, 5)) == sorted([*range(5)] * 2)
    images = images_of(3)
    batches = [training_batch(images, 0, 8, "none")(tf.constant(step, tf.int64)) for step in range(3)]
    assert [batch[0].shape for batch in batches] == [(8, 8, 8, 3)] * 3
    labels = np.concatenate([batch[1] for batch in batches])
    assert np.bincount(labels).tolist() == [8, 8, 8]
    (_, shown, counted), *more = evaluation_batches(images, 8)
    assert not more
    np.testing.assert_array_equal(shown.numpy()[counted.numpy() > 0], [0, 1, 2])


@pytest.mark.parametrize("augmentation", ["none", "flip", "crop_flip"])
def test_a_batch_depends_on_seed_and_step_alone(augmentation):
    images = images_of(20)
    batch = training_batch(images, 1, 6, augmentation)
    late = [batch(tf.constant(step, tf.int64)) for step in (7, 3)][1]  # a later step first
    piped = next(iter(tf.data.Dataset.range(3, 9).map(batch)))
    for one, other in zip(late, piped, strict=True):
        np.testing.assert_array_equal(one, other)
    assert piped[0].dtype == tf.float32
    assert piped[0].shape == (6, 8, 8, 3)
    np.testing.assert_array_equal(piped[1], example_indices(1, 3, 6, 20))  # labels are row numbers here
    other_seed = training_batch(images, 2, 6, augmentation)(tf.constant(3, tf.int64))
    assert not np.array_equal(other_seed[0], late[0])
    if augmentation == "none":
        np.testing.assert_array_equal(late[0], images.images[late[1].numpy()])


def test_crop_flip_is_a_crop_of_the_padded_image_flipped_or_not():
    images = images_of(64).images
    out = crop_flip(tf.constant(images), 5, tf.constant(11, tf.int64), pad=2).numpy()
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="symmetric")
    seen = []
    for image, around in zip(out, padded, strict=True):
        crops = {
            (top, left, flip): around[top : top + 8, left : left + 8][:, :: -1 if flip else 1]
            for top in range(5)
            for left in range(5)
            for flip in (False, True)
        }
        fits = [key for key, crop in crops.items() if np.array_equal(crop, image)]
        assert len(fits) == 1
        seen += fits
    tops, lefts, flips = zip(*seen, strict=True)
    assert set(tops) == set(lefts) == set(range(5))
    assert 16 < sum(flips) < 48
    assert len(set(seen)) > 25


def test_flip_mirrors_about_half_of_the_images():
    images = images_of(64).images
    out = flip(tf.constant(images), 5, tf.constant(11, tf.int64)).numpy()
    mirrored = np.array([np.array_equal(one, image[:, ::-1]) for one, image in zip(out, images, strict=True)])
    kept = np.array([np.array_equal(one, image) for one, image in zip(out, images, strict=True)])
    np.testing.assert_array_equal(mirrored, ~kept)
    assert 16 < mirrored.sum() < 48
    again = [flip(tf.constant(images), 5, tf.constant(step, tf.int64)).numpy() for step in (11, 12)]
    np.testing.assert_array_equal(again[0], out)
    assert np.any(again[1] != out)


@pytest.mark.parametrize("size", [8, 16, 24, 64])
def test_crop_flip_at_every_size(size):
    image = images_of(1, size=size).images
    around = np.pad(image[0], ((4, 4), (4, 4), (0, 0)), mode="symmetric")
    crops = [around[top : top + size, left : left + size] for top in range(9) for left in range(9)]
    crops = {crop.tobytes() for one in crops for crop in (one, one[:, ::-1])}
    out = crop_flip(tf.constant(np.repeat(image, 16, 0)), 0, tf.constant(0, tf.int64)).numpy()
    assert out.shape == (16, size, size, 3)
    assert {crop.tobytes() for crop in out} <= crops


def test_crop_flip_draws_anew_at_every_step():
    image = tf.constant(images_of(1).images)
    out = {crop_flip(image, 0, tf.constant(step, tf.int64)).numpy().tobytes() for step in range(6)}
    assert len(out) > 3


def test_evaluation_counts_every_image_once():
    images = images_of(10)
    batches = list(evaluation_batches(images, 4))
    assert [batch[0].shape[0] for batch in batches] == [4, 4, 4]
    counted = np.concatenate([labels.numpy()[weights.numpy() > 0] for _, labels, weights in batches])
    np.testing.assert_array_equal(counted, np.arange(10))
