"""How far M is from the identity, during training."""

import keras
import numpy as np
import pytest

from neural_similarity.layers import DynamicSimilarityConv2D, NeuralSimilarityPredictor, StaticSimilarityConv2D
from neural_similarity.models.deviation import mean_deviations
from neural_similarity.training.logs import read_rows


@pytest.mark.parametrize("structure", ["diagonal", "unconstrained"])
def test_deviation_against_a_loop(structure):
    predictor = NeuralSimilarityPredictor(4, structure=structure, gamma_initializer="ones", init_scales=(1.0, 0.5))
    image = keras.Input((6, 5, 3))
    static = StaticSimilarityConv2D(3, 3, padding="same", structure=structure, name="static")
    dynamic = DynamicSimilarityConv2D(2, 3, padding="same", structure=structure, predictor=predictor, name="dynamic")
    model = keras.Model(image, dynamic(static(image)))
    random = np.random.default_rng(0)
    static.similarity_matrix.assign(random.standard_normal(static.similarity_matrix.shape))
    images = random.standard_normal((2, 6, 5, 3)).astype(np.float32)

    found = mean_deviations(model)(images)

    predicted = np.asarray(predictor(static(images), training=False))
    for name, matrices in (("static", np.asarray(static.similarity_matrix)[None]), ("dynamic", predicted)):
        total, count = 0.0, 0
        for matrix in matrices.reshape(-1, *static.similarity_matrix.shape):
            for index, value in np.ndenumerate(matrix):
                total += abs(value - (1.0 if len(set(index)) == 1 else 0.0))
                count += 1
        np.testing.assert_allclose(found[name], total / count, rtol=1e-5, err_msg=name)


def test_plain_networks_have_none():
    assert mean_deviations(keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(2, 3)])) is None


def test_every_evaluation_of_a_run_tells_it(finished_run):
    rows = [row for row in read_rows(finished_run / "metrics.jsonl") if row["split"] == "similarity"]
    assert [row["step"] for row in rows] == [10, 20, 25]
    layers = [f"conv{stage}_{i}" for stage in (1, 2, 3) for i in range(3)]
    assert [name for name in rows[0] if name not in ("step", "split")] == layers
    assert all(row[name] > 0 for row in rows for name in layers)
    assert sum(rows[-1][name] for name in layers) > sum(rows[0][name] for name in layers)
