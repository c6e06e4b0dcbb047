"""Random crops and flips of training images, a whole batch at once. The same (seed, step) gives the same draws."""

import tensorflow as tf


def flip(images, seed, step):
    """Mirrors each image with probability 1/2, left to right, as the released code does.

    Args and result are those of `crop_flip`.
    """
    _, flip_key = _keys(seed, step)
    chosen = tf.random.stateless_uniform((images.shape[0], 1, 1, 1), flip_key) < 0.5
    return tf.where(chosen, images[:, :, ::-1], images)


def crop_flip(images, seed, step, pad=4):
    """Pads each image, cuts a random window of its own size out of it, and mirrors it with probability 1/2.

    The padding repeats the border mirror-wise. The released code does the same.

    Args:
        images: `(b, h, w, c)`, any dtype.
        seed: an integer; the same (seed, step) gives the same pixels.
        step: a scalar integer tensor.
        pad: pixels of padding on every side.

    Returns:
        `(b, h, w, c)` of the same dtype.
    """
    b, h, w, _ = images.shape
    crop_key, flip_key = _keys(seed, step)
    padded = tf.pad(images, [(0, 0), (pad, pad), (pad, pad), (0, 0)], mode="SYMMETRIC")
    top, left = tf.unstack(tf.random.stateless_uniform((2, b), crop_key, maxval=2 * pad + 1, dtype=tf.int32))
    columns = left[:, None] + tf.range(w)
    mirrored = tf.random.stateless_uniform((b, 1), flip_key) < 0.5
    columns = tf.where(mirrored, columns[:, ::-1], columns)  # to flip is to gather from right to left
    rows = tf.gather(padded, top[:, None] + tf.range(h), axis=1, batch_dims=1)
    return tf.gather(rows, columns, axis=2, batch_dims=1)


def _keys(seed, step):
    """Two keys for random draws: one for the crop, one for the flip."""
    key = tf.random.experimental.stateless_fold_in(tf.constant([seed, 0], tf.int64), tf.cast(step, tf.int64))
    return tf.unstack(tf.random.experimental.stateless_split(key, 2))


# name in the configs → what it does to a batch
AUGMENTATIONS = {"none": lambda images, seed, step: images, "flip": flip, "crop_flip": crop_flip}
