"""Dense layers, for vectors and for the points of sets."""

import keras


def mlp(input_shape, widths, embedding_size, layer_norm=False, dtype=None) -> keras.Model:
    """Dense layers with relu, and a linear layer at the end.

    Args:
        input_shape: of one sample: `(d,)`, or `(m, d)` for sets of points, which are all treated alike.
        widths: the features of each hidden layer.
        embedding_size: c, those of the last one.
        layer_norm: whether there is layer normalisation before each relu.
        dtype: Keras dtype policy, by default Keras' own setting.

    Returns:
        A functional `keras.Model` from `(b, …, d)` to `(b, …, c)`.
    """
    x = inputs = keras.Input(input_shape, name="samples")
    for number, width in enumerate(widths, start=1):
        x = keras.layers.Dense(width, dtype=dtype, name=f"dense{number}")(x)
        if layer_norm:
            x = keras.layers.LayerNormalization(dtype=dtype, name=f"norm{number}")(x)
        x = keras.layers.ReLU(dtype=dtype, name=f"relu{number}")(x)
    return keras.Model(inputs, keras.layers.Dense(embedding_size, dtype=dtype, name="embedding")(x), name="mlp")
