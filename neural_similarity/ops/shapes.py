"""The sizes of a tensor, known or not."""

import tensorflow as tf


def dimensions(x):
    """The sizes of a tensor: integers where they are known, scalar tensors elsewhere."""
    known, shape = x.shape.as_list(), tf.shape(x)
    return [shape[axis] if size is None else size for axis, size in enumerate(known)]
