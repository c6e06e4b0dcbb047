"""Descriptors for structural similarity, from feature maps.  b batch · h, w pixels of the map · r cells · c channels"""

import tensorflow as tf

from neural_similarity.ops.grid import grid_cells
from neural_similarity.ops.wide import at_least_float32

WHOLES = ("map", "cells")


def pooled_map(maps, cells=4):
    """The mean of each feature map over its pixels, and then the means over its r = cells² cells.

    It is all that structural similarity needs of a map. As a linear layer commutes with means, it may be computed
    before a projection as well as after it.

    Args:
        maps: `(b, h, w, c)`.
        cells: the number of cells in height and in width.

    Returns:
        `(b, 1 + r, c)` in float32 or wider.
    """
    maps = at_least_float32(maps)
    local = tf.reshape(grid_cells(maps, cells), (-1, cells * cells, maps.shape[-1]))
    return tf.concat([tf.reduce_mean(maps, (1, 2))[:, None], local], 1)


def structural_descriptors(maps, cells=4, whole="map"):
    """Describes each image by 1 + r vectors of length one: the image as a whole, then its r = cells² cells.

    Args:
        maps: `(b, h, w, c)` feature maps, or what `pooled_map` made of them.
        cells: the number of cells in height and in width; a pooled map has its own.
        whole: what describes the image as a whole. `"map"`: the mean over the map's pixels, as a network computes it
            whose last layers are global pooling and a linear layer. `"cells"`: the mean over the cells before they get
            length one, as in networks that DIML (Zhao et al., ICCV 2021) trains. The two differ a little, as cells do
            not count all pixels equally. Or a tensor `(b, c)`: the network's own embeddings.

    Returns:
        `(b, 1 + r, c)` in float32 or wider. A vector of zeros stays one.

    Raises:
        ValueError: `whole` is none of these.
    """
    pooled = pooled_map(maps, cells) if len(maps.shape) == 4 else at_least_float32(maps)
    if isinstance(whole, str):
        if whole not in WHOLES:
            raise ValueError(f"`whole` must be one of {', '.join(map(repr, WHOLES))}, or a tensor. Received: {whole!r}")
        first = pooled[:, :1] if whole == "map" else tf.reduce_mean(pooled[:, 1:], 1, keepdims=True)
    else:
        first = tf.cast(whole, pooled.dtype)[:, None]
    if first.shape[-1] != pooled.shape[-1]:
        raise ValueError(
            f"`whole` must have as many channels as `maps`, as both are compared. Received: {first.shape[-1]} and "
            f"{pooled.shape[-1]}"
        )
    return tf.math.l2_normalize(tf.concat([first, pooled[:, 1:]], 1), -1, epsilon=1e-12)
