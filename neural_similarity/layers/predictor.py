"""The neural similarity predictor: a small hyperspherical network that reads M off a layer's input."""

import math

import keras
import tensorflow as tf

from neural_similarity import ops
from neural_similarity.layers.arguments import INITIALIZERS, MOVING_AVERAGES, STRUCTURES, one_of
from neural_similarity.layers.batch_norm import DebiasedBatchNormalization
from neural_similarity.layers.initializers import he_normal

# The released code's numbers: width of the first convolution, and whether the predictor normalises its batches.
_FILTERS = {"diagonal": 64, "unconstrained": 128}
_BATCH_NORM = {"diagonal": True, "unconstrained": False}


@keras.saving.register_keras_serializable("neural_similarity")
class NeuralSimilarityPredictor(keras.layers.Layer):
    """Predicts M(X) = I + R(X) for every pixel of its input (Liu et al., NeurIPS 2019, dynamic neural similarity).

    R is two 3×3 SphereConvs without bias, a ReLU between them, batch normalisation behind each where asked for.

    Args:
        kernel_size: `(kh, kw)` of the convolution that M serves; k = kh·kw.
        structure: `"diagonal"` (DNS) or `"unconstrained"` (UNS).
        filters: of the first convolution; by default the released 64 (DNS) or 128 (UNS).
        normalization: `"partial"` divides the first convolution by ‖x‖ and leaves the second plain, as released;
            `"full"` divides both by ‖x‖ and ‖w‖ (cosine SphereConv).
        initializer: `"identity"` starts at M = I: the last batch normalisation's γ at 0, as in any residual branch that
            is to start as the identity. `"released"` starts γ at 1, which within a few steps gives R unit variance at
            every pixel, however small its filters are. Without batch normalisation the two coincide.
        init_scales: factors on the He-normal start of the two convolutions.
        batch_norm: by default as released: with for DNS, without for UNS.
        moving_average, batch_norm_decay: the `moving_average` and `decay` of `DebiasedBatchNormalization`.
        regularizer: a penalty on both filters.
        batch_norm_regularizer: a penalty on every γ and β.

    Input shape:
        `(b, h, w, i)`.

    Output shape:
        `(b, h, w, k)` for DNS, `(b, h, w, k, k)` for UNS (kernel's tap, input's tap).

    Raises:
        ValueError: `structure`, `normalization`, `initializer` or `moving_average` is unknown.
    """

    def __init__(
        self,
        kernel_size,
        structure="diagonal",
        filters=None,
        normalization="partial",
        initializer="identity",
        init_scales=(0.1, 0.001),
        batch_norm=None,
        moving_average="debiased",
        batch_norm_decay=0.999,
        regularizer=None,
        batch_norm_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.kernel_size = tuple(kernel_size)
        self.structure = one_of("structure", structure, STRUCTURES)
        self.filters = _FILTERS[structure] if filters is None else filters
        self.normalization = one_of("normalization", normalization, ("partial", "full"))
        self.initializer = one_of("initializer", initializer, INITIALIZERS)
        self.init_scales = tuple(init_scales)
        self.batch_norm = _BATCH_NORM[structure] if batch_norm is None else batch_norm
        self.moving_average = one_of("moving_average", moving_average, MOVING_AVERAGES)
        self.batch_norm_decay = batch_norm_decay
        self.regularizer = keras.regularizers.get(regularizer)
        self.batch_norm_regularizer = keras.regularizers.get(batch_norm_regularizer)
        self.relu = keras.layers.ReLU(dtype=self.dtype_policy)
        self.batch_norms = [
            DebiasedBatchNormalization(
                moving_average,
                batch_norm_decay,
                gamma_initializer="zeros" if i == 2 and initializer == "identity" else "ones",  # DEVIATION D7
                gamma_regularizer=self.batch_norm_regularizer,
                beta_regularizer=self.batch_norm_regularizer,
                dtype=self.dtype_policy,
                trainable=self.trainable,
                name=f"batch_norm_{i}",
            )
            for i in (1, 2)
            if self.batch_norm
        ]

    def build(self, input_shape):
        """Creates the two convolutions' filters."""
        taps = math.prod(self.kernel_size)
        outputs = taps if self.structure == "diagonal" else taps**2
        widths = (input_shape[-1], self.filters, outputs)
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
        x = self.relu(self._convolve(inputs, 0))
        residual = self._convolve(x, 1)
        if self.structure == "diagonal":
            return 1 + residual
        taps = math.prod(self.kernel_size)
        shape = tf.shape(residual)
        residual = tf.reshape(residual, (shape[0], shape[1], shape[2], taps, taps))
        return tf.eye(taps, dtype=residual.dtype) + residual

    def _convolve(self, x, i):
        kernel = keras.ops.convert_to_tensor(self.kernels[i])
        full, window = self.normalization == "full", ops.Window((3, 3))
        if full or i == 0:
            x = ops.cosine_sphere_conv2d(x, kernel, window, normalize_kernel=full)
        else:
            x = window.convolve(x, kernel)
        return self.batch_norms[i](x) if self.batch_norm else x

    def compute_output_shape(self, input_shape):
        """See "Output shape"."""
        taps = math.prod(self.kernel_size)
        return (*input_shape[:-1], *((taps,) if self.structure == "diagonal" else (taps, taps)))

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "structure": self.structure,
            "filters": self.filters,
            "normalization": self.normalization,
            "initializer": self.initializer,
            "init_scales": self.init_scales,
            "batch_norm": self.batch_norm,
            "moving_average": self.moving_average,
            "batch_norm_decay": self.batch_norm_decay,
            "regularizer": keras.regularizers.serialize(self.regularizer),
            "batch_norm_regularizer": keras.regularizers.serialize(self.batch_norm_regularizer),
        }
