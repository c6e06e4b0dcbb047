"""A classifier that compares directions."""

import keras

from neural_similarity import ops


@keras.saving.register_keras_serializable("neural_similarity")
class CosineClassifier(keras.layers.Layer):
    """`scale` times the cosine between the features and the vector of each class (Chen et al., 2019, Baseline++).

    Args:
        classes: how many.
        scale: what the cosines are multiplied by.
        kernel_initializer: where the vectors start.

    Input shape:
        `(b, f)`.

    Output shape:
        `(b, classes)`, float32 or wider.

    Example:
        >>> CosineClassifier(5)(keras.ops.ones((2, 16))).shape
        TensorShape([2, 5])
    """

    def __init__(self, classes, scale=10.0, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.classes = classes
        self.scale = scale
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        """Creates the vectors of the classes."""
        self.kernel = self.add_weight(
            name="kernel", shape=(self.classes, input_shape[-1]), initializer=self.kernel_initializer
        )

    def call(self, inputs):
        """The logits."""
        return ops.cosine_logits(inputs, keras.ops.convert_to_tensor(self.kernel), self.scale)

    def compute_output_shape(self, input_shape):
        """See "Output shape"."""
        return (*input_shape[:-1], self.classes)

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "classes": self.classes,
            "scale": self.scale,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
