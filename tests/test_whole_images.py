"""Images of which a part is missing although the file ends properly."""

import io
import struct
import zlib

import numpy as np
import pytest
from pictures import pixels
from PIL import Image
from test_image_files import png_chunk

from neural_similarity.data import whole_images
from neural_similarity.data.image_files import read_image
from neural_similarity.data.whole_images import is_whole
from neural_similarity.errors import UserError

BLOCKS = np.kron(pixels(5, 7), np.ones((20, 20, 1), np.uint8))  # plain squares, whose ends are hard to see
GREY, BLACK = np.full((41, 50, 3), 128, np.uint8), np.zeros((41, 50, 3), np.uint8)  # as missing pixels look
PICTURES = {"noise": pixels(40, 50), "blocks": BLOCKS, "grey": GREY, "black": BLACK}


def whole(content):
    """Whether an image is read, by Pillow and by us."""
    file = io.BytesIO(content)
    image = Image.open(file)
    try:
        image.load()
    except OSError:
        return False
    return is_whole(image, file)


def encoded(array, kind, mode="RGB", **options):
    file = io.BytesIO()
    Image.fromarray(array).convert(mode).save(file, kind, **options)
    return file.getvalue()


def png(width, height, depth, colour, interlaced, rows, in_two=False):
    """A PNG of the bytes `rows`, which its size may not agree with, in one chunk or two."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    chunks = [(b"IHDR", header), *([(b"PLTE", bytes(768))] if colour == 3 else [])]
    packed = zlib.compress(rows)
    chunks += [(b"IDAT", packed[:9]), (b"IDAT", packed[9:])] if in_two else [(b"IDAT", packed)]
    chunks += [(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


@pytest.mark.parametrize(
    ("depth", "colour"), [(8, 2), (16, 2), (8, 6), (8, 0), (1, 0), (4, 3), (8, 3), (16, 0), (8, 4)]
)
@pytest.mark.parametrize("rows", range(6))
@pytest.mark.parametrize("in_two", [False, True])
def test_a_png_lacks_no_row(in_two, rows, depth, colour):
    row = bytes(1 + -(-11 * depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] // 8))
    assert whole(png(11, 5, depth, colour, 0, rows * row, in_two)) == (rows == 5)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 9), (8, 8), (11, 13), (5, 2)])
def test_an_interlaced_png_lacks_no_byte(width, height):
    """Zeros in every pass; one byte less cuts the last row of the last pass."""
    size = whole_images._png_bytes_expected(struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1))
    assert whole(png(width, height, 8, 2, 1, bytes(size)))
    in_passes = sum(
        len(range(row, height, down)) for column, row, _, down in whole_images._PNG_PASSES if column < width
    )
    assert size == 3 * width * height + in_passes  # a byte for each row tells its filter
    last_row = 1 + 3 * len(range(0, width, 1))
    if height > 1:  # then the last pass has rows of full width
        assert not whole(png(width, height, 8, 2, 1, bytes(size - last_row)))


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options",
    [{}, {"subsampling": 0}, {"subsampling": 2}, {"restart_marker_rows": 1}, {"optimize": True}, {"quality": 5}],
)
def test_a_jpeg_that_ends_early_is_seen(options, mode, picture):
    """All but the last blocks, whose absence can look like their presence."""
    content = encoded(PICTURES[picture], "JPEG", mode, **options)
    assert whole(content)
    assert whole(content + b"more, with a marker \xff\xd9")
    begin = content.index(b"\xff\xda") + 14
    for cut in range(begin, begin + 3 * (len(content) - begin) // 4, max(1, (len(content) - begin) // 12)):
        early = content[:cut].rstrip(b"\xff") + b"\xff\xd9"
        assert not whole(early) or np.array_equal(*(Image.open(io.BytesIO(c)) for c in (early, content))), cut


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {"progressive": True}), ("JPEG", {"exif": b"Exif\0\0\xff\xd9"}), ("PNG", {}), ("GIF", {}), ("WEBP", {})],
)
def test_whole_images_are_taken(kind, options, picture):
    assert whole(encoded(PICTURES[picture], kind, **options))


def test_the_file_is_looked_at_again_only_if_its_end_looks_missing(monkeypatch):
    monkeypatch.setattr(whole_images, "_png_bytes", None)
    monkeypatch.setattr(whole_images, "_end_of_jpeg", None)
    for kind in ("PNG", "JPEG"):
        assert whole(encoded(pixels(), kind))
        with pytest.raises(TypeError):
            whole(encoded(BLACK if kind == "PNG" else GREY, kind))


def test_such_files_are_refused_by_name(tmp_path):
    (tmp_path / "a.png").write_bytes(png(8, 8, 8, 2, 0, bytes(4 * 25)))
    content = encoded(pixels(), "JPEG")
    (tmp_path / "a.jpg").write_bytes(content[: len(content) * 3 // 4] + b"\xff\xd9")
    for name in ("a.png", "a.jpg"):
        with pytest.raises(UserError) as error:
            read_image(tmp_path / name, 8)
        assert str(error.value).startswith(f"{tmp_path / name}: cannot be read as an image (image file is truncated")
