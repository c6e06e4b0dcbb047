"""Descriptors for structural similarity, from feature maps.  b batch · h, w pixels of the map · r cells · c channels"""

import tensorflow as tf

from neural_similarity.ops.grid import grid_cells
from neural_similarity.ops.wide import at_least_float32

WHOLES = ("map", "cells")


def structural_descriptors(maps, cells=4, whole="map"):
    """Describes each image by 1 + r vectors of length one: the image as a whole, then its r = cells² cells.

    Args:
        maps: `(b, h, w, c)` feature maps.
        cells: the number of cells in height and in width.
        whole: what describes the image as a whole. `"map"`: the mean over the map's pixels, as a network computes it
            whose last layers are global pooling and a linear layer. `"cells"`: the mean over the cells before they get
            length one, as in networks that DIML (Zhao et al., ICCV 2021) trains. The two differ a little, as cells do
            not count all pixels equally. Or a tensor `(b, c)`: the network's own embeddings.

    Returns:
        `(b, 1 + r, c)` in float32 or wider. A vector of zeros stays one.

    Raises:
        ValueError: `whole` is none of these.
    """
    maps = at_least_float32(maps)
    channels = maps.shape[-1]
    local = tf.reshape(grid_cells(maps, cells), (-1, cells * cells, channels))
    if isinstance(whole, str):
        if whole not in WHOLES:
            raise ValueError(f"`whole` must be one of {', '.join(map(repr, WHOLES))}, or a tensor. Received: {whole!r}")
        whole = tf.reduce_mean(maps, (1, 2)) if whole == "map" else tf.reduce_mean(local, 1)
    whole = tf.cast(whole, maps.dtype)
    if whole.shape[-1] != channels:
        raise ValueError(
            f"`whole` must have as many channels as `maps`, as both are compared. Received: {whole.shape[-1]} and "
            f"{channels}"
        )
    return tf.math.l2_normalize(tf.concat([whole[:, None], local], 1), -1, epsilon=1e-12)
