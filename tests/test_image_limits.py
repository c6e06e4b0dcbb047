"""Image files: which formats are opened, how large an image may be, and what is refused because half of it is gone."""

import errno
import io
import os
import struct
import zlib

import numpy as np
import pytest
from pictures import pixels, save
from PIL import EpsImagePlugin, Image
from test_image_files import png_chunk

from neural_similarity.data import image_files
from neural_similarity.data.image_files import read_image, read_images
from neural_similarity.errors import UserError

ORIENTATION, X_RESOLUTION = 0x0112, 0x011A  # EXIF tags


def refusal(path):
    with pytest.raises(UserError) as error:
        read_image(path, 8)
    assert str(error.value).startswith(f"{path}: ")
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


# Formats

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
DOS_EPS = b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 30, len(EPS)) + bytes(18) + EPS


@pytest.mark.parametrize("content", [EPS, DOS_EPS])
@pytest.mark.parametrize("ending", ["png", "jpg", "eps"])
def test_no_other_program_is_started(content, ending, tmp_path, monkeypatch):
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *arguments: pytest.fail("started"))
    path = tmp_path / f"x.{ending}"
    path.write_bytes(content)
    assert "cannot be read as an image (it does not begin as one); expected a whole PNG" in refusal(path)
    with pytest.raises(UserError, match="it does not begin as one"):
        read_images([path], 8, "train")


@pytest.mark.parametrize("kind", image_files.FORMATS)
def test_the_content_counts_and_not_the_ending(kind, tmp_path):
    path = save(tmp_path / "a.jpg", np.full((9, 9, 3), 200, np.uint8), format=kind)
    assert np.abs(read_image(path, 8).astype(int) - 200).max() <= 1


@pytest.mark.parametrize("kind", ["TIFF", "PPM", "ICO", "TGA", "JPEG2000", "PCX"])
def test_other_formats_are_refused(kind, tmp_path):
    assert "expected a whole PNG, JPEG, GIF, BMP or WebP image" in refusal(
        save(tmp_path / "a.png", pixels(), format=kind)
    )


# Size


def write_png(path, width, height, rows=b""):
    """A PNG whose header says width × height, whatever rows there are."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b""))


def write_jpeg(path, width, height):
    """A JPEG of 8×8 pixels, some hundred bytes, whose header says width × height."""
    whole = io.BytesIO()
    Image.new("RGB", (8, 8)).save(whole, "JPEG")
    content = bytearray(whole.getvalue())
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    path.write_bytes(content)


def write_gif(path, width, height):
    whole = io.BytesIO()
    Image.new("P", (8, 8)).save(whole, "GIF")
    path.write_bytes(whole.getvalue()[:6] + struct.pack("<HH", width, height) + whole.getvalue()[10:])


def write_bmp(path, width, height):
    whole = io.BytesIO()
    Image.new("RGB", (8, 8)).save(whole, "BMP")
    path.write_bytes(whole.getvalue()[:18] + struct.pack("<II", width, height) + whole.getvalue()[26:])


@pytest.mark.parametrize(
    ("write", "width", "height"),
    [
        (write_png, 20_000, 10_000),  # Pillow's own limit
        (write_png, 12_001, 10_000),
        (write_png, 89_000_000, 1),
        (write_png, 1, 65_536),
        (write_jpeg, 13_300, 13_300),
        (write_jpeg, 65_500, 65_500),
        (write_gif, 60_000, 60_000),
        (write_bmp, 11_000, 11_000),
    ],
)
def test_a_large_image_is_refused_before_it_takes_memory(write, width, height, tmp_path, monkeypatch):
    monkeypatch.setattr(Image.core, "new", lambda *arguments: pytest.fail("memory for the pixels"))
    write(tmp_path / "a.png", width, height)
    message = refusal(tmp_path / "a.png")
    assert (
        "expected at most 120,000,000 pixels, and at most 65,535 in height and width. Next: scale the image" in message
    )
    assert f"{width:,}×{height:,} pixels; " in message or "too many pixels; " in message


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("side", [2_000, 10_900])
def test_a_jpeg_of_fewer_bytes_than_its_pixels_need_is_refused(side, ends, tmp_path, monkeypatch):
    monkeypatch.setattr(Image.core, "new", lambda *arguments: pytest.fail("memory for the pixels"))
    write_jpeg(tmp_path / "a.jpg", side, side)
    if not ends:
        (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-2])
    assert "truncated: 6" in refusal(tmp_path / "a.jpg")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True, "quality": 1}])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_smallest_of_whole_jpegs_are_read(options, mode, tmp_path):
    path = tmp_path / "black.jpg"
    Image.new(mode, (2_000, 2_000)).save(path, **options)
    assert read_image(path, 8).max() <= 1


def test_the_largest_of_images_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "MOST_PIXELS", 40 * 30)
    monkeypatch.setattr(image_files, "_LARGE_PIXELS", 0)  # one at a time
    paths = [save(tmp_path / f"{i}.png", pixels(30, 40, seed=i)) for i in range(9)]
    assert len(read_images(paths, 8, "train")) == 9
    assert "31×40 pixels" in refusal(save(tmp_path / "a.png", pixels(40, 31)))


def test_upright_images_of_eight_bits_are_not_copied(tmp_path):
    with Image.open(save(tmp_path / "a.png", pixels())) as image:
        image.load()
        assert image_files.rgb(image_files._upright(image)) is image


# Half of it


@pytest.mark.parametrize(
    "kind",
    [
        {"format": "GIF"},
        {"format": "GIF", "interlace": 1},
        {"format": "BMP"},
        {"format": "WEBP"},
        {"format": "WEBP", "lossless": True},
    ],
)
def test_a_file_that_was_cut_off_is_refused_in_every_format(kind, tmp_path):
    whole = save(tmp_path / "whole", pixels(24, 40), **kind)
    content, expected = whole.read_bytes(), read_image(whole, 16)
    for length in range(0, len(content), max(1, len(content) // 60)):
        (tmp_path / "cut").write_bytes(content[:length])
        try:
            np.testing.assert_array_equal(read_image(tmp_path / "cut", 16), expected)
        except UserError:
            continue
        assert length > 0.9 * len(content)  # only padding is gone


# EXIF


def exif_of(odd_tag, kind, value):
    """EXIF with the orientation 6 and one odd value of 8 bytes."""
    entries = struct.pack("<HHIHH", ORIENTATION, 3, 1, 6, 0) + struct.pack("<HHII", odd_tag, kind, 1, 38)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4) + value


@pytest.mark.parametrize(
    "odd",
    [
        (X_RESOLUTION, 10, struct.pack("<ii", -1, 0)),  # a fraction with a sign, where none is allowed
        (X_RESOLUTION, 5, struct.pack("<II", 1, 0)),
        (X_RESOLUTION, 99, bytes(8)),  # no known kind of value
        (X_RESOLUTION, 12, struct.pack("<d", -1e300)),
    ],
)
@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_of_exif_only_the_orientation_is_needed(ending, odd, tmp_path):
    image = Image.new("RGB", (32, 32), "red")
    image.paste("blue", (0, 0, 32, 16))  # above
    image.save(tmp_path / f"odd.{ending}", exif=exif_of(*odd))
    image.save(tmp_path / f"plain.{ending}")
    upright = np.rot90(read_image(tmp_path / f"plain.{ending}", 32), k=-1)
    np.testing.assert_array_equal(read_image(tmp_path / f"odd.{ending}", 32), upright)


@pytest.mark.parametrize("content", [b"Exif\0\0", b"Exif\0\0no TIFF at all", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_exif_that_cannot_be_read_turns_nothing(content, tmp_path):
    Image.new("RGB", (16, 8), "red").save(tmp_path / "odd.jpg", exif=content)
    assert read_image(tmp_path / "odd.jpg", 8)[0, 0, 0] > 250


@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation_is_as_pillow_turns_it(orientation, tmp_path):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = save(tmp_path / "a.png", pixels(), exif=exif)
    with Image.open(path) as image:
        np.testing.assert_array_equal(read_image(path, 32), np.asarray(ImageOps.exif_transpose(image)))


# What is no file


@pytest.mark.parametrize(
    "address", ["https://example.org/a.png", "http://x/y.jpg", "s3://bucket/a.png", "file:///a.png"]
)
def test_an_address_is_told_from_a_file(address):
    assert refusal(address) == f"{address}: an address, not a file. Next: download it, and name the file"


def test_what_cannot_be_opened_says_why(tmp_path):
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    os.mkfifo(tmp_path / "pipe.png")  # nobody writes into it
    assert "leads back to itself. Next: delete it" in refusal(tmp_path / "loop.png")
    assert "a link to nowhere.png, where nothing can be read" in refusal(tmp_path / "gone.png")
    assert "a pipe, not an image" in refusal(tmp_path / "pipe.png")
    assert "the name is too long" in refusal(tmp_path / f"{'x' * 300}.png")
    save(tmp_path / "a.png", pixels())
    assert "no such file. Next: look at the path" in refusal(tmp_path / "a.png" / "b.png")


def test_a_disk_that_fails_is_not_taken_for_a_bad_image(tmp_path, monkeypatch):
    def fail(*arguments, **more):
        raise OSError(errno.EIO, "Input/output error")

    path = save(tmp_path / "a.png", pixels())
    monkeypatch.setattr(Image, "open", fail)
    assert refusal(path) == f"{path}: cannot be read (Input/output error). Next: look at the disk that it lies on"


def test_too_little_memory_is_not_taken_for_a_bad_image(tmp_path, monkeypatch):
    def fail(*arguments, **more):
        raise MemoryError

    path = save(tmp_path / "a.png", pixels())
    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(MemoryError):
        read_image(path, 8)
