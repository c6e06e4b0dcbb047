"""Images from files: upright, RGB, square. Training and `predict` both read here, so that they see the same pixels."""

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


def read_image(path, size):
    """Reads an image as a network takes it.

    It is turned upright by its EXIF orientation. Alpha is dropped, so that a transparent pixel has the colour stored
    beneath; grey gets three equal channels. The shorter side is scaled to `size`, bilinearly and with antialiasing, and
    the longer one cropped to it about the centre; an image of that very size keeps its pixels.

    Returns:
        `(size, size, 3)` uint8.

    Raises:
        UserError: there is no such file, or no image in it that Pillow can read whole.
    """
    with _no_warnings():
        return _read(path, size)


def read_images(paths, size, title):
    """Reads a set's images as `read_image` does, with several threads and, on a terminal, a bar that says `title`.

    Returns:
        `(len(paths), size, size, 3)` uint8, in the order of `paths`.

    Raises:
        UserError: the first that cannot be read; or there is not enough memory for all.
    """
    shape = (len(paths), size, size, 3)
    try:
        images = np.empty(shape, np.uint8)
    except MemoryError:
        raise UserError(
            f"{title}: {len(paths):,} images of {size}×{size} pixels need {math.prod(shape) / 1e9:,.1f} GB (3 bytes a "
            "pixel), more than there is. Next: a smaller --set data.image_size=…"
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
            for _ in tqdm(reading, title, len(paths), unit="image", disable=not sys.stderr.isatty()):
                pass
    finally:
        pool.shutdown(cancel_futures=True)
    return images


@contextlib.contextmanager
def _no_warnings():
    """Without Pillow's: large, but not too large; alpha is dropped. It is of the whole process: never in a thread."""
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
    """Grey in 16 bits, scaled; Pillow would cut it off at 255, and so it would the two modes of 32 bits."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("32 bits a pixel, of no known range; save it with 8")
    return image
