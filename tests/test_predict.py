"""Images from files to class names."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from neural_similarity import load_run
from neural_similarity.errors import UserError
from neural_similarity.predict import main, predict, read_image

ORIENTATION = 0x0112  # EXIF tag


def pixels(height=32, width=32, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def save(path, array, **kwargs):
    Image.fromarray(array).save(path, **kwargs)
    return path


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
    "bomb": (write_bomb, "exceeds limit"),
    "truncated": (write_truncated, "truncated"),
    "text": (lambda path: path.write_text("not an image"), "cannot identify image file"),
    "empty": (lambda path: path.write_bytes(b""), "cannot identify image file"),
    "folder": (lambda path: path.mkdir(), "a folder, not an image"),
    "missing": (lambda path: None, "no such file"),
    "unknown range": (lambda path: save(path, np.full((8, 8), 1e6, np.float32), format="TIFF"), "32 bits a pixel"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_images_are_told_in_one_line(kind, tmp_path):
    write, message = BROKEN[kind]
    write(tmp_path / "image.png")
    with pytest.raises(UserError, match=message) as error:
        read_image(tmp_path / "image.png", 32)
    assert str(error.value).startswith(f"{tmp_path / 'image.png'}: ")
    assert len(str(error.value).splitlines()) == 1


@pytest.fixture
def three_images(tmp_path):
    return [save(tmp_path / f"{i}.png", pixels(40, 32 + i, seed=i)) for i in range(3)]


def test_predict_is_the_softmax_of_the_networks_logits(run_folder, three_images):
    probabilities = predict(run_folder, three_images)
    assert probabilities.shape == (3, 10)
    np.testing.assert_allclose(probabilities.sum(-1), 1)
    images = np.stack([read_image(path, 32) for path in three_images]).astype(np.float32)
    logits = np.asarray(load_run(run_folder)(images, training=False), np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4)
    assert np.ptp(probabilities, axis=0).max() > 1e-3  # images do matter here


def run_main(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return exit_.value.code


@pytest.mark.parametrize(("options", "named"), [([], 3), (["--top", "1"], 1), (["--top", "99"], 10)])
def test_command_names_the_top_classes(options, named, run_folder, three_images, capsys):
    assert run_main(run_folder, *three_images, *options) == 0
    output = capsys.readouterr()
    assert output.err == ""
    classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    lines = output.out.splitlines()
    assert len(lines) == 3
    for line, path, probabilities in zip(lines, three_images, predict(run_folder, three_images), strict=True):
        assert line.startswith(f"{path}: ")
        found = re.findall(r"(\w+) (\d+\.\d) %(?:, |$)", line.removeprefix(f"{path}: "))
        best = sorted(range(10), key=lambda i: -probabilities[i])[:named]
        assert found == [(classes[i], f"{100 * probabilities[i]:.1f}") for i in best]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN", "good.png", "missing.png"], "missing.png: no such file"),
        (["RUN", "."], "a folder, not an image"),
        (["no run", "good.png"], "not a run folder"),
        (["RUN", "good.png", "--top", "0"], "expected a whole number from 1 on"),
        (["RUN", "good.png", "--top", "many"], "expected a whole number from 1 on"),
        (["RUN"], "required: IMAGE"),
    ],
)
def test_mistakes_end_in_a_message(arguments, message, run_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save("good.png", pixels())
    assert run_main(*(run_folder if word == "RUN" else word for word in arguments)) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err.splitlines()[-1]
    assert "Traceback" not in output.err


def test_a_run_without_a_checkpoint_says_so(run_folder, tmp_path, capsys):
    for name in ("run.json", "config.yaml", "model.json"):
        (tmp_path / name).write_text((run_folder / name).read_text())
    assert run_main(tmp_path, save(tmp_path / "a.png", pixels())) == 2
    assert "no checkpoint yet" in capsys.readouterr().err
