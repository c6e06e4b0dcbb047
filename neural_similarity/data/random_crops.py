"""Random crops of photos in files, of any size, as networks are usually trained on them.

A crop is a function of (seed, step) and of its place in the batch. It depends on nothing else, so that a resumed run
sees the same pixels.
"""

import functools
import math
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

_SHARES = (0.08, 1.0)  # of the image's area
_RATIOS = (3 / 4, 4 / 3)  # of width to height
_TRIES = 10


def resized_crops(seed: int, step: int, count: int) -> list[Callable]:
    """The crops of a batch: a random part of each image, scaled to the size asked for, and mirrored or not.

    The part's share of the area is uniform in 0.08–1, and the logarithm of its ratio of width to height is uniform
    between those of 3/4 and 4/3. It is scaled bilinearly, with antialiasing, and mirrored left to right with
    probability 1/2. These are the defaults of torchvision's RandomResizedCrop, and its horizontal flip.

    Args:
        seed, step: integers.
        count: the number of images.

    Returns:
        `count` functions of a Pillow image and a size, as `image_files.fill` takes them.
    """
    generator = np.random.default_rng((seed, zlib.crc32(b"crops"), step))
    draws = generator.random((count, _TRIES, 4))
    mirrored = generator.random(count) < 0.5
    return [functools.partial(_crop, draws=draws[i], mirrored=bool(mirrored[i])) for i in range(count)]


def _crop(image, size, *, draws, mirrored):
    part = image.crop(crop_box(*image.size, draws)).resize((size, size), Image.Resampling.BILINEAR)
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else part


def crop_box(width: int, height: int, draws: np.ndarray) -> tuple[int, int, int, int]:
    """Which part of an image is taken.

    Args:
        width, height: of the image, in pixels.
        draws: `(tries, 4)` numbers in [0, 1): share of the area, ratio, place from the top, place from the left. The
            first try that fits into the image counts. If none does, the largest part in the middle is taken whose ratio
            is within the limits.

    Returns:
        (left, top, right, bottom) in pixels.
    """
    low, high = map(math.log, _RATIOS)
    for share, ratio, down, along in draws.tolist():
        area = width * height * (_SHARES[0] + share * (_SHARES[1] - _SHARES[0]))
        ratio = math.exp(low + ratio * (high - low))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(along * (width - w + 1)), int(down * (height - h + 1))
            return left, top, left + w, top + h
    w = min(width, round(height * _RATIOS[1]))
    h = min(height, round(width / _RATIOS[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
