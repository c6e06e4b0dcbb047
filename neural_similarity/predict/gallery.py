"""A folder of images that is searched for those most like a query.

n images · r cells · c channels · s height and width in pixels

The folder may hold images and further folders. If all images lie in further folders, these name the images' classes.
"""

import contextlib
import dataclasses
import functools
import hashlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from neural_similarity.data.checksums import crc_of_weights
from neural_similarity.data.image_files import fill
from neural_similarity.data.image_kinds import is_image
from neural_similarity.data.listing import entries, folder_exists, unreadable
from neural_similarity.errors import UserError
from neural_similarity.files import held, shown
from neural_similarity.interpret.trained_metrics import TrainedMetric
from neural_similarity.predict.gallery_index import GalleryIndex, read_index, write_index

_log = logging.getLogger("neural_similarity")
_BLOCK = 64  # images that are in memory at once
_SAVED_AFTER = 4096  # images that were read, so that a search that is stopped has not read them in vain


@dataclasses.dataclass(frozen=True, eq=False)
class Gallery:
    """The images of a folder and what is known of them.

    Attributes:
        folder: the folder.
        names: n paths in it, with `/` between folders.
        descriptors: `(n, 1 + r, c)` float32.
    """

    folder: Path
    names: tuple[str, ...]
    descriptors: np.ndarray

    def path(self, number: int) -> Path:
        """The path of an image."""
        return self.folder / self.names[number]

    @functools.cached_property
    def classes(self) -> tuple[str, ...] | None:
        """The class of each image: the name of its folder. None if one lies directly in the gallery, or all in one."""
        folders = [Path(name).parent.name for name in self.names]
        return tuple(folders) if all(folders) and len(set(folders)) > 1 else None

    def number_of(self, path: Path) -> int | None:
        """Which image of the gallery a file is, however its path is written; None if it is none of them."""
        for place in (os.path.abspath, os.path.realpath):  # a folder in the gallery may be a link
            with contextlib.suppress(ValueError):
                return self.names.index(Path(place(path)).relative_to(place(self.folder)).as_posix())
        return None


def open_gallery(folder: str | Path, metric: TrainedMetric) -> Gallery:
    """The images in a folder, described by a run's network.

    The descriptors are kept in `gallery` in the run's folder, in a file whose name is a hash of the path of the folder.
    Files that have the name, the size and the time of change that they had are not read again. An image that cannot be
    read is left out, and a line of the log says why.

    Args:
        folder: the gallery.
        metric: the run's network.

    Raises:
        UserError: there is no such folder, or no image in it that can be read; or the network gives numbers that are
            not finite.
    """
    folder = Path(folder)
    if not folder_exists(folder):
        raise UserError(f"{folder}: there is no such folder. Next: --gallery DIR, a folder of images")
    place = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:16]
    path = metric.run.folder / "gallery" / f"{place}.npz"
    made_of = _made_of(metric, place)
    files = _files_below(folder)
    if not files:
        raise UserError(f"{folder}: no image in it, nor in a folder in it. Next: --gallery DIR, a folder of images")
    with _held(path) as writable:
        index = old = read_index(path, made_of, _shape(metric))
        for index in _refreshed(folder, files, old, metric):
            if writable and index.names:
                writable = _written(path, index, made_of)
    if not index.names:
        raise UserError(f"{folder}: none of its images can be read. Next: --gallery DIR, a folder of whole images")
    return Gallery(folder, index.names, index.descriptors)


def _written(path, index, made_of):
    """Whether an index could be written; a line of the log says why it could not."""
    try:
        write_index(path, index, made_of)
    except OSError as error:
        why = error.strerror
        _log.warning("%s: not written (%s), so that the next search reads the images again.", shown(path), why)
        return False
    return True


@contextlib.contextmanager
def _held(path):
    """Locks the place of an index for this process; False where nothing can be written, as in a run of somebody else's.

    The index only saves time, so that a search goes on without it.
    """
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(exist_ok=True)
            stack.enter_context(held(path.with_suffix(".lock")))
        except OSError as error:
            what = "%s: cannot be written (%s), so that images that are not known there are read each time."
            _log.warning(what, shown(path.parent), error.strerror)
            yield False
            return
        yield True


def _made_of(metric, place):
    distance = metric.distance
    return {
        "gallery": place,
        "weights": f"{crc_of_weights(metric.model):08x}",
        "image_size": metric.image_size,
        "scaled": metric.scaled.__name__,
        "cells": getattr(distance, "cells", None),
        "whole": getattr(distance, "whole_is", None),
    }


def _shape(metric):
    """(1 + r, c), the shape of one image's descriptors."""
    return metric.vectors_per_image, metric.model.output_shape[-1]


def _files_below(folder):
    """{name: (size, time of change)} of all images in a folder and in the folders in it, sorted by name."""
    found = {}
    for name in sorted(_names_below(folder, "", ())):
        path = folder / name
        try:
            if is_image(path):
                status = os.stat(path)
                found[name] = status.st_size, status.st_mtime_ns
        except OSError as error:
            raise unreadable(path, error) from error
    return found


def _names_below(folder, inside, above) -> Iterator[str]:
    """The paths of all files in `folder / inside`. `above` are the real paths of the folders that lead there."""
    here = os.path.realpath(folder / inside)
    if here in above:  # a link that leads back
        return
    folders, files = entries(folder / inside)
    yield from (f"{inside}{name}" for name in files)
    for name in folders:
        yield from _names_below(folder, f"{inside}{name}/", (*above, here))


def _refreshed(folder, files, old, metric):
    """Yields indexes of `files`, where possible from the old one, each with more images; none if nothing changed."""
    known = {name: i for i, name in enumerate(old.names)}
    same = {
        name: known[name]
        for name, facts in files.items()
        if name in known and facts == (old.sizes[known[name]], old.changed_ns[known[name]])
    }
    new = [name for name in files if name not in same]
    described, left = {}, new
    hidden = not (sys.stderr and sys.stderr.isatty())
    with tqdm(desc="gallery", total=len(new), unit="image", disable=hidden) as bar:
        while len(left) > _SAVED_AFTER:  # more each time, as the whole index is written
            count = max(_SAVED_AFTER, (len(same) + len(described)) // 2)
            now, left = left[:count], left[count:]
            described |= _described(folder, now, metric, bar.update)
            yield _merged(files, old, same, described)
        described |= _described(folder, left, metric, bar.update)
    if not described and len(same) == len(old.names):
        return
    read, gone = len(described), len(known.keys() - files.keys())
    _log.info("%s: %s images; %s were read now, %s are gone.", folder, *(f"{n:,}" for n in (len(files), read, gone)))
    yield _merged(files, old, same, described)


def _merged(files, old, same, described):
    """The index of the files that are in `same`, `{name: place in the old index}`, or in `described`."""
    names = tuple(name for name in files if name in same or name in described)
    facts = np.array([files[name] for name in names], np.int64).reshape(-1, 2)
    descriptors = np.empty((len(names), *old.descriptors.shape[1:]), np.float32)
    for row, name in zip(descriptors, names, strict=True):
        row[:] = old.descriptors[same[name]] if name in same else described[name]
    return GalleryIndex(names, facts[:, 0].copy(), facts[:, 1].copy(), descriptors)


def _described(folder, names, metric, advance):
    """{name: descriptors `(1 + r, c)`} of the images that can be read; a line of the log for each that cannot."""
    found = {}
    for start in range(0, len(names), _BLOCK):
        block = names[start : start + _BLOCK]
        images, readable, problems = read_block([folder / name for name in block], metric)
        for problem in problems:
            _log.warning("Left out: %s", problem)
        kept = [name for name, is_readable in zip(block, readable, strict=True) if is_readable]
        if kept:
            descriptors = metric.descriptors(images)
            _check_finite(descriptors, folder, kept)
            found.update(zip(kept, descriptors, strict=True))
        advance(len(block))
    return found


def read_block(paths, metric: TrainedMetric):
    """Reads images in the form for evaluation, and does without those that cannot be read.

    Args:
        paths: m files.
        metric: the network that they are for.

    Returns:
        (the images that were read, `(≤ m, s, s, 3)` uint8; m bools, which ones they are; the `UserError`s of the
        others).
    """
    size, scaled = metric.image_size, metric.scaled
    images = np.empty((len(paths), size, size, 3), np.uint8)
    try:
        fill(images, paths, scaled)
        return images, [True] * len(paths), []
    except UserError:  # one at a time, to find all of them
        readable, problems = [], []
        for i, path in enumerate(paths):
            try:
                fill(images[i : i + 1], [path], scaled)
                readable.append(True)
            except UserError as error:
                problems.append(error)
                readable.append(False)
        return images[readable], readable, problems


def _check_finite(descriptors, folder, names):
    finite = np.isfinite(descriptors).all((1, 2))
    if not finite.all():
        raise UserError(
            f"{folder / names[int(np.argmin(finite))]}: the network's map has numbers that are not finite; expected "
            "numbers. Next: a run whose training did not diverge"
        )
