"""A network whose batch normalisation keeps its averages."""

import keras


@keras.saving.register_keras_serializable("neural_similarity")
class FixedStatistics(keras.layers.Wrapper):
    """Calls a network as in inference, whatever the model around it does.

    Batch normalisation then never takes the statistics of a batch, nor changes its averages. Its γ and β are trained
    like all other weights: `trainable=False` would stop those too. In a functional model it is not enough to write
    `network(x, training=False)`: Keras replaces that by the mode in which the model is called.

    Args:
        layer: the network, a Keras model or layer.

    Input shape:
        That of the network.

    Output shape:
        That of the network.

    Example:
        >>> network = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
        >>> x = keras.ops.ones((2, 4))
        >>> bool(keras.ops.all(FixedStatistics(network)(x, training=True) == network(x, training=False)))
        True
    """

    def call(self, inputs, training=None):
        """What the network returns in inference."""
        return self.layer(inputs, training=False)

    def compute_output_shape(self, input_shape):
        """See "Output shape"."""
        return self.layer.compute_output_shape(input_shape)
