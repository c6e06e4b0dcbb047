"""All images of a set in their order, read ahead of what is computed from them.  b images of a block"""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from neural_similarity.data.retrieval_splits import RetrievalPart
from neural_similarity.errors import UserError, mistake_in, remembered


def in_order(part: RetrievalPart, block_size: int) -> Iterator[tf.Tensor]:
    """Yields the images in blocks of one size. Two blocks are read while the one before them is computed.

    Args:
        part: the images.
        block_size: b. The last block is filled up with copies of the last image, which are not to be used.

    Yields:
        `(b, s, s, 3)` uint8.

    Raises:
        UserError: an image cannot be read.
    """

    def read(start):
        return part.read(np.minimum(np.arange(start, start + block_size), len(part) - 1))

    def block(start):
        images = tf.numpy_function(remembered(read), [start], tf.uint8, stateful=False)
        return tf.ensure_shape(images, (block_size, *part.images.shape[1:]))

    try:
        yield from tf.data.Dataset.range(0, len(part), block_size).map(block).prefetch(2)
    except tf.errors.OpError as error:
        mistake = mistake_in(error)
        if mistake is None:
            raise
        raise UserError(mistake) from None
