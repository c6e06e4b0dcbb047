"""The matrices that a dynamic network predicts, and how they are laid out in a picture."""

import keras
import numpy as np
import pytest

from neural_similarity.interpret import matrices
from neural_similarity.layers import DynamicSimilarityConv2D, NeuralSimilarityPredictor


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
