"""What the networks of `keras.applications` expect of their images."""

import keras


def preprocessing_of(application):
    """The `preprocess_input` of a network of `keras.applications`, as "ResNet50".

    Raises:
        ValueError: there is no such network.
    """
    network = getattr(keras.applications, application, None) if application[:1].isupper() else None
    if network is None:
        raise ValueError(f"`application` must be a network of keras.applications. Received: {application!r}")
    return getattr(keras.applications, network.__module__.rpartition(".")[2]).preprocess_input


@keras.saving.register_keras_serializable("neural_similarity")
class ApplicationInput(keras.layers.Layer):
    """Scales raw images as a network of `keras.applications` was trained with them.

    Args:
        application: the name of the network's function, as "MobileNet", which takes x/127.5 − 1, or "ResNet50", which
            takes BGR with the means of ImageNet subtracted.

    Input shape:
        `(b, h, w, 3)` from 0 to 255.

    Output shape:
        `(b, h, w, 3)`.

    Example:
        >>> float(ApplicationInput("MobileNet")(keras.ops.zeros((1, 8, 8, 3)))[0, 0, 0, 0])
        -1.0
    """

    def __init__(self, application, **kwargs):
        super().__init__(**kwargs)
        self.preprocess = preprocessing_of(application)
        self.application = application

    def call(self, inputs):
        """The scaled images."""
        return self.preprocess(inputs, data_format="channels_last")

    def compute_output_shape(self, input_shape):
        """See "Output shape"."""
        return input_shape

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "application": self.application}
