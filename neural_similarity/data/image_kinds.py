"""Which files are images, by their endings and their first bytes. The standard library alone: listing is quick."""

import os
import re

ENDINGS = (".png", ".jpg", ".jpeg")  # of the images that a set is made of; in upper case too
# Endings of images that are not read. Such files are refused, because nobody would notice that they are missing.
OTHER_ENDINGS = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl", ".tif", ".tiff", ".webp"),
    *(".pbm", ".pgm", ".pnm", ".ppm", ".tga", ".ico", ".svg", ".eps", ".psd"),
    *(".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".pef", ".raf", ".rw2"),  # of cameras, not yet developed
)
_FIRST_BYTES = re.compile(
    rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP"
    rb"|BM.{4}\0\0\0\0.{4}[\x0c-\x7c]\0\0\0"  # BMP: two empty fields, and the length of the header; not "BMW …"
    rb"|II\*\0|MM\0\*|II[RU]|IIRO|MMOR|FUJIFILMCCD|8BPS"  # TIFF, the raw files of most cameras, Photoshop
    rb"|....ftyp(?:avi[fs]|hei[cfmsx]|hev[cx]|mif1|msf1|crx )"  # AVIF, HEIC, Canon; not videos, which are ftyp too
    rb"|\0\0\0\x0cj[PX][L ] |\xff\x4f\xff\x51|\xff\x0a",  # JPEG 2000, JPEG XL
    re.DOTALL,
)


def has_ending(name: str) -> bool:
    """Whether a file's name ends as that of an image, of whatever kind."""
    return name.lower().endswith(ENDINGS + OTHER_ENDINGS)


def is_image(path: str | os.PathLike) -> bool:
    """Whether the file at `path` has an image's ending, or begins as an image: its first 18 bytes are looked at.

    Raises:
        OSError: the file cannot be read.
    """
    if has_ending(os.path.basename(path)):
        return True
    if not os.path.isfile(path):  # a pipe would keep its reader waiting
        return False
    with open(path, "rb") as file:
        return _FIRST_BYTES.match(file.read(18)) is not None
