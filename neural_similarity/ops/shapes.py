"""The sizes of a tensor, whether they are known when the graph is made or not."""

import tensorflow as tf


def dimensions(x):
    """The size of `x` along each axis: an integer where it is known, a scalar int32 tensor where it is not."""
    known, shape = x.shape.as_list(), tf.shape(x)
    return [shape[axis] if size is None else size for axis, size in enumerate(known)]
