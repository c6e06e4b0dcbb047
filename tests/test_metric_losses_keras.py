"""Losses of embeddings as Keras uses them: in `fit`, in files, with replicas and in sixteen bits."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from slow_forms import normal
from slow_losses import LABELS, embeddings

from neural_similarity import losses, miners
from neural_similarity.distances import Cosine, Euclidean, Structural
from neural_similarity.losses import parts


def toy_data():
    """Points `(32, 6)` around four centres, and their classes."""
    labels = np.repeat(np.arange(4), 8)
    return (2 * normal(0, 4, 6)[labels] + normal(1, 32, 6)).astype("float32"), labels


def network(loss, **settings):
    """A linear layer, which trains the loss's own weights too; see `EmbeddingLoss`."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, keras.layers.Dense(3, **settings)(inputs))
    if loss.parameters:
        model.loss_parameters = loss.parameters
    model.compile(keras.optimizers.Adam(0.05), loss=loss)
    return model


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (lambda: losses.TripletLoss(seed=0), "float32"),
        (lambda: losses.MarginLoss(4, seed=0), "float32"),
        (losses.MultiSimilarityLoss, "float32"),
        (lambda: losses.ProxyAnchorLoss(4, 3, seed=0), "mixed_bfloat16"),
    ],
    ids=["triplet", "margin", "multi_similarity", "proxy_anchor"],
)
def test_fit_lowers_the_loss_and_trains_its_weights(make, dtype):
    loss = make()
    model = network(loss, dtype=dtype)
    x, labels = toy_data()
    assert loss(labels, model(x)).dtype == tf.float32
    weights = [weight.numpy() for weight in model.trainable_variables]
    assert len(weights) == 2 + (loss.parameters is not None)
    history = model.fit(np.tile(x, (8, 1)), np.tile(labels, 8), shuffle=False, epochs=4, verbose=0).history["loss"]
    assert history[-1] < 0.8 * history[0]
    for before, after in zip(weights, model.trainable_variables, strict=True):
        assert np.abs(before - after).max() > 1e-3, after.path


def test_a_sequential_model_overlooks_the_weights():
    loss, sequential = losses.MarginLoss(4), keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    for model, count in ((sequential, 2), (keras.Model(sequential.inputs, sequential.outputs), 3)):
        model.loss_parameters = loss.parameters
        assert len(model.trainable_variables) == count


def test_a_file_keeps_the_loss_with_its_weights(tmp_path):
    loss = losses.MarginLoss(4, seed=0, miner=miners.SemiHard(0.3), nu=0.01)
    model = network(loss)
    model.fit(*toy_data(), batch_size=32, epochs=3, verbose=0)
    model.save(tmp_path / "x.keras")
    with pytest.warns(UserWarning, match="Skipping variable loading for optimizer"):
        loaded = keras.models.load_model(tmp_path / "x.keras")
    assert loaded.loss.get_config() == loss.get_config()
    assert loaded.loss.miner.margin == 0.3
    np.testing.assert_array_equal(loaded.loss.beta.numpy(), loss.beta.numpy())
    assert np.ptp(loss.beta.numpy()) > 0
    loaded.loss_parameters = loaded.loss.parameters
    assert any(weight is loaded.loss.beta for weight in loaded.trainable_variables)


@pytest.mark.parametrize(
    "loss",
    [
        losses.ContrastiveLoss(positive_margin=0.1, negative_margin=0.9, distance=Structural(cells=2, sweeps=15)),
        losses.TripletLoss(margin=0.3, squared=False, distance=Euclidean(), miner=miners.RandomNegatives(), seed=3),
        losses.MarginLoss(
            7, margin=0.1, beta=0.6, nu=0.2, every_beta=True, miner=miners.DistanceWeighted(0.4, 128, 1.4)
        ),
        losses.MultiSimilarityLoss(alpha=1.0, beta=50.0, base=0.4, epsilon=0.2, name="mine", dtype="float64"),
        losses.ProxyAnchorLoss(7, 5, alpha=16.0, margin=0.2, seed=4),
        losses.NormalizedSoftmaxLoss(7, 5, temperature=0.1),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_configs_give_the_loss_again(loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    assert type(again.distance) is type(loss.distance)
    assert vars(again.distance) == vars(loss.distance)
    if hasattr(loss, "miner"):
        assert vars(again.miner) == vars(loss.miner)


def test_distances_of_other_people():
    @keras.saving.register_keras_serializable("tests")
    class Mine(Cosine):
        def get_config(self):
            return {}

        @classmethod
        def from_config(cls, config):
            return cls(**config)

    assert type(parts.from_config(parts.to_config(Mine()))) is Mine


def test_a_seed_determines_the_losses_of_a_training():
    x = embeddings()
    one, same, other = ([float(loss(LABELS, x)) for _ in range(3)] for loss in map(seeded, (1, 1, 2)))
    assert one == same
    assert one != other
    assert len(set(one)) > 1  # each batch has triplets of its own


def seeded(seed):
    return losses.TripletLoss(seed=seed, margin=1.0)


def test_images_have_no_weights():
    loss = losses.MultiSimilarityLoss()
    with pytest.raises(ValueError, match="Leave out `sample_weight` and `class_weight`"):
        loss(LABELS, embeddings(), sample_weight=np.ones(8))
    with pytest.raises(ValueError, match="Leave out `sample_weight` and `class_weight`"):
        network(loss).fit(*toy_data(), class_weight={0: 2.0, 1: 1.0, 2: 1.0, 3: 1.0}, verbose=0)


def test_replicas_take_the_mean_of_their_losses():
    """Each one divides its loss by their number, as Keras adds up their gradients."""
    loss, x = losses.MultiSimilarityLoss(), embeddings()
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    found = strategy.run(lambda: loss(LABELS, x))
    for value in strategy.experimental_local_results(found):
        assert float(value) == pytest.approx(float(loss(LABELS, x)) / 2)
