"""Whether an image file holds all pixels of its image.

Pillow refuses a file that stops in the middle. It does not notice a PNG or JPEG that ends properly, but too early, as
when a program wrote what it had. Missing pixels of a PNG are zero, and those of a JPEG are 128. So the file is looked
at a second time if its last pixels have these values, which is seldom. A JPEG that lacks its last block alone, or the
later refinements of a progressive one, is not noticed.
"""

import io
import re
import struct
import zlib

import numpy as np
from PIL import Image, ImageChops

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# (first column, first row, step between columns, step between rows) of each pass of an interlaced PNG
_PNG_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE_BYTES = 1 << 20
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)  # and no restart, which pixels go on after
_NOISE = b"\x5a\xa5\x33\xcc" * 16
_JPEG_NOISE = _NOISE + b"".join(bytes((0xFF, restart)) + _NOISE for restart in range(0xD0, 0xD8))


def is_whole(image: Image.Image, file: io.BufferedIOBase) -> bool:
    """Whether all pixels of an image were in its file; True for other formats than PNG and JPEG, which Pillow checks.

    In a progressive JPEG a refinement may be missing: then the image is less sharp, but has all its pixels.

    Args:
        image: the image as `Image.open` gave it, after `load`.
        file: the file that it came from, open for reading.
    """
    width, height = image.size
    if image.format == "PNG":
        last_rows = np.asarray(image.crop((0, max(height - 2, 0), width, height)))
        if all(row.any() for row in last_rows):
            return True
        file.seek(0)
        try:
            found, expected = _png_bytes(file)
        except zlib.error:  # damage behind the pixels, such as a wrong checksum: the pixels could be read
            return True
        return found >= expected
    if image.format in ("JPEG", "MPO"):
        last_pixel = np.asarray(image.crop((width - 1, height - 1, width, height)))
        if not np.isin(last_pixel, (127, 128)).all():
            return True
        file.seek(0)
        return _jpeg_ends_after_its_pixels(image, file.read())
    return True


def _png_bytes(file):
    """(how many bytes of pixels a PNG holds, how many its header asks for), after decompression."""
    file.read(8)
    found, decompressor, expected = 0, zlib.decompressobj(), 0
    while len(start := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        content = file.read(length)
        file.read(4)
        if kind == b"IHDR":
            expected = _png_bytes_expected(content)
        while kind == b"IDAT" and content and not decompressor.eof:
            found += len(decompressor.decompress(content, _PIECE_BYTES))
            content = decompressor.unconsumed_tail
    return found + len(decompressor.flush()), expected


def _png_bytes_expected(header):
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header[:13])
    total = 0
    for column, row, across, down in _PNG_PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - column) // across), -(-(height - row) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * depth * _PNG_CHANNELS[colour] // 8))  # one byte tells a row's filter
    return total


def _jpeg_ends_after_its_pixels(image, content):
    """Puts noise before the end of the JPEG. It is read as pixels if some are missing, and ignored otherwise."""
    end = _end_of_jpeg(content)
    noisy = io.BytesIO(content[:end] + _JPEG_NOISE + content[end:])
    with Image.open(noisy, formats=("JPEG",)) as other:
        return ImageChops.difference(image, other).getbbox() is None


def _end_of_jpeg(content):
    """Where the marker stands that ends the first JPEG in `content`."""
    place = 2
    while marker := _JPEG_MARKER.search(content, place):
        kind = marker[1][0]
        if kind == 0xD9:
            return marker.start()
        place = marker.end()
        if kind not in (0x01, 0xD8):  # these have no content
            place += int.from_bytes(content[place : place + 2], "big")
    return len(content)
