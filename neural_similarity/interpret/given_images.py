"""The images that somebody gives to be looked at: files, Pillow images or arrays.  s height and width in pixels"""

import os
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageOps

from neural_similarity.data.image_files import fill, resized_centre, rgb

_EXPECTED = "a path, a Pillow image, or an array (H, W, 3) of numbers from 0 to 255"


def square_images(images: Sequence, size: int, scaled: Callable = resized_centre) -> np.ndarray:
    """Images as a network takes them.

    Args:
        images: b of them, each a path, a Pillow image, or an array `(H, W, 3)` in RGB from 0 to 255. Grey files get
            three channels.
        size: s.
        scaled: what makes a square of an image, such as `image_files.resized_centre`. An array that has the size
            already stays as it is.

    Returns:
        `(b, s, s, 3)` float32.

    Raises:
        UserError: a file cannot be read as an image.
        ValueError: an image is none of these.
    """
    squares = np.empty((len(images), size, size, 3), np.float32)
    for square, image in zip(squares, images, strict=True):
        square[:] = _square(image, size, scaled)
    return squares


def name_of(image, otherwise: str) -> str:
    """What an image is called: its path, or `otherwise` if it is no file."""
    return os.fspath(image) if isinstance(image, str | os.PathLike) else otherwise


def _square(image, size, scaled):
    if isinstance(image, str | os.PathLike):
        square = np.empty((1, size, size, 3), np.uint8)
        fill(square, [image], scaled)
        return square[0]
    if isinstance(image, Image.Image):
        return np.asarray(scaled(rgb(ImageOps.exif_transpose(image)), size))
    array = _checked(image)
    if array.shape[:2] == (size, size):
        return array
    return np.asarray(scaled(Image.fromarray(np.round(array).astype(np.uint8)), size))


def _checked(image):
    array = np.asarray(image)
    if array.dtype.kind not in "iuf" or array.ndim != 3 or array.shape[-1] != 3 or not array.size:
        is_grey = array.ndim == 2 or array.shape[-1:] == (1,)
        grey = ". Of a grey image, repeat the channel three times" * is_grey
        what = f"an array of the shape {array.shape} and of {array.dtype}"
        raise ValueError(f"an image must be {_EXPECTED}. Received {what}{grey}")
    if not (array.min() >= 0 and array.max() <= 255):  # NaN too
        raise ValueError(f"an image must be {_EXPECTED}. Received numbers from {array.min():g} to {array.max():g}")
    if array.dtype.kind == "f" and 0 < array.max() <= 1:
        raise ValueError(f"an image must be {_EXPECTED}. Received none above 1; an image in 0 to 1 is image * 255 here")
    return array
