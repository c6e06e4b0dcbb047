"""Learning rates that are learned themselves."""

import keras


@keras.saving.register_keras_serializable("neural_similarity")
class InnerRates(keras.layers.Layer):
    """Holds the learning rates of an inner loop as a weight of the model, and passes its input on.

    As a layer of the model, the rates are trained and saved with everything else.

    Args:
        count: how many rates.
        initial_rate: where they start.
    """

    def __init__(self, count, initial_rate=0.01, **kwargs):
        super().__init__(**kwargs)
        self.count = count
        self.initial_rate = initial_rate

    def build(self, input_shape):
        """Creates the rates, `(count,)`."""
        start = keras.initializers.Constant(self.initial_rate)
        self.rates = self.add_weight(name="rates", shape=(self.count,), initializer=start)

    def call(self, inputs):
        """The input."""
        return inputs

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "count": self.count, "initial_rate": self.initial_rate}
