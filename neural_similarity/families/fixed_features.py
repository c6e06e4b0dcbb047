"""The features of a backbone that is not trained: computed once, kept in a file, and read when they are needed.

n images · r cells · i channels of the backbone
"""

import hashlib
import json
import logging
import os
import sys
import zlib
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from neural_similarity.data.checksums import crc_of_images, crc_of_weights
from neural_similarity.data.in_order import in_order
from neural_similarity.data.places import default_root
from neural_similarity.data.retrieval_splits import RetrievalPart
from neural_similarity.files import held, put_in_place, write_atomically
from neural_similarity.ops import pooled_map

_log = logging.getLogger("neural_similarity")
_BLOCK = 64  # images that the backbone takes at once


def fixed_features(backbone: keras.Model, part: RetrievalPart, cells: int, title: str, folder: Path | None = None):
    """The pooled maps of all images, from the file that keeps them, or computed and kept there.

    A file belongs to one backbone with its weights, one list of images and one number of cells; if one of them is
    another, so is the file.

    Args:
        backbone: from raw images to maps.
        part: the images, in their form for evaluation.
        cells: the number of cells in height and in width.
        title: what the images are called while the features are computed.
        folder: where the files are kept; None for `features` in the folder of all sets.

    Returns:
        `(n, 1 + r, i)` float32, mapped from the file.

    Raises:
        UserError: an image cannot be read.
        OSError: the file cannot be written.
    """
    folder = default_root() / "features" if folder is None else folder
    facts = {"weights": _fingerprint(backbone), "images": _fingerprint_of(part), "cells": cells, "count": len(part)}
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"{key}.npy"
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder / f"{key}.lock", wait=True):
        if not path.is_file():
            gigabytes = len(part) * (1 + cells * cells) * backbone.output.shape[-1] * 4e-9
            what = f"The features of the {title} images"
            _log.info("%s are computed once, and kept in %s (%.2f GB).", what, path, gigabytes)
            unfinished = folder / f"{key}.unfinished.npy"
            try:
                _compute(backbone, part, cells, title, unfinished)
                put_in_place(unfinished, path)
            except BaseException:  # a full disk, or Ctrl-C
                unfinished.unlink(missing_ok=True)
                raise
            write_atomically(path.with_suffix(".json"), json.dumps({"backbone": backbone.name, **facts}) + "\n")
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _compute(backbone, part, cells, title, path):
    run = tf.function(lambda images: pooled_map(backbone(tf.cast(images, tf.float32), training=False), cells))
    shape = (len(part), 1 + cells * cells, backbone.output.shape[-1])
    header = np.lib.format.header_data_from_array_1_0(np.empty((0, *shape[1:]), np.float32))
    hidden = not (sys.stderr and sys.stderr.isatty())
    with (
        open(path, "wb") as file,  # and no map of it: on a full disk, to write into a map ends the process
        tqdm(desc=title, total=len(part), unit="image", disable=hidden) as bar,
    ):
        np.lib.format.write_array_header_1_0(file, {**header, "shape": shape})
        for start, images in zip(range(0, len(part), _BLOCK), in_order(part, _BLOCK), strict=True):
            count = min(_BLOCK, len(part) - start)
            file.write(run(images)[:count].numpy().astype(np.float32).tobytes())
            bar.update(count)
        file.flush()
        os.fsync(file.fileno())


def _fingerprint(backbone):
    """What tells a network from others: its weights, and the kinds and output shapes of its layers."""
    crc = crc_of_weights(backbone, zlib.crc32(" ".join(_layers(backbone)).encode()))
    return f"{backbone.name} {backbone.input.shape[1]} {backbone.output.dtype} {crc:08x}"


def _layers(model):
    for layer in model.layers:
        layer = getattr(layer, "layer", layer)  # of a wrapper
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield f"{type(layer).__name__} {getattr(layer.output, 'shape', None)}"


def _fingerprint_of(part):
    """What tells images from others: their names and pixels; of files, the sizes and the times of their last change."""
    crc = crc_of_images(part.images, crc=zlib.crc32(" ".join(part.names).encode()))
    for path in getattr(part.images, "paths", ()):
        crc = zlib.crc32(str(path.stat().st_mtime_ns).encode(), crc)
    return f"{crc:08x}"
