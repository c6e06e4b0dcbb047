"""Builds the cache of Mini-ImageNet from images that somebody brings. It needs NumPy and Pillow."""

import json
import os
import sys
import zlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from neural_similarity.data import mini_imagenet
from neural_similarity.data.download import BusyError, alone
from neural_similarity.data.image_files import fill, whole_image
from neural_similarity.data.images import DataMissing
from neural_similarity.data.mini_imagenet_files import find_images
from neural_similarity.data.places import setup_command
from neural_similarity.data.streams import tell
from neural_similarity.errors import UserError
from neural_similarity.files import put_in_place, write_atomically


def build(source: Path | None, root: Path) -> None:
    """Builds the cache, unless a whole one is there. Memory is needed for the images of one class, 13 MB.

    Args:
        source: the folder with the images; `mini_imagenet_files` says which layouts it may have. None only looks
            whether the cache is there and whole.
        root: the folder that holds all sets; it is created if it is not there.

    Raises:
        DataMissing: `source` is None, and there is no cache.
        UserError: `source` does not hold the set, an image cannot be read, the cache is damaged and `source` is None,
            or another process is building it.
        OSError: a file cannot be written.
    """
    folder = mini_imagenet.folder_of(root)
    try:
        made_from = _check(root)
    except UserError as error:
        if source is None:
            raise
        if not isinstance(error, DataMissing):
            tell(f"{error}\n{mini_imagenet.NAME}: it is built anew.")
    else:
        again = "" if source is None else f". To build it from another copy, delete {folder} first"
        tell(f"{mini_imagenet.NAME}: complete in {folder}; it was made from {made_from}{again}")
        return
    images, layout, extra = find_images(source)
    if extra:
        tell(f"{mini_imagenet.NAME}: {extra:,} classes that are not in Mini-ImageNet are not read")
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{mini_imagenet.IMAGES}.unfinished"
    try:
        with alone(unfinished) as file:
            try:
                checksums = _write(file, images, root, source)
                (folder / mini_imagenet.MANIFEST).unlink(missing_ok=True)  # of the damaged cache
                put_in_place(unfinished, folder / mini_imagenet.IMAGES)
            except BaseException:
                file.truncate(0)  # then `alone` removes it
                raise
    except BusyError as error:
        raise UserError(
            f"{mini_imagenet.NAME}: another process is building it in {error}. Next, when that has ended: "
            f"{setup_command(mini_imagenet.NAME, root)}"
        ) from error
    manifest = {
        "classes": list(images),
        "images_per_class": mini_imagenet.IMAGES_PER_CLASS,
        "image_size": mini_imagenet.IMAGE_SIZE,
        "made_from": f"{layout} in {source}",
        "crc32": checksums,
    }
    write_atomically(folder / mini_imagenet.MANIFEST, json.dumps(manifest, indent=1) + "\n")
    tell(f"{mini_imagenet.NAME}: complete in {folder}; made from {layout} in {source}")


def _check(root):
    """Reads the whole cache and compares its checksums; returns what it was made from."""
    manifest = mini_imagenet.read_manifest(root)
    images = mini_imagenet.open_images(root).reshape(len(mini_imagenet.classes()), mini_imagenet.IMAGES_PER_CLASS, -1)
    for of_class, name in zip(images, mini_imagenet.classes(), strict=True):
        if _checksum(of_class) != manifest["crc32"][name]:
            path = mini_imagenet.folder_of(root) / mini_imagenet.IMAGES
            raise mini_imagenet.damaged(path, f"the images of {name} are not those that were written", root)
    return manifest["made_from"]


def _checksum(images):
    return f"{zlib.crc32(np.ascontiguousarray(images)):08x}"


def _write(file, paths_by_class, root, source):
    """Writes all images into the open file `images.npy.unfinished`; returns {class: its CRC-32}.

    It writes class by class. To map the file into memory instead would end the process, without a message, when the
    disk is full.
    """
    shape = mini_imagenet.images_shape()
    file.truncate(0)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    images = np.empty((mini_imagenet.IMAGES_PER_CLASS, *shape[1:]), np.uint8)
    checksums = {}
    hidden = not (sys.stderr and sys.stderr.isatty())
    with tqdm(desc=mini_imagenet.NAME, total=shape[0], unit="image", disable=hidden) as bar:
        for name, paths in paths_by_class.items():
            try:
                fill(images, paths, whole_image, bar.update)
            except UserError as error:
                again = setup_command(mini_imagenet.NAME, root, source)
                reason = str(error).partition(" Next: ")[0]  # to leave an image out, as is said there, does not help
                raise UserError(f"{reason} Next: put a good copy there, then: {again}") from error
            file.write(images)
            checksums[name] = _checksum(images)
    file.flush()
    os.fsync(file.fileno())
    return checksums
