"""Checks the images and labels that a caller passes, and reads the images."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neural_similarity.data.image_files import fill, middle_square

# Of all images in a batch: 64 images of 32×32. The largest of our networks then takes half a gigabyte.
_PIXELS_PER_BATCH = 2**16


def images_at_once(size: int) -> int:
    """How many images of `size`×`size` pixels are computed at once."""
    return max(1, _PIXELS_PER_BATCH // size**2)


def checked_images(images, size: int) -> Sequence[str | Path] | np.ndarray:
    """The images as a list of paths or as an array `(m, size, size, 3)`.

    Args:
        images: what was passed.
        size: height and width in pixels that the network takes.

    Raises:
        ValueError: they are neither, or have another shape or other numbers than 0 to 255.
    """
    expected = f"a list of paths, or an array (m, {size}, {size}, 3) of numbers from 0 to 255"
    if isinstance(images, str | os.PathLike):
        raise ValueError(f"`images` must be {expected}. Received one path; for one image pass [{str(images)!r}]")
    if isinstance(images, Sequence) and all(isinstance(image, str | os.PathLike) for image in images):
        return images
    try:
        array = np.asarray(images)
    except ValueError:  # NumPy's message does not name the images
        raise ValueError(f"`images` must be {expected}. Received images of several shapes") from None
    if array.dtype.kind in "UO" and array.ndim == 1 and all(isinstance(path, str | os.PathLike) for path in array):
        return list(array)
    if array.dtype.kind not in "iuf" or array.ndim != 4 or array.shape[1:] != (size, size, 3):
        what = f"an array of the shape {array.shape} and of {array.dtype}"
        one = "; one image is images[None]" if array.shape == (size, size, 3) else ""
        raise ValueError(f"`images` must be {expected}. Received {what}{one}. Files may have any size")
    if array.size and not (array.min() >= 0 and array.max() <= 255):  # NaN too
        raise ValueError(f"`images` must be {expected}. Received numbers from {array.min():g} to {array.max():g}")
    if array.size and array.dtype.kind == "f" and 0 < array.max() <= 1:
        raise ValueError(f"`images` must be {expected}. Received none above 1; images in 0 to 1 are images * 255 here")
    return array


def checked_labels(labels, count: int) -> np.ndarray:
    """The labels as an array `(count,)` of texts or integers.

    Raises:
        ValueError: they are not as many, of another kind, or all the same.
    """
    array = np.asarray(labels)
    if array.shape != (count,):
        raise ValueError(f"`labels` must be one for each of the {count} images. Received the shape {array.shape}")
    texts = array.dtype.kind in "UO" and all(isinstance(label, str) for label in array)
    if not texts and array.dtype.kind not in "iub":
        raise ValueError(f"`labels` must be texts or integers. Received {labels!r}")
    if len(np.unique(array)) < 2:
        raise ValueError(f"`labels` must name two classes or more. Received {np.unique(array).tolist()}")
    return array


def pixels(images, size: int) -> np.ndarray:
    """What `checked_images` returned, as `(m, size, size, 3)` float32; files are read.

    Raises:
        UserError: a file cannot be read.
    """
    if isinstance(images, np.ndarray):
        return images.astype(np.float32)
    read = np.empty((len(images), size, size, 3), np.uint8)
    fill(read, images, middle_square, lambda: None)
    return read.astype(np.float32)
