"""LoRA on the convolutions here, in the places of a program where `Conv2D` may have it too."""

import keras
import numpy as np
import pytest
from layer_checks import IMAGE, KERAS_WARNINGS, assert_near, normal, saved_and_loaded

from neural_similarity import merge
from neural_similarity.layers import DynamicSimilarityConv2D, NeuralSimilarityPredictor, SphereConv2D
from neural_similarity.layers import StaticSimilarityConv2D as Static

pytestmark = [
    *KERAS_WARNINGS,
    pytest.mark.filterwarnings("ignore:Model 'builder:UserWarning"),  # Keras', of a `build` that fails on purpose
    pytest.mark.filterwarnings("ignore:The model does not have any trainable weights:UserWarning"),
]


@keras.saving.register_keras_serializable("tests")
class Subclass(Static):
    """A user's own."""


KINDS = {
    "conv2d": keras.layers.Conv2D,
    "static": Static,
    "subclass": Subclass,
    "dynamic": lambda *args, **kwargs: DynamicSimilarityConv2D(*args, predictor=NeuralSimilarityPredictor(4), **kwargs),
    "sphere": lambda *args, **kwargs: SphereConv2D(*args, operator="learnable_sigmoid", magnitude="tanh", **kwargs),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def with_lora(kind, **arguments):
    """A Sequential model of one such layer with LoRA, whose update is not zero."""
    model = keras.Sequential([keras.Input(IMAGE[1:]), KINDS[kind](4, 3, **arguments)])
    layer = model.layers[0]
    layer.enable_lora(2, lora_alpha=3.0)
    layer.lora_kernel_b.assign(normal(3, *layer.lora_kernel_b.shape))
    return model


@each_kind
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_inside_another_model(kind, name, tmp_path):
    inputs = keras.Input(IMAGE[1:])
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(with_lora(kind)(inputs)))
    x = normal(1, *IMAGE)
    model.save(tmp_path / name)
    again = keras.models.load_model(tmp_path / name, compile=False)
    assert again.layers[1].layers[0].lora_alpha == 3.0
    assert_near(again(x), model(x))
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    assert_near(clone(x), model(x))
    if kind in ("conv2d", "static", "subclass"):
        assert_near(merge(model)(x), model(x))


@each_kind
def test_inside_a_wrapper(kind, tmp_path):
    inputs = keras.Input((2, *IMAGE[1:]))
    wrapper = keras.layers.TimeDistributed(KINDS[kind](4, 3))
    model = keras.Model(inputs, wrapper(inputs))
    wrapper.layer.enable_lora(2)
    x = normal(1, 1, 2, *IMAGE[1:])
    assert_near(saved_and_loaded(model, tmp_path)(x), model(x))


@keras.saving.register_keras_serializable("tests")
class Builder(keras.Model):
    """A model that builds its layer itself, also where Keras has built the layer already: while it loads a file."""

    def __init__(self, layer, **kwargs):
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape):
        self.layer.build(input_shape)

    def call(self, inputs, training=None):
        return self.layer(inputs)

    def get_config(self):
        return {**super().get_config(), "layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config.pop("layer")), **config)


@each_kind
def test_inside_a_subclassed_model(kind, tmp_path):
    model = Builder(KINDS[kind](4, 3))
    x = normal(1, *IMAGE)
    model(x)
    model.layer.enable_lora(2)
    model.layer.lora_kernel_b.assign(normal(3, *model.layer.lora_kernel_b.shape))
    again = saved_and_loaded(model, tmp_path)
    assert again.layer.lora_rank == 2
    assert_near(again(x), model(x))


@each_kind
def test_weights_go_into_a_layer_without_lora_and_back(kind, tmp_path):
    model, x = with_lora(kind), normal(1, *IMAGE)
    plain = keras.Sequential([keras.Input(IMAGE[1:]), KINDS[kind](4, 3)])
    model.save_weights(tmp_path / "model.weights.h5")
    plain.load_weights(tmp_path / "model.weights.h5")
    assert_near(plain(x), model(x))
    plain.save_weights(tmp_path / "plain.weights.h5")
    model.load_weights(tmp_path / "plain.weights.h5")
    assert_near(plain(x), model(x))


@each_kind
@pytest.mark.parametrize("dtype", ["mixed_float16", pytest.param("float64", marks=pytest.mark.slow)])
def test_precisions(kind, dtype, tmp_path):
    model, x = with_lora(kind, dtype=dtype), normal(1, *IMAGE)
    before = np.asarray(model(x), np.float64)
    again = saved_and_loaded(model, tmp_path)
    assert again.layers[0].compute_dtype == model(x).dtype
    tolerance = 1e-5 if dtype == "float64" else 0.1  # the kernel is rounded to 16 bits once more, as `Conv2D`'s is
    np.testing.assert_allclose(np.asarray(again(x), np.float64), before, tolerance, tolerance)
    model.compile("sgd", "mse")
    model.fit(x, model(x) + 1, verbose=0)
    assert np.any(model.layers[0].lora_kernel_b != again.layers[0].lora_kernel_b)


@each_kind
def test_a_frozen_layer_learns_nothing(kind):
    model, x = with_lora(kind), normal(1, *IMAGE)
    model.layers[0].trainable = False
    before = model.get_weights()
    model.compile("sgd", "mse")
    model.fit(x, model(x) + 1, verbose=0)
    for found, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, kept)


@each_kind
def test_what_conv2d_refuses_is_refused(kind):
    with pytest.raises(ValueError, match="lora is already enabled"):
        with_lora(kind).layers[0].enable_lora(2)
    with pytest.raises(ValueError, match="isn't yet built"):
        KINDS[kind](4, 3).enable_lora(2)
    with pytest.raises(ValueError, match="incompatible with kernel constraints"):
        with_lora(kind, kernel_constraint="max_norm")
