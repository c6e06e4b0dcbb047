"""What explains a pair of images: numbers, JSON and the picture."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from metric_runs import digits_of_classes, metric_run
from pictures import pixels, save
from PIL import Image

from neural_similarity import interpret, load_run
from neural_similarity.data.image_files import middle_square, resized_centre
from neural_similarity.distances import Structural
from neural_similarity.errors import UserError
from neural_similarity.interpret import cells, explain_pair, pair_command, pair_pictures
from neural_similarity.interpret.given_images import square_images
from neural_similarity.interpret.pairs import PairExplanation, strongest_links
from neural_similarity.interpret.trained_metrics import load_metric
from neural_similarity.interpret.waterfall import steps_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return metric_run(tmp_path_factory.mktemp("pairs") / "run")


@pytest.fixture(scope="module")
def model(folder):
    return load_run(folder)


@pytest.fixture(scope="module")
def digits():
    return digits_of_classes(2)["8"]


@pytest.fixture(scope="module")
def explained(model, digits):
    return explain_pair(model, *digits, whole="cells")


@pytest.fixture
def files(digits, tmp_path):
    return [save(tmp_path / f"{i}.png", np.asarray(image)) for i, image in enumerate(digits)]


def any_map(channels=6, size=None, seed=0):
    """An untrained Keras model that somebody else could have made: its map has a quarter of the image's size."""
    inputs = keras.Input((size, size, 3))
    kernel = keras.initializers.Orthogonal(seed=seed)
    x = keras.layers.Conv2D(channels, 4, strides=4, use_bias=False, kernel_initializer=kernel)(inputs)
    return keras.Model(inputs, x)


def test_it_is_found_where_the_docs_say():
    assert interpret.explain_pair is explain_pair
    assert interpret.PairExplanation is PairExplanation
    with pytest.raises(AttributeError, match="no attribute 'explain'"):
        interpret.explain  # noqa: B018


def test_contributions_sum_to_the_score(explained):
    assert explained.contributions.sum() == pytest.approx(explained.structural_similarity, abs=1e-6)
    assert explained.score == explained.whole + explained.structural_similarity
    assert explained.u.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(explained.plan.sum(0), explained.v, atol=1e-5)
    assert np.abs(explained.plan.sum(1) - explained.u).sum() == pytest.approx(explained.residual, abs=1e-5)
    largest, others, count = steps_of(explained)
    assert sum(largest) + others == pytest.approx(explained.structural_similarity)
    assert len(largest) + count == 16 * 16
    assert largest == sorted(largest, reverse=True)


def test_the_numbers_are_those_of_the_ranking(model, digits, explained):
    distance = Structural(whole="cells")
    prepared = distance.prepare(model(np.asarray(digits, np.float32), training=False))
    score = distance.fine(prepared[:1], prepared[None, 1:])
    assert explained.score == pytest.approx(float(score[0, 0]), abs=1e-5)
    np.testing.assert_array_equal(explained.images, digits)


def test_settings_arrive(model, digits):
    explained = explain_pair(model, *digits, cells=2, entropy=1.0, sweeps=3, marginals="uniform")
    np.testing.assert_allclose(explained.u, 1 / 4)
    assert explained.cells == 2
    assert explained.matching == {"cells": 2, "whole": "map", "entropy": 1.0, "sweeps": 3, "marginals": "uniform"}


def test_links_are_the_strongest_and_have_weight():
    plan = np.array([[0.5, 0, 0, 0], [0, 0.3, 0, 0], [0, 0, 0, 0], [0, 0, 0.2, 0]])
    similarities = np.full((4, 4), 0.5)
    similarities[1, 1] = 1.0
    links = strongest_links(plan, similarities, 10)
    assert [(link.a, link.b) for link in links] == [((0, 1), (0, 1)), ((0, 0), (0, 0)), ((1, 1), (1, 0))]
    assert [link.contribution for link in links] == pytest.approx([0.3, 0.25, 0.1])
    assert strongest_links(plan, similarities, 1) == links[:1]
    assert strongest_links(np.zeros((4, 4)), similarities, 5) == []


def test_weightless_links_stay_out_where_similarities_are_negative():
    plan = np.diag([0.6, 0.4, 0, 0])
    links = strongest_links(plan, -np.ones((4, 4)), 5)
    assert [link.weight for link in links] == pytest.approx([0.4, 0.6])


def test_json_has_all_numbers(explained, tmp_path):
    explained.save_json(tmp_path / "pair.json")
    read = json.loads((tmp_path / "pair.json").read_text(encoding="utf-8"))
    for name in ("u", "v", "plan", "similarities", "contributions"):
        np.testing.assert_array_equal(np.array(read[name], np.float32), getattr(explained, name))
    assert read["score"] == explained.score
    assert read["images"] == ["image a", "image b"]
    assert read["matching"] == explained.matching
    strongest = explained.strongest_links()
    assert [tuple(link["a"]) for link in read["strongest_links"]] == [link.a for link in strongest]


def test_any_model_of_any_size_takes_paths_images_and_arrays(tmp_path):
    first, second = pixels(60, 80, seed=1), pixels(80, 60, seed=2)
    paths = [save(tmp_path / f"{i}.png", image) for i, image in enumerate((first, second))]
    model = any_map()
    by_path = explain_pair(model, *paths)
    assert by_path.images.shape == (2, 224, 224, 3)
    assert by_path.names == tuple(map(str, paths))
    for given in ([Image.fromarray(first), Image.fromarray(second)], [first, second.astype(np.float32)]):
        np.testing.assert_array_equal(explain_pair(model, *given).plan, by_path.plan)
    own = explain_pair(model, pixels(48, 48), pixels(48, 48, seed=3))
    assert own.images.shape == (2, 48, 48, 3)


def test_preprocessing_may_change_what_it_is_given(digits):
    def in_place(images):
        images /= 127.5
        images -= 1.0
        return images

    scaled = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Rescaling(1 / 127.5, -1.0), any_map(size=32)])
    expected = explain_pair(scaled, *digits)
    found = explain_pair(any_map(size=32), *digits, preprocess=in_place)
    np.testing.assert_allclose(found.plan, expected.plan, atol=1e-6)
    np.testing.assert_array_equal(found.images, digits)


def test_embeddings_describe_the_whole_images(digits):
    network = any_map(size=32)
    pooled = keras.Model(network.input, keras.layers.GlobalAveragePooling2D()(network.output))
    expected = explain_pair(network, *digits)
    for embeddings in (pooled, pooled(np.asarray(digits, np.float32))):
        found = explain_pair(network, *digits, embeddings=embeddings)
        assert found.whole == pytest.approx(expected.whole, abs=1e-5)
        assert found.matching["whole"] == "embeddings"


def test_files_are_read_in_the_form_for_evaluation(tmp_path):
    path = save(tmp_path / "a.png", pixels(50, 90))
    for scaled in (resized_centre, middle_square):
        (found,) = square_images([path], 32, scaled)
        np.testing.assert_array_equal(found, scaled(Image.open(path), 32))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "I;16"])
def test_every_kind_of_image_becomes_rgb(mode, tmp_path):
    levels = pixels(40, 40)[..., 0]
    grey = Image.fromarray(levels.astype(np.uint16) << 8) if mode == "I;16" else Image.fromarray(levels)
    image = grey if mode in ("L", "I;16") else grey.convert(mode)
    image.save(tmp_path / "x.png")
    from_file, from_image = square_images([tmp_path / "x.png", image], 40, middle_square)
    np.testing.assert_array_equal(from_file, from_image)
    np.testing.assert_array_equal(from_file, np.repeat(levels[..., None], 3, -1))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (pixels()[..., 0], "Of a grey image, repeat the channel three times"),
        (pixels(channels=4), r"shape \(32, 32, 4\)"),
        (pixels() / np.float32(255), r"image \* 255"),
        (pixels() - np.float32(128), "numbers from -128 to 127"),
        (np.full((4, 4, 3), np.nan), "numbers from nan"),
        ("x", "no such file"),
        (None, "an image must be a path"),
    ],
)
def test_what_is_no_image_is_refused(image, message, model):
    with pytest.raises((ValueError, UserError), match=message):
        explain_pair(model, image, pixels())


def test_models_that_cannot_be_explained_are_refused(digits):
    flat = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten()])
    with pytest.raises(ValueError, match=r"must end with a map .* include_top=False"):
        explain_pair(flat, *digits)
    oblong = keras.Sequential([keras.Input((32, 16, 3)), keras.layers.Conv2D(2, 1)])
    with pytest.raises(ValueError, match="must take square images"):
        explain_pair(oblong, *digits)
    network = any_map(size=32)
    network.set_weights([np.full_like(weight, np.nan) for weight in network.get_weights()])
    with pytest.raises(UserError, match=r"image a: the network's map has numbers that are not finite.* Next: "):
        explain_pair(network, *digits)
    network.set_weights([np.zeros_like(weight) for weight in network.get_weights()])
    with pytest.raises(UserError, match=r"image a: the network's map is zero.* Next: "):
        explain_pair(network, *digits)


def test_cells_are_named_and_divide_the_image():
    assert cells.in_words((0, 0), 4) == "upper left (1,1)"
    assert cells.in_words((1, 2), 4) == "centre (2,3)"
    assert cells.in_words((3, 1), 4) == "lower middle (4,2)"
    assert cells.in_words((1, 0), 4) == "left (2,1)"
    assert cells.in_words((0, 0), 1) == "centre (1,1)"
    np.testing.assert_array_equal(cells.cell_edges(224, 4), [0, 56, 112, 168, 224])
    for size, count in ((32, 3), (7, 4), (5, 5)):
        edges = cells.cell_edges(size, count)
        assert (edges[0], edges[-1]) == (0, size)
        assert np.ptp(np.diff(edges)) <= 1


def test_an_image_is_rebuilt_from_the_other_ones_cells():
    for size in (8, 9):  # in cells of 4, or of 4 and 5
        other = pixels(size, size)
        np.testing.assert_array_equal(cells.rebuilt(other, np.eye(4) / 4), other)
    other = pixels(8, 8)
    found = cells.rebuilt(other, np.array([[0, 0.4, 0.1, 0], [0.2, 0.05, 0, 0], [0, 0, 0.5, 0], [0, 0, 0, 0]]))
    np.testing.assert_array_equal(found[:4, :4], other[:4, 4:])
    np.testing.assert_array_equal(found[:4, 4:], np.round(other[:4, :4] * 0.5).astype(np.uint8))  # of half the weight
    np.testing.assert_array_equal(found[4:, :4], other[4:, :4])
    assert not found[4:, 4:].any()


def test_masked_cells_get_the_mean_colour():
    images = pixels(8, 8)[None].repeat(2, 0)
    found = cells.masked(images, np.array([[0, 3], [1, 2]]), 2)
    np.testing.assert_allclose(found[0, :4, :4], np.broadcast_to(images[0].mean((0, 1)), (4, 4, 3)), rtol=1e-6)
    np.testing.assert_array_equal(found[0, :4, 4:], images[0, :4, 4:])
    np.testing.assert_array_equal(found[1, 4:, 4:], images[1, 4:, 4:])


def test_the_picture_has_every_part(explained, tmp_path, monkeypatch):
    drawn = []

    def recorded(*arguments, draw=pair_pictures.pair_figure):
        drawn.append(draw(*arguments))
        return drawn[-1]

    monkeypatch.setattr(pair_pictures, "pair_figure", recorded)
    explained.draw(tmp_path / "pair.png", links=3)
    assert np.asarray(Image.open(tmp_path / "pair.png").convert("L")).std() > 20
    (figure,) = drawn
    texts = " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
    for link in explained.strongest_links(3):
        assert f"{link.similarity:.2f}" in texts
    words = " ".join(text.get_text() for text in figure.texts)
    assert explained.in_words() in words
    assert "Each image made of the other one's cells" in words
    # The pair, two heat maps and their bar, two rebuilt images, T and S and their bars, two sums.
    assert len(figure.axes) == 1 + 3 + 2 + 4 + 2
    assert len(figure.axes[0].patches) == 2 * 3
    widths = [line.get_linewidth() for line in figure.axes[0].lines]
    weights = [link.weight for link in explained.strongest_links(3)][::-1]
    assert np.argsort(widths).tolist() == np.argsort(weights).tolist()


def test_odd_pairs_are_drawn_too(model, digits):
    many = explain_pair(model, *digits, cells=6)
    assert len(pair_pictures.pair_figure(many, links=30).axes[0].lines) == 30
    one = explain_pair(model, *digits, cells=1)
    assert len(pair_pictures.pair_figure(one).axes[0].lines) == 1


def test_the_command_tells_draws_and_writes(folder, files, tmp_path, command):
    code, said, _ = command("pair", folder, *files, "--out", tmp_path / "p.png", "--json", tmp_path / "p.json")
    assert code == 0
    metric = load_metric(folder)
    explained = pair_command.explain_files(metric, *files)
    lines = said.splitlines()
    assert lines[0] == explained.in_words()
    assert len([line for line in lines if " ↔ " in line]) == 5
    assert lines[-2:] == [str(tmp_path / "p.png"), str(tmp_path / "p.json")]
    assert np.asarray(Image.open(tmp_path / "p.png").convert("L")).std() > 20
    assert json.loads((tmp_path / "p.json").read_text())["score"] == pytest.approx(explained.score)


def test_the_command_sees_what_the_evaluation_sees(folder, model, digits, files):
    explained = pair_command.explain_files(load_metric(folder), *files)
    np.testing.assert_array_equal(explained.images, digits)
    np.testing.assert_allclose(explained.plan, explain_pair(model, *digits, whole="cells").plan, atol=1e-6)


def test_mistakes_end_in_a_message(folder, files, tmp_path, command, run_folder):
    broken = tmp_path / "broken.png"
    broken.write_bytes(files[0].read_bytes()[:60])
    for words, message in [
        ((folder, files[0], tmp_path / "none.png"), "none.png: no such file"),
        ((folder, files[0], broken), "broken.png: cannot be read as an image"),
        ((folder, *files, "--out", tmp_path / "p.jpg"), "the picture is a PNG. Next: --out"),
        ((folder, *files, "--out", tmp_path / "no" / "p.png"), "there is no folder"),
        ((folder, *files, "--json", tmp_path / "no" / "p.json"), "Next: make it, or --json another"),
        ((run_folder, *files), "a run of image recognition (cifar10/static_uns); expected a run of metric learning"),
        ((tmp_path, *files), "not a run folder"),
    ]:
        code, _, said = command("pair", *words)
        assert code == 2, words
        assert message in said
        assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("predict", "RUN", "IMAGE"),
            "expected a run that names classes, of image recognition or few-shot recognition",
        ),
        (("predict", "RUN", "IMAGE", "--support", "."), "expected a run of few-shot recognition"),
        (("matrices", "RUN"), "expected a run of a static or dynamic network"),
        (("attention", "RUN", "--images", "0"), "expected a run of a network with attention"),
    ],
)
def test_commands_for_other_runs_name_those_for_this_one(words, message, folder, files, command):
    code, _, said = command(*({"RUN": folder, "IMAGE": files[0]}.get(word, word) for word in words))
    assert code == 2
    assert f"a run of metric learning (quickstart/diml), which compares images; {message}. Next: " in said
    assert f"python -m neural_similarity retrieve {folder} --gallery DIR IMAGE" in said
    assert f"python -m neural_similarity pair {folder} IMAGE IMAGE" in said


def test_the_other_commands_refuse_or_work(folder, tmp_path, command):
    for words in (("episode", folder), ("compare", folder, folder)):
        code, _, said = command(*words)
        assert code == 2
        assert "a run of metric learning (quickstart/diml); expected a run of few-shot recognition" in said
    assert command("report", folder, "--out", tmp_path / "r.html")[0] == 0
    assert "quickstart/diml, seed 0" in (tmp_path / "r.html").read_text(encoding="utf-8")
    code, said, _ = command("merge", folder, "--out", tmp_path / "m.keras")
    assert code == 0
    assert "max |Δembedding|" in said
    plain = keras.saving.load_model(tmp_path / "m.keras", compile=False)
    assert not any(type(layer).__module__.startswith("neural_similarity") for layer in plain.layers)


def test_a_precision_of_16_bits_is_explained_in_32(digits):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        explained = explain_pair(any_map(size=32), *digits)
    finally:
        keras.config.set_dtype_policy(before)
    assert explained.plan.dtype == np.float32
    assert tf.reduce_sum(explained.plan).numpy() == pytest.approx(1, abs=1e-4)
