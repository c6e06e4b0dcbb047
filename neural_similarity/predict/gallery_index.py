"""What is known of the images of a gallery, kept in a file so that only new and changed images are read again.

n images · r cells · c channels
"""

import dataclasses
import json
import logging
import os
from pathlib import Path

import numpy as np

from neural_similarity.arrays import ArraysError, read_npz
from neural_similarity.files import put_in_place, shown

_log = logging.getLogger("neural_similarity")
_FORMAT = 1


@dataclasses.dataclass(frozen=True, eq=False)
class GalleryIndex:
    """The images of a gallery.

    Attributes:
        names: n paths in the gallery's folder, with `/` between folders.
        sizes: `(n,)` int64, of the files in bytes.
        changed_ns: `(n,)` int64, when each file was last changed, in nanoseconds.
        descriptors: `(n, 1 + r, c)` float32, what the network's distance needs of each image.
    """

    names: tuple[str, ...]
    sizes: np.ndarray
    changed_ns: np.ndarray
    descriptors: np.ndarray


def _empty(descriptor_shape: tuple[int, int]) -> GalleryIndex:
    """The index of no images, whose descriptors would have the shape `(1 + r, c)`."""
    none = np.zeros(0, np.int64)
    return GalleryIndex((), none, none, np.zeros((0, *descriptor_shape), np.float32))


def read_index(path: Path, made_of: dict, descriptor_shape: tuple[int, int]) -> GalleryIndex:
    """The index in a file; an empty one if there is none, or none that can be used. A line of the log says why.

    Args:
        path: the file.
        made_of: what descriptors depend on beside the images, such as the network's weights. The file must have been
            written with the same.
        descriptor_shape: `(1 + r, c)`.
    """
    empty = _empty(descriptor_shape)
    try:
        if not path.exists():
            return empty
        arrays = read_npz(path)
        if _text(arrays, "made_of") == _described(made_of):
            return _index_of(arrays, descriptor_shape)
        _log.warning("%s: an index of other weights or settings. It is made anew.", shown(path))
    except ArraysError as error:
        _log.warning("%s: damaged, or no index of a gallery (%s). It is made anew.", shown(path), error)
    except OSError as error:
        _log.warning("%s: cannot be read (%s). It is made anew.", shown(path), error.strerror)
    return empty


def write_index(path: Path, index: GalleryIndex, made_of: dict) -> None:
    """Writes an index as a `.npz` file of plain numbers, or leaves the file as it was.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    arrays = {
        "made_of": _bytes(_described(made_of)),
        "names": _bytes("\0".join(index.names)),
        "sizes": index.sizes,
        "changed_ns": index.changed_ns,
        "descriptors": index.descriptors,
    }
    try:
        with open(unfinished, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        put_in_place(unfinished, path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def _index_of(arrays, descriptor_shape):
    """The index that arrays hold; ArraysError if they do not fit together."""
    names = tuple(_text(arrays, "names").split("\0"))
    expected = {
        "sizes": ((len(names),), np.int64),
        "changed_ns": ((len(names),), np.int64),
        "descriptors": ((len(names), *descriptor_shape), np.float32),
    }
    for name, (shape, dtype) in expected.items():
        if name not in arrays or arrays[name].shape != shape or arrays[name].dtype != dtype:
            raise ArraysError(f"`{name}` must be {np.dtype(dtype)} of the shape {list(shape)}")
    return GalleryIndex(names, *(arrays[name] for name in expected))


def _described(made_of):
    return json.dumps({"format": _FORMAT, **made_of}, sort_keys=True)


def _bytes(text):
    return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)


def _text(arrays, name):
    """The text that an array of bytes holds."""
    if name not in arrays or arrays[name].dtype != np.uint8:
        raise ArraysError(f"`{name}` must be a text in bytes")
    return arrays[name].tobytes().decode("utf-8", "surrogateescape")
