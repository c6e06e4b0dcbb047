"""The neural similarity predictor: a small hyperspherical network that reads M off a layer's input."""

import math

import keras
import tensorflow as tf

from neural_similarity import ops
from neural_similarity.layers.arguments import STRUCTURES, one_of, pair
from neural_similarity.layers.batch_norm import BatchNormalization2D
from neural_similarity.layers.initializers import he_normal

# The released code's numbers: width of the first convolution, and whether the predictor has batch normalisation.
_FILTERS = {"diagonal": 64, "unconstrained": 128}
_BATCH_NORM = {"diagonal": True, "unconstrained": False}


@keras.saving.register_keras_serializable("neural_similarity")
class NeuralSimilarityPredictor(keras.layers.Layer):
    """Predicts M(X) = I + R(X) for every pixel of its input (Liu et al., NeurIPS 2019, dynamic neural similarity).

    R is a network of two 3×3 convolutions without bias and a ReLU between them. Each convolution may be followed by
    batch normalisation. The first one, or both, divide by the length of the patch (SphereConv).

    Args:
        filters: of the first convolution; by default as released: 64 for a diagonal M, 128 for an unconstrained one.
        kernel_size: of the convolution that M is for: 3, or `(3, 5)`. M has k = kh·kw taps. The predictor's own
            convolutions are 3×3 whatever it is.
        structure: of M: `"diagonal"` (DNS) or `"unconstrained"` (UNS).
        normalization: `"partial"` divides the first convolution by ‖x‖ and leaves the second plain, as released;
            `"full"` divides both by ‖x‖ and ‖w‖ (cosine SphereConv).
        gamma_initializer: where the scale γ of the last batch normalisation starts. `"zeros"` makes R start at zero, so
            that M starts as the identity. With `"ones"`, as released, R has variance 1 at every pixel after a few
            steps, however small its filters start. Without batch normalisation there is no γ, and R starts as small as
            its filters.
        init_scales: factors on the He-normal start of the two convolutions' filters.
        batch_norm: whether there is batch normalisation; by default as released: with a diagonal M only.
        debias, batch_norm_decay: the `debias` and `decay` of `BatchNormalization2D`.
        regularizer: a penalty on the filters of both convolutions.
        batch_norm_regularizer: a penalty on every γ and β.

    Input shape:
        `(b, h, w, i)`. The input is cast to the layer's compute dtype, integers and bool included.

    Output shape:
        `(b, h, w, k)` for a diagonal M, `(b, h, w, k, k)` for an unconstrained one. Of the last two axes the first
        counts the kernel's taps, the second the input's.

    Raises:
        ValueError: `structure` or `normalization` is unknown; `filters`, `kernel_size` or `init_scales` is not positive
            or has a wrong length.

    Example:
        >>> NeuralSimilarityPredictor(filters=16)(keras.ops.ones((1, 8, 8, 3))).shape
        TensorShape([1, 8, 8, 9])
    """

    def __init__(
        self,
        filters=None,
        kernel_size=3,
        *,
        structure="diagonal",
        normalization="partial",
        gamma_initializer="zeros",
        init_scales=(0.1, 0.001),
        batch_norm=None,
        debias=True,
        batch_norm_decay=0.99,
        regularizer=None,
        batch_norm_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.structure = one_of("structure", structure, STRUCTURES)
        self.filters = _FILTERS[structure] if filters is None else filters
        if self.filters < 1:
            raise ValueError(f"`filters` must be 1 or more. Received: {filters!r}")
        self.kernel_size = pair("kernel_size", kernel_size)
        self.normalization = one_of("normalization", normalization, ("partial", "full"))
        self.gamma_initializer = keras.initializers.get(gamma_initializer)  # DEVIATION D7
        self.init_scales = pair("init_scales", init_scales)
        self.batch_norm = _BATCH_NORM[structure] if batch_norm is None else batch_norm
        self.debias = debias
        self.batch_norm_decay = batch_norm_decay
        self.regularizer = keras.regularizers.get(regularizer)
        self.batch_norm_regularizer = keras.regularizers.get(batch_norm_regularizer)
        self.relu = keras.layers.ReLU(dtype=self.dtype_policy)
        self.batch_norms = []
        if self.batch_norm:
            self.batch_norms = [
                self._new_batch_norm("batch_norm_1", "ones"),
                self._new_batch_norm("batch_norm_2", self.gamma_initializer),
            ]

    def _new_batch_norm(self, name, gamma_initializer):
        return BatchNormalization2D(
            self.batch_norm_decay,
            debias=self.debias,
            gamma_initializer=gamma_initializer,
            gamma_regularizer=self.batch_norm_regularizer,
            beta_regularizer=self.batch_norm_regularizer,
            dtype=self.dtype_policy,
            trainable=self.trainable,
            name=name,
        )

    def build(self, input_shape):
        """Creates the filters of the two convolutions, and what their batch normalisations hold."""
        channels = input_shape[-1]
        self.input_spec = keras.InputSpec(ndim=4, axes={-1: channels})
        widths = (channels, self.filters, math.prod(self._map_shape()))
        self.kernels = [
            self.add_weight(
                name=f"kernel_{i + 1}",
                shape=(3, 3, widths[i], widths[i + 1]),
                initializer=he_normal(self.init_scales[i]),
                regularizer=self.regularizer,
            )
            for i in (0, 1)
        ]
        for i, layer in enumerate(self.batch_norms):
            layer.build((*input_shape[:-1], widths[i + 1]))

    def call(self, inputs):
        """M at every pixel of the input."""
        x = self.relu(self._convolve(tf.cast(inputs, self.compute_dtype), 0))
        residual = self._convolve(x, 1)
        if self.structure == "diagonal":
            return 1 + residual
        shape = tf.shape(residual)
        residual = tf.reshape(residual, (shape[0], shape[1], shape[2], *self._map_shape()))
        return tf.eye(math.prod(self.kernel_size), dtype=residual.dtype) + residual

    def _convolve(self, x, i):
        kernel = tf.cast(keras.ops.convert_to_tensor(self.kernels[i]), x.dtype)
        full, window = self.normalization == "full", ops.Window((3, 3))
        if full or i == 0:
            x = ops.cosine_sphere_conv2d(x, kernel, window, normalize_kernel=full)
        else:
            x = window.convolve(x, kernel)
        return self.batch_norms[i](x) if self.batch_norm else x

    def _map_shape(self):
        """The shape of M at one pixel, `(k,)` or `(k, k)`."""
        taps = math.prod(self.kernel_size)
        return (taps,) if self.structure == "diagonal" else (taps, taps)

    def compute_output_shape(self, input_shape):
        """See "Output shape"."""
        return (*input_shape[:-1], *self._map_shape())

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "structure": self.structure,
            "normalization": self.normalization,
            "gamma_initializer": keras.initializers.serialize(self.gamma_initializer),
            "init_scales": self.init_scales,
            "batch_norm": self.batch_norm,
            "debias": self.debias,
            "batch_norm_decay": self.batch_norm_decay,
            "regularizer": keras.regularizers.serialize(self.regularizer),
            "batch_norm_regularizer": keras.regularizers.serialize(self.batch_norm_regularizer),
        }
