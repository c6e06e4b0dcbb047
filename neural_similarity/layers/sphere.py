"""SphereConv and decoupled convolution: a function of a patch's length times a function of its angle to the filter."""

import keras
import tensorflow as tf

from neural_similarity import ops
from neural_similarity.layers import averages
from neural_similarity.layers.arguments import check_channels_last, check_floating, one_of
from neural_similarity.layers.extra_weights import ExtraWeights

OPERATORS = ("cosine", "linear", "sigmoid", "learnable_sigmoid", "squared_cosine")
MAGNITUDES = ("sphere", "linear", "tanh", "ball", "segmented")

# Magnitudes that compare ‖x‖ with a radius ρ
_RADIAL = {"tanh": ops.tanh_magnitude, "ball": ops.ball_magnitude, "segmented": ops.segmented_magnitude}
_RADIUS_EPSILON = 1e-4  # ρ = (r² + ε) μ
_K_START, _K_LEAST = 0.7, 0.05  # k = |k_f| + 0.05, where k_f starts at 0.7


@keras.saving.register_keras_serializable("neural_similarity")
class SphereConv2D(ExtraWeights, keras.layers.Conv2D):
    """`Conv2D` whose output is a function of the patch's length times one of its angle to the filter: h(‖x‖) · g(θ).

    A drop-in for `keras.layers.Conv2D`, whose arguments it takes. A plain convolution gives ‖w‖ · ‖x‖ · cos θ. With the
    default magnitude, h = 1, the layer is a SphereConv (Liu et al., NeurIPS 2017); the other magnitudes are decoupled
    convolution (Liu et al., CVPR 2018). Every operator goes with every magnitude. Norms are √(Σ x² + 1e-4), so that
    |cos θ| < 1 but for rounding.

    Args:
        filters, kernel_size, strides: as in `Conv2D`.
        operator: g, one of
            `"cosine"`: cos θ;
            `"linear"`: 1 − 2θ/π;
            `"sigmoid"`: a sigmoid of θ whose width k is 0.3 rad (`ops.sigmoid_operator`);
            `"learnable_sigmoid"`: the same with a learned width for every filter: k = |k_f| + 0.05, where k_f starts at
            0.7;
            `"squared_cosine"`: sign(cos θ) · cos² θ.
        magnitude: h, one of
            `"sphere"`: 1;
            `"linear"`: ‖x‖; with the cosine this is a convolution by filters of length 1;
            `"tanh"`: tanh(‖x‖/ρ);
            `"ball"`: min(‖x‖/ρ, 1);
            `"segmented"`: ‖x‖ up to ρ, ½‖x‖ + ½ρ beyond.
            ρ = (r² + 1e-4) μ is a radius for every filter. The factor r is learned and starts at 1. μ is the mean of
            ‖x‖ over batch and pixels. In training that is the mean of this batch, and the gradient flows through it. In
            inference it is a moving average over the batches of training, corrected for its start at zero as in
            `BatchNormalization2D`, and 1 before the first of them.
        magnitude_decay: how much of that average one step keeps.
        **kwargs: `Conv2D`'s own.

    Raises:
        ValueError: an unknown operator or magnitude, `groups` ≠ 1, or `data_format="channels_first"`. When the layer
            is called: images of integers or bools.

    Example:
        >>> layer = SphereConv2D(32, 3, operator="sigmoid", padding="same", use_bias=False)
        >>> layer(keras.ops.ones((1, 8, 8, 3))).shape
        TensorShape([1, 8, 8, 32])
    """

    extra_weights = ("k", "radius", "moving_norm", "updates")

    def __init__(
        self,
        filters,
        kernel_size,
        strides=(1, 1),
        *,
        operator="cosine",
        magnitude="sphere",
        magnitude_decay=0.99,
        **kwargs,
    ):
        super().__init__(filters, kernel_size, strides, **kwargs)
        check_channels_last(self, kwargs.get("data_format"))
        if self.groups != 1:
            raise ValueError(f"SphereConv2D needs groups=1. Received: groups={self.groups}")
        self.operator = one_of("operator", operator, OPERATORS)
        self.magnitude = one_of("magnitude", magnitude, MAGNITUDES)
        self.magnitude_decay = magnitude_decay

    def add_extra_weights(self):
        """Creates what operator and magnitude learn. It is float32 under a 16-bit policy too."""
        wide = "float64" if self.variable_dtype == "float64" else "float32"

        def weight(name, shape, initializer, **kwargs):
            kwargs |= {"dtype": wide, "autocast": False}
            return self.add_weight(name=name, shape=shape, initializer=initializer, **kwargs)

        if self.operator == "learnable_sigmoid":
            self.k = weight("k", (self.filters,), keras.initializers.Constant(_K_START))
        if self.magnitude in _RADIAL:
            average = {"trainable": False, "aggregation": "mean"}
            self.radius = weight("radius", (self.filters,), "ones")
            self.moving_norm = weight("moving_norm", (), "zeros", **average)
            self.updates = weight("updates", (), "zeros", **average)

    def call(self, inputs, training=None):
        """y, with bias and activation as in `Conv2D`."""
        check_floating(self, inputs)
        outputs = self._sphere_convolution(inputs, training)
        if self.use_bias:
            outputs += keras.ops.convert_to_tensor(self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def _sphere_convolution(self, inputs, training):
        kernel = keras.ops.convert_to_tensor(self.kernel)
        window = ops.Window(self.kernel_size, self.strides, self.padding, self.dilation_rate)
        if (self.operator, self.magnitude) == ("cosine", "linear"):
            return ops.weight_normalized_conv2d(inputs, kernel, window)
        norm = ops.patch_norm(inputs, window)
        outputs = self._angular(ops.cosine_sphere_conv2d(inputs, kernel, window, norm=norm))
        if self.magnitude == "sphere":
            return outputs
        magnitude = norm if self.magnitude == "linear" else self._saturating(norm, training)
        return tf.cast(tf.cast(outputs, norm.dtype) * magnitude, outputs.dtype)

    def _angular(self, cosine):
        if self.operator == "linear":
            return ops.linear_operator(cosine)
        if self.operator == "sigmoid":
            return ops.sigmoid_operator(cosine, ops.SIGMOID_K)
        if self.operator == "learnable_sigmoid":
            return ops.sigmoid_operator(cosine, tf.abs(keras.ops.convert_to_tensor(self.k)) + _K_LEAST)
        return ops.squared_cosine_operator(cosine) if self.operator == "squared_cosine" else cosine

    def _saturating(self, norm, training):
        if training and self.trainable:
            mean = tf.reduce_mean(norm)
            averages.update(self.moving_norm, mean, self.magnitude_decay)
            self.updates.assign_add(tf.ones_like(self.updates))
        else:
            average, updates = map(keras.ops.convert_to_tensor, (self.moving_norm, self.updates))
            mean = averages.debiased(average, updates, self.magnitude_decay, initial=1.0)
        radius = tf.square(keras.ops.convert_to_tensor(self.radius)) + _RADIUS_EPSILON
        return _RADIAL[self.magnitude](norm, radius * mean)

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "operator": self.operator,
            "magnitude": self.magnitude,
            "magnitude_decay": self.magnitude_decay,
        }
