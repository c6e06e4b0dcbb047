"""Small images, and files of them."""

import numpy as np
from PIL import Image


def pixels(height=32, width=32, channels=3, seed=0):
    """Noise, `(height, width, channels)` uint8."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def save(path, array, **kwargs):
    """Writes an image, in the format of the name's ending, and returns the path."""
    Image.fromarray(array).save(path, **kwargs)
    return path


def save_set(root, classes=("bird", "cat", "dog"), splits=("train", "test"), images=4, size=8):
    """Writes `images` PNGs of noise for every class of every split; returns `root`."""
    for i, split in enumerate(splits):
        for j, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for k in range(images):
                save(folder / f"{k}.png", pixels(size, size, seed=[i, j, k]))
    return root
