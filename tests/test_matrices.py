"""The matrices that a dynamic network predicts, and how they are laid out in a picture."""

import keras
import numpy as np
import PIL.Image
import pytest

from neural_similarity.interpret import matrices, matrix_pictures
from neural_similarity.interpret.matrix_rows import rows_of_images, rows_of_training
from neural_similarity.layers import DynamicSimilarityConv2D, NeuralSimilarityPredictor
from neural_similarity.training.runs import open_run


@pytest.mark.parametrize("structure", ["diagonal", "unconstrained"])
def test_predicted_matrices_are_those_that_training_uses(structure):
    """Of a network whose layers share a predictor, too; its averages stay as they were."""
    shared = NeuralSimilarityPredictor(4, structure=structure, gamma_initializer="ones", init_scales=(1.0, 0.5))
    inputs = keras.Input((8, 8, 3))
    layers = [
        DynamicSimilarityConv2D(3, 3, padding="same", structure=structure, predictor=shared, name=name)
        for name in ("first", "second")
    ]
    model = keras.Model(inputs, layers[1](layers[0](inputs)))
    before = model.get_weights()
    images = np.random.default_rng(0).uniform(0, 1, (4, 8, 8, 3)).astype(np.float32)

    found = matrices.predicted_matrices(model, images)

    assert all(map(np.array_equal, model.get_weights(), before))
    assert list(found) == ["first", "second"]
    np.testing.assert_array_equal(found["first"], shared(images, training=True))
    np.testing.assert_array_equal(found["second"], shared(layers[0](images, training=True), training=True))
    identity = np.ones(9) if structure == "diagonal" else np.eye(9)
    deviation = matrices.mean_deviation(found)
    assert deviation["first"] == pytest.approx(np.mean(np.abs(found["first"] - identity)), rel=1e-5)
    assert deviation["first"] > 0.01


def test_tiles_lie_as_the_taps_lie_in_the_kernel():
    maps = np.arange(2 * 3 * 9).reshape(2, 3, 9).astype(np.float32)  # (y, x, k)
    tiles = matrices._tiled(maps)
    assert tiles.shape == (3 * 3 - 1, 3 * 4 - 1)
    np.testing.assert_array_equal(tiles[:2, :3], maps[:, :, 0])
    np.testing.assert_array_equal(tiles[:2, 8:], maps[:, :, 2])
    np.testing.assert_array_equal(tiles[3:5, 4:7], maps[:, :, 4])
    assert np.all(np.isnan(tiles[2]))


# Pictures of a run


def test_static_matrices_at_the_start_now_and_their_change():
    start, now = {"a": np.ones(9, np.float32)}, {"a": np.arange(9, dtype=np.float32)}
    first, second, change = rows_of_training(start, now)
    np.testing.assert_array_equal(first.maps["a"], np.ones((3, 3)))
    np.testing.assert_array_equal(second.maps["a"], np.arange(9).reshape(3, 3))
    np.testing.assert_array_equal(change.maps["a"], np.arange(9).reshape(3, 3) - 1)
    assert (first.middle, second.middle, second.reach, change.middle, change.reach) == (1, 1, 7, 0, 7)


def test_predicted_matrices_as_their_mean_and_their_distance_at_every_pixel():
    random = np.random.default_rng(0)
    m = random.standard_normal((2, 4, 5, 9, 9)).astype(np.float32)
    mean, *each = rows_of_images({"a": m}, np.full((2, 8, 8, 3), 300.0))
    np.testing.assert_allclose(mean.maps["a"], m.mean((0, 1, 2)), rtol=1e-5)
    assert len(each) == 2
    for i, row in enumerate(each):
        for y in range(4):
            for x in range(5):
                assert row.maps["a"][y, x] == pytest.approx(np.mean(np.abs(m[i, y, x] - np.eye(9))), rel=1e-5)
        assert row.image.dtype == np.uint8
        assert row.reach == each[0].reach
        assert np.all(row.image == 255)


def test_the_command_draws_a_static_run(run_folder, tmp_path, command):
    code, out, _ = command("matrices", run_folder, "--out", tmp_path / "m.png")
    assert (code, out) == (0, f"{tmp_path}/m.png\n")
    with PIL.Image.open(tmp_path / "m.png") as picture:
        assert picture.width > 1500
    figure = matrix_pictures.trained_figure(open_run(run_folder))
    assert len(figure.axes) == 3 * (9 + 1)
    assert "cifar10/static_uns, seed 0, step 5" in [text.get_text() for text in figure.texts]


@pytest.mark.parametrize("run_folder", ["dynamic_dns"], indirect=True)
def test_the_command_draws_a_dynamic_run(run_folder, tmp_path, command):
    picture = tmp_path / "photo.png"
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8)).save(picture)
    code, _, err = command("matrices", run_folder, "--images", picture, picture, "--out", tmp_path / "m.png")
    assert (code, err) == (0, "")
    figure = matrix_pictures.predicted_figure(open_run(run_folder), np.zeros((2, 32, 32, 3), np.float32))
    assert len(figure.axes) == (9 + 1) + 2 * (9 + 1 + 1)
    assert matrix_pictures.trained_figure(open_run(run_folder)) is None


@pytest.mark.parametrize("run_folder", ["baseline"], indirect=True)
def test_a_network_without_matrices_is_told_so(run_folder, tmp_path, command):
    code, out, err = command("matrices", run_folder)
    assert (code, out) == (2, "")
    assert "the network of cifar10/baseline has no similarity matrices" in err
    assert "the picture is a PNG" in command("matrices", run_folder, "--out", tmp_path / "m.jpg")[2]
