"""Checksums of images, wherever they are, and of weights."""

import zlib

import numpy as np


def crc_of_images(images, rows=slice(None), crc: int = 0) -> int:
    """Continues a CRC-32 with images.

    Args:
        images: `(n, h, w, 3)`: an array, of which the pixels count; or `streamed.ImageFiles`, of which the files' names
            and sizes in bytes count, so that nothing is read.
        rows: the indices of the images that count, in this order.
        crc: the CRC-32 so far.
    """
    if is_streamed(images):
        return zlib.crc32(images.fingerprint(rows), crc)
    return zlib.crc32(np.ascontiguousarray(images[rows]), crc)


def crc_of_weights(model, crc: int = 0) -> int:
    """Continues a CRC-32 with all variables of a Keras model, in their order."""
    for variable in model.variables:
        crc = zlib.crc32(np.ascontiguousarray(variable.numpy()), crc)
    return crc


def is_streamed(images) -> bool:
    """Whether images stay in their files until they are chosen, as those of `streamed.ImageFiles`."""
    return hasattr(images, "fingerprint")
