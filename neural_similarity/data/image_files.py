"""Reads image files as square RGB images. Training and `predict` both read here, so that they see the same pixels."""

import contextlib
import math
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from neural_similarity.errors import UserError

_MOST_THREADS = 8  # each holds a photo in full size


def read_image(path: str | Path, size: int) -> np.ndarray:
    """Reads an image as a network takes it.

    - A photo is turned upright, as its EXIF orientation says.
    - Grey gets three equal channels.
    - Alpha is dropped: a transparent pixel gets the colour that is stored for it.
    - The largest square in the middle of the image, 480×480 of 640×480 pixels, is scaled to `size`×`size`, bilinearly
      and with antialiasing. An image that has this size already keeps its pixels.

    Args:
        path: the file.
        size: height and width of the result, in pixels.

    Returns:
        `(size, size, 3)` uint8.

    Raises:
        UserError: there is no such file, or no image in it that Pillow can read whole.
    """
    with _no_warnings():
        return _read(path, size)


def read_images(paths, size, title):
    """Reads many images as `read_image` does, in several threads.

    Args:
        paths: the files.
        size: height and width in pixels.
        title: what the images are called in messages, and in the progress bar that a terminal shows.

    Returns:
        `(len(paths), size, size, 3)` uint8, in the order of `paths`.

    Raises:
        UserError: an image cannot be read (the message is about the first such image), or they do not fit into memory.
    """
    shape = (len(paths), size, size, 3)
    try:
        images = np.empty(shape, np.uint8)
    except MemoryError:
        gigabytes = math.prod(shape) / 1e9  # a pixel takes 3 bytes
        raise UserError(
            f"{title}: {len(paths):,} images of {size}×{size} pixels need {gigabytes:,.1f} GB of memory, more than "
            "there is. Next: a smaller --set data.image_size=…"
        ) from None

    def read(i):
        try:
            images[i] = _read(paths[i], size)
        except UserError as error:
            raise UserError(f"{error} Expected a whole image. Next: replace it or delete it") from error

    pool = ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1))  # Pillow decodes without Python's lock
    try:
        with _no_warnings():
            reading = pool.map(read, range(len(paths)))
            hidden = not (sys.stderr and sys.stderr.isatty())
            for _ in tqdm(reading, title, len(paths), unit="image", disable=hidden):
                pass
    finally:
        pool.shutdown(cancel_futures=True)
    return images


@contextlib.contextmanager
def _no_warnings():
    """Silences the warnings of Pillow: that an image is large, and that its alpha is dropped.

    This changes the state of the whole process, so that it must be entered outside of the threads.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _read(path, size):
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: {'a folder, not an image' if path.is_dir() else 'no such file'}.")
    try:
        with Image.open(path) as file:
            image = _eight_bits(ImageOps.exif_transpose(file)).convert("RGB")
            return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR))
    except Exception as error:  # every format breaks in its own way
        raise UserError(f"{path}: cannot be read as an image ({error}).") from error


def _eight_bits(image):
    """Scales grey levels of 16 bits to 8 bits; other images are returned as they are.

    Pillow's own conversion would make every level above 255 white. It would do the same to levels of 32 bits, whose
    range is unknown, so they are refused.
    """
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("32 bits per pixel, and their range is unknown; save it with 8 bits")
    return image
