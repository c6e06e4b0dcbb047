"""Reads image files as square RGB images. Whatever reads one reads here, so that all see the same pixels."""

import contextlib
import math
import os
import re
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from neural_similarity.data.listing import unreadable
from neural_similarity.data.whole_images import is_whole
from neural_similarity.errors import UserError
from neural_similarity.files import what_else

# What a file may hold, whatever its ending: scraped `.jpg` files are often WebP. Nothing else is opened, as Pillow
# knows formats that start other programs (EPS starts Ghostscript), or that it reads without noticing that half is gone.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
MOST_PIXELS = 120_000_000  # a photo of 12,000×10,000; reading it takes about 1 GB of memory, and 2 GB if it is WebP
MOST_ROWS = 65_535  # and columns: a row has a cost of its own, so that thin strips would take far more memory
_LIMITS = f"expected at most {MOST_PIXELS:,} pixels, and at most {MOST_ROWS:,} in height and width"

_MOST_THREADS = 8  # each holds a photo in full size
_LARGE_PIXELS = 32_000_000
_one_large_image = threading.Lock()  # larger images are decoded one at a time
_change = threading.Lock()
_readers = 0  # how many blocks `with _only_our_limits()` are being executed
_restore = contextlib.ExitStack()  # puts Pillow back as it was before the first of them
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # a Path has made one slash of the two
_TURNS = {  # EXIF orientation → what makes the image upright; 1 is upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: str | Path, size: int) -> np.ndarray:
    """Reads an image as a network takes it.

    - A photo is turned upright, as its EXIF orientation says.
    - Grey gets three equal channels. Of 16 bits the upper 8 are kept.
    - Alpha is dropped: a transparent pixel gets the colour that is stored for it.
    - The largest square in the middle of the image, 480×480 of 640×480 pixels, is scaled to `size`×`size`, bilinearly
      and with antialiasing. An image that has this size already keeps its pixels.

    Args:
        path: the file.
        size: height and width of the result, in pixels.

    Returns:
        `(size, size, 3)` uint8.

    Raises:
        UserError: there is no such file, it may not be read, or it does not hold a whole image in one of `FORMATS` and
            within the limits `MOST_PIXELS` and `MOST_ROWS`.
    """
    with _only_our_limits():
        return _read(path, size, middle_square)


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
    hidden = not (sys.stderr and sys.stderr.isatty())
    with tqdm(desc=title, total=len(paths), unit="image", disable=hidden) as bar:
        fill(images, paths, middle_square, bar.update)
    return images


def fill(images, paths, scaled, advance=lambda: None):
    """Reads many images into an array, in several threads.

    Args:
        images: `(len(paths), size, size, 3)` uint8, which is written to.
        paths: the files, in the order of `images`.
        scaled: what makes a square of an image: `middle_square`, `resized_centre` or `whole_image`; or a list with such
            a function for each image.
        advance: a function without arguments that is called after each image.

    Raises:
        UserError: an image cannot be read; the message is about the first such image.
    """
    scalings = scaled if isinstance(scaled, list) else [scaled] * len(paths)

    def read(i):
        images[i] = _read(paths[i], images.shape[1], scalings[i])

    pool = ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1))  # Pillow decodes without Python's lock
    try:
        with _only_our_limits():
            for _ in pool.map(read, range(len(paths))):
                advance()
    finally:
        pool.shutdown(cancel_futures=True)


def middle_square(image, size):
    """The largest square in the middle of a Pillow image, scaled to `size`×`size` bilinearly, with antialiasing."""
    return ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)


def resized_centre(image, size):
    """The middle `size`×`size` pixels of a Pillow image whose short side was scaled to 256/224 of `size`.

    This is how networks are usually tested. For 224: the short side is scaled to 256, bilinearly and with antialiasing,
    and the long side in proportion, rounded down. 640×480 pixels become 341×256, of which a border of 58 or 59 columns
    and of 16 rows is left out. Only what is left is computed.
    """
    sides, starts = resized_centre_place(image.size, size)
    factors = [before / side for before, side in zip(image.size, sides, strict=True)]
    box = [start * factor for start, factor in zip(starts, factors, strict=True)]
    box += [min((start + size) * factor, side) for start, factor, side in zip(starts, factors, image.size, strict=True)]
    return image.resize((size, size), Image.Resampling.BILINEAR, box=tuple(box))


def resized_centre_place(sides, size):
    """((width, height) of a scaled image, (column, row) where its middle begins), in pixels; see `resized_centre`.

    Args:
        sides: (width, height) of the image before it is scaled.
        size: height and width of the middle.
    """
    short = round(size * 256 / 224)
    scaled = [short * side // min(sides) for side in sides]
    return scaled, [round((side - size) / 2) for side in scaled]


def whole_image(image, size):
    """The whole Pillow image, scaled to `size`×`size` whatever its proportions, by Lanczos' filter.

    The usual copies of Mini-ImageNet were made so. An image that has this size already keeps its pixels.
    """
    return image.resize((size, size), Image.Resampling.LANCZOS)


@contextlib.contextmanager
def _only_our_limits():
    """Silences Pillow's warning that alpha is dropped, and lifts its limit on pixels, which is above ours.

    This changes the state of the whole process, so that it must be entered outside of the threads that read. Where
    several do so at once, as when an evaluation reads while the next batch is prepared, the first changes the state,
    and the last to leave restores it.
    """
    global _readers
    with _change:
        if _readers == 0:
            _restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
            Image.MAX_IMAGE_PIXELS = None
            _restore.enter_context(warnings.catch_warnings())
            for module in ("PIL", __name__):  # and not those of whatever else is computed meanwhile
                warnings.filterwarnings("ignore", module=re.escape(module))
        _readers += 1
    try:
        yield
    finally:
        with _change:
            _readers -= 1
            if _readers == 0:
                _restore.close()


def _read(path, size, scaled):
    try:
        with _opened(path) as file, Image.open(file, formats=FORMATS) as image:
            _check_size(path, image, os.fstat(file.fileno()).st_size)
            large = math.prod(image.size) > _LARGE_PIXELS
            with _one_large_image if large else contextlib.nullcontext():
                image.load()
                if not is_whole(image, file):
                    raise ValueError("image file is truncated: it ends before its last pixel")
                return np.asarray(scaled(rgb(_upright(image)), size))
    except (UserError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise _not_whole(path, "it does not begin as one") from error
    except Exception as error:  # every format breaks in its own way
        if isinstance(error, OSError) and error.errno is not None:  # the system's; Pillow's own have no number
            raise unreadable(path, error) from error
        raise _not_whole(path, error) from error


def _opened(path):
    """The file at `path`, open for reading. An address of the web, a folder or a pipe is refused."""
    try:
        other = what_else(path)
    except FileNotFoundError as error:
        if _ADDRESS.match(str(path)):
            address = re.sub(":/(?!/)", "://", str(path), count=1)
            raise UserError(f"{address}: an address, not a file. Next: download it, and name the file") from error
        raise
    if other:
        raise UserError(f"{path}: {other}, not an image. Next: give an image file in its place")
    return open(path, "rb")


def _check_size(path, image, file_bytes):
    """Refuses an image that is too large, as its header says, before its pixels take any memory."""
    width, height = image.size
    if width * height > MOST_PIXELS or max(width, height) > MOST_ROWS:
        raise _too_large(path, f"{width:,}×{height:,} pixels")
    # Every block of 8×8 pixels takes one bit at least.
    if image.format in ("JPEG", "MPO") and file_bytes * 8 * 64 < width * height:
        raise ValueError(f"image file is truncated: {file_bytes:,} bytes cannot hold {width:,}×{height:,} pixels")


def _too_large(path, size):
    return UserError(f"{path}: {size}; {_LIMITS}. Next: scale the image down, or leave it out")


def _not_whole(path, reason):
    return UserError(
        f"{path}: cannot be read as an image ({reason}); expected a whole PNG, JPEG, GIF, BMP or WebP "
        "image. Next: replace it or leave it out"
    )


def _upright(image):
    """Turns a photo as its EXIF orientation says. What else stands in EXIF does not matter, and may be damaged.

    The image must be loaded: in a PNG, EXIF may stand behind the pixels.
    """
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # EXIF that cannot be read at all says nothing about the orientation
        return image
    return image if turn is None else image.transpose(turn)


def rgb(image):
    """A Pillow image in RGB with 8 bits. Of grey levels of 16 bits the upper 8 are kept; alpha is dropped.

    Pillow's own conversion would make every level above 255 white.
    """
    if image.mode.startswith("I"):  # "I;16", and "I" in earlier versions; of `FORMATS` only PNG has it
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")
