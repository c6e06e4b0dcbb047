"""Images from files: what is in them, at the size that a network takes."""

import io
import re
import struct
import warnings
import zlib

import numpy as np
import pytest
from pictures import pixels, save
from PIL import Image

from neural_similarity.data import image_files
from neural_similarity.data.image_files import read_image, read_images
from neural_similarity.errors import UserError

ORIENTATION = 0x0112  # EXIF tag


def test_an_image_of_the_right_size_keeps_its_pixels(tmp_path):
    image = read_image(save(tmp_path / "a.png", pixels()), 32)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, pixels())


def test_alpha_is_dropped_and_grey_becomes_three_channels(tmp_path):
    rgba, grey = pixels(channels=4), pixels()[..., 0]
    rgba[:16, :, 3] = 0
    np.testing.assert_array_equal(read_image(save(tmp_path / "rgba.png", rgba), 32), rgba[..., :3])
    threefold = np.repeat(grey[..., None], 3, -1)
    np.testing.assert_array_equal(read_image(save(tmp_path / "grey.png", grey), 32), threefold)
    grey_alpha = np.stack([grey, pixels(seed=1)[..., 0]], -1)
    np.testing.assert_array_equal(read_image(save(tmp_path / "la.png", grey_alpha), 32), threefold)
    sixteen_bits = grey.astype(np.uint16) * 257
    np.testing.assert_array_equal(read_image(save(tmp_path / "grey16.png", sixteen_bits), 32), threefold)


def test_a_palette_with_transparency_gives_its_colours(tmp_path, recwarn):
    image = Image.fromarray(np.arange(4, dtype=np.uint8).repeat(256).reshape(32, 32), "P")
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7]], np.uint8)
    image.putpalette(colours.tobytes())
    image.save(tmp_path / "palette.png", transparency=bytes([0, 128, 255, 255]))
    read = read_image(tmp_path / "palette.png", 32)
    np.testing.assert_array_equal(read, colours.repeat(256, 0).reshape(32, 32, 3))
    assert not recwarn.list


def test_exif_turns_the_image_upright(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # to be turned by 90° clockwise
    path = save(tmp_path / "turned.png", pixels(), exif=exif)
    np.testing.assert_array_equal(read_image(path, 32), np.rot90(pixels(), k=-1))


@pytest.mark.parametrize("turn", [False, True])
def test_the_centre_is_cropped_and_reduced_with_antialiasing(turn, tmp_path):
    """320×960: a checkerboard of single pixels in the middle square, colours on both sides."""
    board = np.zeros((320, 960, 3), np.uint8)
    board[:, :320, 0] = board[:, 640:, 2] = 255
    board[:, 320:640] = 255 * (np.indices((320, 320)).sum(0) % 2)[..., None]
    path = save(tmp_path / "board.png", np.ascontiguousarray(board.swapaxes(0, 1) if turn else board))
    image = read_image(path, 32).astype(int)
    assert image.shape == (32, 32, 3)
    inner = image[1:-1, 1:-1]  # a pixel at the crop's edge has seen something of the other side
    assert np.max(np.abs(inner - 127)) <= 2  # without antialiasing 0 or 255; off the centre, coloured


def test_thin_and_small_images_fill_the_square(tmp_path):
    assert read_image(save(tmp_path / "thin.png", pixels(1, 700)), 32).shape == (32, 32, 3)
    one = pixels(1, 1)
    np.testing.assert_array_equal(read_image(save(tmp_path / "one.png", one), 32), np.tile(one, (32, 32, 1)))


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_bomb(path):
    """A PNG of 70 bytes that says it is 20,000 pixels wide and high."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"")) + png_chunk(b"IEND", b""))


def write_truncated(path):
    whole = io.BytesIO()
    Image.fromarray(pixels()).save(whole, "PNG")
    path.write_bytes(whole.getvalue()[:1000])


BROKEN = {
    "bomb": (write_bomb, "expected at most 120,000,000 pixels"),
    "truncated": (write_truncated, "truncated"),
    "text": (lambda path: path.write_text("not an image"), "it does not begin as one"),
    "empty": (lambda path: path.write_bytes(b""), "it does not begin as one"),
    "folder": (lambda path: path.mkdir(), "a folder, not an image"),
    "missing": (lambda path: None, "no such file"),
    "TIFF": (lambda path: save(path, pixels(), format="TIFF"), "it does not begin as one"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_images_are_told_in_one_line(kind, tmp_path):
    write, message = BROKEN[kind]
    write(tmp_path / "image.png")
    with pytest.raises(UserError, match=message) as error:
        read_image(tmp_path / "image.png", 32)
    assert str(error.value).startswith(f"{tmp_path / 'image.png'}: ")
    assert len(str(error.value).splitlines()) == 1


# A set


@pytest.mark.parametrize("kind", [{"format": "PNG"}, {"format": "JPEG"}, {"format": "JPEG", "progressive": True}])
def test_a_file_that_was_cut_off_is_refused_unless_it_lost_no_pixel(kind, tmp_path):
    whole = save(tmp_path / "whole", pixels(24, 40), **kind)
    content, expected = whole.read_bytes(), read_image(whole, 16)
    cut, refused = tmp_path / "cut", 0
    for length in [*range(0, len(content), 37), *range(len(content) - 30, len(content))]:
        cut.write_bytes(content[:length])
        try:
            np.testing.assert_array_equal(read_image(cut, 16), expected)
        except UserError:
            refused += 1
    assert refused >= len(range(0, len(content), 37)) - 1


def test_many_images_are_read_in_order_as_one_is(tmp_path, capsys):
    paths = [save(tmp_path / f"{i}.png", pixels(20 + i, 30, seed=i)) for i in range(40)]
    images = read_images(paths, 16, "train")
    assert (images.shape, images.dtype) == ((40, 16, 16, 3), np.uint8)
    np.testing.assert_array_equal(images, [read_image(path, 16) for path in paths])
    assert capsys.readouterr().err == ""  # the bar is for terminals


def test_the_first_of_many_that_cannot_be_read_is_named(tmp_path):
    paths = [save(tmp_path / f"{i:02}.png", pixels(seed=i)) for i in range(40)]
    for i in (30, 11):
        write_truncated(paths[i])
    with pytest.raises(UserError) as error:
        read_images(paths, 16, "train")
    message = str(error.value)
    assert message.startswith(f"{paths[11]}: cannot be read as an image (image file is truncated")
    assert message.endswith("; expected a whole PNG, JPEG, GIF, BMP or WebP image. Next: replace it or leave it out")


def test_threads_leave_the_filters_of_warnings_alone(tmp_path):
    before = list(warnings.filters)
    read_images([save(tmp_path / f"{i}.png", pixels(seed=i)) for i in range(20)], 16, "train")
    assert warnings.filters == before


def test_more_images_than_memory_holds_are_told_before_they_are_read(monkeypatch):
    def refuse(shape, dtype):
        raise MemoryError

    monkeypatch.setattr(image_files.np, "empty", refuse)
    expected = "train: 1,000 images of 512×512 pixels need 0.8 GB of memory, more than there is. Next: a smaller"
    with pytest.raises(UserError, match=re.escape(expected)):
        read_images([None] * 1000, 512, "train")
