"""Reads `.npz` files that may come from anywhere: what the file claims is checked before an array is read."""

import errno
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neural_similarity.files import what_else

_LONGEST_HEADER = 10_000  # characters; NumPy reads no longer ones either


class ArraysError(ValueError):
    """A `.npz` file is not what was expected. The message says why and names the array, but not the file."""


class Header(NamedTuple):
    """What a file says of an array before its numbers: `(2, 10)` and `dtype("float32")`."""

    shape: tuple[int, ...]
    dtype: np.dtype


def read_npz(path: str | Path, expected: Mapping[str, tuple] | None = None) -> dict[str, np.ndarray]:
    """Reads all arrays of a `.npz` file.

    The sizes of all arrays are known from the headers, and checked, before one of them is read. So a small file whose
    arrays inflate to gigabytes is refused at once.

    Args:
        path: the file.
        expected: name → (shape, dtype) of each array; the file must hold these arrays and no others. None takes every
            array of numbers; together they may not take more bytes than the file does, as in a file that `numpy.savez`
            wrote, which does not compress.

    Returns:
        Name → array, of integers or of finite floating-point numbers.

    Raises:
        ArraysError: it is no `.npz` file, or a damaged one; it holds something other than numbers, or other arrays than
            expected; a number is not finite.
        OSError: the file cannot be read.
    """
    with _opened(path) as archive:
        headers = _headers(archive)
        if expected is None:
            _check_not_inflated(path, headers)
        else:
            _check_expected(headers, expected)
        return {name: _array(archive, name) for name in headers}


def headers_of(path: str | Path) -> dict[str, Header]:
    """The name, the shape and the dtype of each array of a `.npz` file, without its numbers.

    Raises:
        ArraysError, OSError: as `read_npz`.
    """
    with _opened(path) as archive:
        return _headers(archive)


def _opened(path):
    if other := what_else(path):
        raise ArraysError(f"{other}, not a file")
    try:
        return zipfile.ZipFile(path)
    except (ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ArraysError(f"not a whole .npz file: {error}") from error


def _headers(archive):
    headers = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name == member.filename or name in headers:
            raise ArraysError(f"`{_short(member.filename)}` is no array, or is there twice")
        header, start_bytes = _reading(name, lambda stream: (_header(stream), stream.tell()), archive)
        if header.dtype.kind not in "fiu":
            raise ArraysError(f"`{_short(name)}` holds {header.dtype}, and not plain numbers")
        if start_bytes + _bytes(header) != member.file_size:
            raise ArraysError(
                f"`{_short(name)}` has the shape {list(header.shape)}, of {_bytes(header):,} bytes, and holds "
                f"{member.file_size - start_bytes:,}"
            )
        headers[name] = header
    return headers


def _header(stream):
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[np.lib.format.read_magic(stream)]
    shape, _, dtype = read(stream, max_header_size=_LONGEST_HEADER)
    if min(shape, default=0) < 0:
        raise ValueError("a negative length")
    return Header(shape, dtype)


def _array(archive, name):
    """One array. `zipfile` compares the checksum when the last byte is read."""
    array = _reading(name, lambda stream: np.lib.format.read_array(stream, allow_pickle=False), archive)
    if not np.isfinite(array).all():
        raise ArraysError(f"`{_short(name)}` has numbers that are not finite")
    return array


def _reading(name, read, archive):
    """What `read` makes of an array's stream; ArraysError whatever is wrong with the bytes."""
    try:
        with archive.open(f"{name}.npy") as stream:
            return read(stream)
    except MemoryError:
        raise
    except Exception as error:  # damage in the archive, in its compression or in a header: each raises its own kind
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # that one: a place in the file below 0
            raise
        raise ArraysError(f"`{_short(name)}` is damaged: {error}") from error


def _bytes(header):
    return math.prod(header.shape) * header.dtype.itemsize


def _check_not_inflated(path, headers):
    total, there = sum(map(_bytes, headers.values())), os.path.getsize(path)
    if total > there:
        raise ArraysError(f"its arrays would take {total:,} bytes, more than the {there:,} of the file")


def _check_expected(headers, expected):
    for name in sorted(headers.keys() ^ expected.keys()):
        raise ArraysError(f"`{_short(name)}` " + ("is missing" if name in expected else "does not belong in it"))
    for name, (shape, dtype) in expected.items():
        found = headers[name]
        if found != (tuple(shape), np.dtype(dtype)):
            raise ArraysError(
                f"`{_short(name)}` must be {np.dtype(dtype)} of the shape {list(shape)}; "
                f"got {found.dtype} {list(found.shape)}"
            )


def _short(name):
    return name if len(name) <= 80 else f"{name[:80]}…"
