"""Which layers go through TensorFlow Lite's converter, and which can be computed again under `keras.RematScope`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_checks import IMAGE, KERAS_WARNINGS, normal, randomise

from neural_similarity.layers import (
    BatchNormalization2D,
    DynamicSimilarityConv2D,
    GlobalSimilarity2D,
    NeuralSimilarityPredictor,
    SphereConv2D,
    StaticSimilarityConv2D,
)

pytestmark = KERAS_WARNINGS
FIRST_GOES = "The custom_gradient decorator currently supports keywords arguments only when eager execution"


def lite(layers, batch_size=None):
    """The file that TensorFlow Lite's converter makes of the layers in a row, and the model."""
    model = keras.Sequential([keras.Input(IMAGE[1:], batch_size=batch_size), *layers])
    randomise(model)
    return tf.lite.TFLiteConverter.from_keras_model(model).convert(), model


def assert_lite_is_equal(layers, batch_size=None):
    content, model = lite(layers, batch_size)
    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    x = normal(1, 1, *IMAGE[1:])
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, model(x), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings(r"ignore:\s*Warning. tf.lite.Interpreter is deprecated")
def test_tensorflow_lite_converts_these():
    assert_lite_is_equal(
        [
            StaticSimilarityConv2D(4, 3, structure="unconstrained", padding="same"),
            BatchNormalization2D(),
            DynamicSimilarityConv2D(4, 3, padding="same", predictor=NeuralSimilarityPredictor(4)),
            SphereConv2D(4, 3, operator="squared_cosine", magnitude="tanh"),
        ]
    )
    assert_lite_is_equal([GlobalSimilarity2D(2)], batch_size=1)


@pytest.mark.parametrize(
    ("layer", "missing"),
    [(SphereConv2D(4, 3, operator="linear"), "tf.Acos"), (GlobalSimilarity2D(2), "tf.TensorListReserve")],
    ids=["acos", "attention"],
)
def test_tensorflow_lite_lacks_what_these_need(layer, missing):
    with pytest.raises(Exception, match=missing):  # the converter's own class of error is private
        lite([layer])


@pytest.mark.parametrize(
    ("make", "works"),
    [
        (lambda: keras.layers.BatchNormalization(), False),
        (lambda: BatchNormalization2D(), False),
        (lambda: SphereConv2D(3, 3, padding="same"), False),
        (lambda: DynamicSimilarityConv2D(3, 3, padding="same"), False),
        (lambda: StaticSimilarityConv2D(3, 3, padding="same"), True),
        (lambda: GlobalSimilarity2D(2), True),
    ],
    ids=["keras_batch_norm", "batch_norm", "sphere", "dynamic", "static", "global"],
)
def test_remat_scope(make, works):
    """Keras cannot compute a layer again whose `call` has the argument `training`, its own no more than ours."""
    with keras.RematScope(mode="full"):
        layer = make()
    model = keras.Sequential([keras.Input(IMAGE[1:]), layer])
    model.compile("sgd", "mse")
    x = normal(1, *IMAGE)
    if works:
        model.fit(x, x, verbose=0)
    else:
        with pytest.raises(ValueError, match=FIRST_GOES):
            model.fit(x, x, verbose=0)
