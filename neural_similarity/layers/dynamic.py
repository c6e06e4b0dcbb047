"""Dynamic neural similarity: a convolution whose M is predicted for every pixel."""

import keras

from neural_similarity import ops
from neural_similarity.layers.predictor import NeuralSimilarityPredictor


@keras.saving.register_keras_serializable("neural_similarity")
class DynamicSimilarityConv2D(keras.layers.Conv2D):
    """`Conv2D` under a predicted bilinear similarity: y(p) = Wᵀ M(X, p) x(p), M = I + a small SphereNet of X.

    A drop-in for `keras.layers.Conv2D`, whose arguments it takes (Liu et al., NeurIPS 2019, dynamic neural
    similarity). The predictor is two 3×3 convolutions at the input's resolution whatever the kernel size, strides,
    padding and dilation; its map is read at the centre of each output pixel's patch.

    Args:
        structure: `"diagonal"` (DNS: k = kh·kw numbers a pixel) or `"unconstrained"` (UNS: k × k a pixel).
        predictor_filters, predictor_normalization, predictor_initializer, predictor_init_scales,
        predictor_batch_norm, predictor_moving_average, predictor_batch_norm_decay, predictor_regularizer,
        predictor_batch_norm_regularizer: the arguments of `NeuralSimilarityPredictor`, without the prefix.
        **kwargs: `Conv2D`'s own.

    Raises:
        ValueError: an even kernel size, `groups` ≠ 1, `data_format="channels_first"`, or an unknown choice; strides
            together with dilation are refused by `Conv2D` itself.

    Example:
        >>> layer = DynamicSimilarityConv2D(32, 3, padding="same", strides=2)
        >>> layer(keras.ops.ones((1, 8, 8, 3))).shape
        TensorShape([1, 4, 4, 32])
    """

    def __init__(
        self,
        filters,
        kernel_size,
        structure="diagonal",
        predictor_filters=None,
        predictor_normalization="partial",
        predictor_initializer="identity",
        predictor_init_scales=(0.1, 0.001),
        predictor_batch_norm=None,
        predictor_moving_average="debiased",
        predictor_batch_norm_decay=0.999,
        predictor_regularizer=None,
        predictor_batch_norm_regularizer=None,
        **kwargs,
    ):
        super().__init__(filters, kernel_size, **kwargs)
        self._check_geometry()
        self.structure = structure
        self.predictor = NeuralSimilarityPredictor(
            self.kernel_size,
            structure,
            filters=predictor_filters,
            normalization=predictor_normalization,
            initializer=predictor_initializer,
            init_scales=predictor_init_scales,
            batch_norm=predictor_batch_norm,
            moving_average=predictor_moving_average,
            batch_norm_decay=predictor_batch_norm_decay,
            regularizer=predictor_regularizer,
            batch_norm_regularizer=predictor_batch_norm_regularizer,
            dtype=self.dtype_policy,
            trainable=self.trainable,
            name="predictor",
        )

    def _check_geometry(self):
        even = any(size % 2 == 0 for size in self.kernel_size)
        if self.groups != 1 or self.data_format != "channels_last" or even:
            raise ValueError(
                "DynamicSimilarityConv2D needs groups=1, data_format='channels_last' and an odd kernel size, as M is "
                f"read at the patch's centre. Received: groups={self.groups}, data_format={self.data_format!r}, "
                f"kernel_size={self.kernel_size}"
            )

    def build(self, input_shape):
        """Creates W, the bias and the predictor's weights."""
        super().build(input_shape)
        self.predictor.build(input_shape)

    def convolution_op(self, inputs, kernel):
        """Keras' own hook: the convolution under the predicted M."""
        window = ops.Window(self.kernel_size, self.strides, self.padding, self.dilation_rate)
        matrix = window.centres(self.predictor(inputs))
        return ops.dynamic_similarity_conv2d(inputs, keras.ops.convert_to_tensor(kernel), matrix, window)

    def get_config(self):
        """The constructor's arguments."""
        predictor = self.predictor.get_config()
        passed_on = ("filters", "normalization", "initializer", "init_scales", "batch_norm")
        passed_on += ("moving_average", "batch_norm_decay", "regularizer", "batch_norm_regularizer")
        return {
            **super().get_config(),
            "structure": self.structure,
            **{f"predictor_{key}": predictor[key] for key in passed_on},
        }
