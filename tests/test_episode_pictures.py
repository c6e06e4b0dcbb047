"""Pictures of few-shot test episodes, with narrow networks on the digits."""

import keras
import numpy as np
import pytest
from few_shot_runs import FEW_STEPS, few_shot_run
from PIL import Image

from neural_similarity.data.class_lists import MINI_IMAGENET_TEST_WORDS
from neural_similarity.families import few_shot, load_run
from neural_similarity.families.few_shot_evaluation import episode_measures
from neural_similarity.interpret import episode_pictures
from neural_similarity.interpret.episodes import Episode, answered_episode, dynamic_matrices, static_matrices
from neural_similarity.training.runs import open_run

DYNAMIC_UNS = ["kind=dynamic", "structure=unconstrained", "normalization=partial", "filters=4", "init_scales=[1, 1]"]
DYNAMIC_UNS += ["batch_norm=true", "gamma_initializer=ones"]
KINDS = {  # name: (config, settings, matrices that are drawn, with colour bars and images)
    "protonet": ("quickstart/few_shot", (), 0),
    "static_dns": ("cifar_fs/5shot_static_dns", FEW_STEPS, 3 * 5),
    "static_uns": ("cifar_fs/5shot_static_uns", ["batch_norm.mode=support", *FEW_STEPS], 3 * 5),
    "dynamic": ("cifar_fs/1shot_dynamic_proto", ["method.training_n_way=5"], 2 * 5 + 1),
    "dynamic_uns": ("cifar_fs/5shot_maml", [*(f"similarity.{s}" for s in DYNAMIC_UNS), *FEW_STEPS], 2 * 5 + 1),
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """`opened(kind)`: (folder, config, model, splits) of a run, made once."""
    known = {}

    def of(kind):
        if kind not in known:
            name, settings, _ = KINDS[kind]
            folder = few_shot_run(tmp_path_factory.mktemp(kind) / "run", *settings, name=name)
            config = open_run(folder).config
            known[kind] = folder, config, load_run(folder), few_shot.load_data(config)
        return known[kind]

    return of


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind == "dynamic_uns")) for kind in KINDS]
)
def test_a_picture_has_every_image_every_answer_and_every_matrix(opened, kind, tmp_path, command, monkeypatch):
    drawn = []

    def recorded(episode, *rest, draw=episode_pictures.episode_figure):
        drawn.append((episode, draw(episode, *rest)))
        return drawn[-1][1]

    monkeypatch.setattr(episode_pictures, "episode_figure", recorded)
    folder, config, *_ = opened(kind)
    out = tmp_path / "x.png"
    code, said, _ = command("episode", folder, "--number", 2, "--out", out)
    assert code == 0
    ((episode, figure),) = drawn
    assert np.asarray(Image.open(out).convert("L")).std() > 20
    assert f"test episode 2: {np.sum(episode.right)} of 15 queries right" in said
    assert len(figure.axes) == 5 * (config.episode.k_shot + 3) + KINDS[kind][-1]
    marks = [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()]
    wanted = ["✓" if p == i else f"✗ {episode.classes[p]}" for i, row in enumerate(episode.predicted) for p in row]
    assert marks == wanted


@pytest.mark.parametrize("kind", ["protonet", "static_dns", "dynamic"])
def test_answers_are_those_of_the_evaluation(opened, kind):
    _, config, model, splits = opened(kind)
    _, accuracies = episode_measures(config, model)(splits.test, "test", 2)
    found = [answered_episode(config, model, splits.test, number).right.mean() for number in range(2)]
    np.testing.assert_allclose(found, accuracies, atol=1e-6)


def test_a_row_holds_images_of_its_class(opened):
    _, config, model, splits = opened("protonet")
    episode = answered_episode(config, model, splits.test, 1)
    assert sorted(episode.classes) == list("56789")
    assert episode.support.shape[:2] == (5, 5)
    assert episode.queries.shape[:2] == (5, 3)
    of_class = dict(zip(splits.test.classes, splits.test.rows, strict=True))
    for name, images in zip(episode.classes, np.concatenate([episode.support, episode.queries], 1), strict=True):
        known = {image.tobytes() for image in splits.test.images[of_class[name]]}
        assert {image.tobytes() for image in images} <= known


def test_static_matrices_change_by_the_inner_loop_alone(opened):
    _, config, model, splits = opened("static_dns")
    episode = answered_episode(config, model, splits.test, 0)
    found = static_matrices(config, model, episode)
    assert list(found) == ["conv1", "conv2", "conv3", "conv4"]
    for name, (before, after) in found.items():
        np.testing.assert_array_equal(before, model.get_layer(name).similarity_matrix)
        assert before.shape == after.shape == (9,)
        assert np.any(before != after)
    assert dynamic_matrices(config, model, episode) == {}


def test_matrices_that_do_not_adapt_are_drawn_once(opened):
    _, config, model, splits = opened("static_dns")
    config = config.model_copy(update={"method": config.method.model_copy(update={"adapt": "head"})})
    episode = answered_episode(config, model, splits.test, 0)
    static = static_matrices(config, model, episode)
    assert [after for _, after in static.values()] == [None] * 4
    assert len(episode_pictures.episode_figure(episode, "x", static, {}).axes) == 5 * (5 + 3) + 5


def test_dynamic_matrices_are_those_of_the_evaluation(opened):
    """In the mode `running` they are what the layers predict in inference."""
    _, config, model, splits = opened("dynamic")
    episode = answered_episode(config, model, splits.test, 0)
    found = dynamic_matrices(config, model, episode)
    x = episode.queries.reshape(15, *episode.queries.shape[2:]).astype(np.float32)
    assert list(found) == ["conv1", "conv2", "conv3", "conv4"]
    for name, matrices in found.items():
        layer = model.get_layer(name)
        inputs = keras.Model(model.input, layer.input)(x, training=False)
        np.testing.assert_allclose(matrices, layer.predictor(inputs, training=False), rtol=1e-4, atol=1e-4)


def test_names_are_readable():
    assert MINI_IMAGENET_TEST_WORDS["n02129165"] == "lion"
    images = np.zeros((2, 1, 16, 16, 3), np.uint8)
    episode = Episode(("n02099601", "n01532829"), images, images, np.array([[1], [0]]))
    figure = episode_pictures.episode_figure(episode, "5 $ and $ 6", {}, {})
    texts = [text.get_text() for text in figure.texts]
    assert "golden\nretriever" in texts
    assert "n01532829" in texts
    assert "5 \\$ and \\$ 6" in texts
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "✗ n01532829", "", "✗ golden\nretriever"]


def test_right_and_wrong_differ_in_more_than_colour():
    images = np.zeros((2, 1, 16, 16, 3), np.uint8)
    episode = Episode(("a", "b"), images, images, np.array([[0], [0]]))
    _, right, _, wrong = episode_pictures.episode_figure(episode, "x", {}, {}).axes
    right, wrong = right.spines["left"], wrong.spines["left"]
    assert wrong.get_linewidth() > 2 * right.get_linewidth()
    assert right.get_linestyle() != wrong.get_linestyle()


def test_only_a_png_is_written(opened, command, tmp_path):
    folder = opened("protonet")[0]
    code, _, said = command("episode", folder, "--out", tmp_path / "x.jpg")
    assert code == 2
    assert "x.png" in said
    code, _, said = command("episode", folder, "--out", tmp_path / "no" / "x.png")
    assert code == 2
    assert f"there is no folder {tmp_path / 'no'}. Next: make it" in said
