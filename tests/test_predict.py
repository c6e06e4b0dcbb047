"""From images to class names."""

import re

import numpy as np
import pytest
import tensorflow as tf
from commands import run_tool
from pictures import pixels, save

from neural_similarity import load_run
from neural_similarity import predict as prediction
from neural_similarity.data.image_files import read_image
from neural_similarity.errors import UserError
from neural_similarity.predict import describe, given, predict


@pytest.fixture
def three_images(tmp_path):
    return [save(tmp_path / f"{i}.png", pixels(40, 32 + i, seed=i)) for i in range(3)]


def test_predict_is_the_softmax_of_the_networks_logits(run_folder, three_images):
    probabilities = predict(run_folder, three_images)
    assert probabilities.shape == (3, 10)
    images = np.stack([read_image(path, 32) for path in three_images]).astype(np.float32)
    logits = np.asarray(load_run(run_folder)(images, training=False), np.float64)
    expected = tf.nn.softmax(logits)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4)
    assert np.ptp(probabilities, axis=0).max() > 1e-3  # images do matter here


@pytest.mark.parametrize(("options", "named"), [([], 3), (["--top", "1"], 1), (["--top", "99"], 10)])
def test_command_names_the_top_classes(options, named, run_folder, three_images, capsys):
    assert run_tool("predict", run_folder, *three_images, *options) == 0
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
        (["RUN", "missing.png"], "missing.png: no such file"),
        (["RUN", "."], ".: a folder, not an image"),
        (["RUN", "x" * 300 + ".png"], "the name is too long"),
        (["RUN", "https://example.org/cat.png"], "https://example.org/cat.png: an address, not a file. Next: download"),
        (["no run", "good.png"], "not a run folder"),
        (["RUN", "good.png", "--top", "0"], "expected a whole number from 1 on"),
        (["RUN", "good.png", "--top", "many"], "expected a whole number from 1 on"),
        (["RUN"], "required: IMAGE"),
    ],
)
def test_mistakes_end_in_a_message(arguments, message, run_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save("good.png", pixels())
    assert run_tool("predict", *(run_folder if word == "RUN" else word for word in arguments)) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err.splitlines()[-1]
    assert "Traceback" not in output.err


def test_a_run_without_a_checkpoint_says_so(run_folder, tmp_path, capsys):
    for name in ("run.json", "config.yaml"):
        (tmp_path / name).write_text((run_folder / name).read_text())
    assert run_tool("predict", tmp_path, save(tmp_path / "a.png", pixels())) == 2
    assert "no checkpoint yet" in capsys.readouterr().err


def test_bad_files_leave_the_others_their_answers(run_folder, three_images, tmp_path, capsys):
    bad = tmp_path / "bad.png"
    bad.write_bytes(three_images[0].read_bytes()[:100])
    assert run_tool("predict", run_folder, three_images[0], bad, tmp_path / "none.png", *three_images[1:]) == 2
    output = capsys.readouterr()
    assert [line.split(": ")[0] for line in output.out.splitlines()] == list(map(str, three_images))
    assert [line.split(": ")[0] for line in output.err.splitlines()] == [str(bad), str(tmp_path / "none.png")]
    assert run_tool("predict", run_folder, *three_images) == 0
    assert capsys.readouterr().out == output.out


def test_answers_come_batch_by_batch(run_folder, three_images, monkeypatch):
    expected = [line for line, _ in describe(run_folder, three_images)]
    monkeypatch.setattr(given, "_PIXELS_PER_BATCH", 2 * 32 * 32)
    read = []
    monkeypatch.setattr(prediction, "read_image", lambda path, size: read.append(path) or read_image(path, size))
    answers = describe(run_folder, three_images)
    assert [next(answers), next(answers)] == [(line, True) for line in expected[:2]]
    assert read == three_images[:2]
    assert next(answers) == (expected[2], True)
    monkeypatch.setattr(given, "_PIXELS_PER_BATCH", 1)  # one image is a batch, however large
    assert [line for line, _ in describe(run_folder, three_images)] == expected


def test_the_function_raises_at_a_bad_file(run_folder, three_images):
    with pytest.raises(UserError, match=r"none\.png: no such file"):
        predict(run_folder, [*three_images, three_images[0].with_name("none.png")])
