"""Batch normalisation as the released code computes it, with moving averages that are right from the first step on."""

import keras
import tensorflow as tf

from neural_similarity import ops
from neural_similarity.layers import averages


@keras.saving.register_keras_serializable("neural_similarity")
class BatchNormalization2D(keras.layers.Layer):
    """Batch normalisation of feature maps, over batch, rows and columns.

    In training the layer normalises by the mean and the variance of the batch and takes both into moving averages:
    m ← m + (1 − decay)(batch − m). In inference the layer normalises by the averages.

    The averages start at zero, as in the released code. After t updates they are too small by the factor 1 − decayᵗ:
    with decay 0.999 they hold a tenth of the true mean after 100 steps. `debias=True` divides them by that factor, as
    Adam does, so that inference is right from the first step on. Keras' `BatchNormalization` starts its mean at 0 and
    its variance at 1 and has no correction.

    On several replicas each one normalises by its own part of the batch. The averages take the mean over the replicas.

    Args:
        decay: how much of the averages one step keeps. With 0.99 they remember about a hundred steps.
        epsilon: added to the variance (1e-3 in the released code).
        debias: whether inference corrects the averages for their start at zero. False uses them as they are, as the
            released code does.
        gamma_initializer: where the scale γ starts.
        gamma_regularizer, beta_regularizer: penalties on the scale γ and the offset β.

    Input shape:
        `(b, y, x, i)`; the output's too. The input may have any dtype, integers and bool included. The output has the
        layer's compute dtype.

    Raises:
        ValueError: the number of channels is unknown.

    Example:
        >>> BatchNormalization2D()(keras.ops.ones((2, 8, 8, 3)), training=True).shape
        TensorShape([2, 8, 8, 3])
    """

    batch_norm = staticmethod(ops.batch_norm)  # the benchmarks' subclass computes it as the released code does

    def __init__(
        self,
        decay=0.99,
        epsilon=1e-3,
        *,
        debias=True,
        gamma_initializer="ones",
        gamma_regularizer=None,
        beta_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.decay = decay
        self.epsilon = epsilon
        self.debias = debias
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        self.gamma_regularizer = keras.regularizers.get(gamma_regularizer)
        self.beta_regularizer = keras.regularizers.get(beta_regularizer)

    def build(self, input_shape):
        """Creates γ, β and the averages. They are float32 under a 16-bit policy too."""
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(f"The channels (last axis) must be known. Received an input of shape {input_shape}")
        self.input_spec = keras.InputSpec(ndim=4, axes={-1: channels})
        wide = "float64" if self.variable_dtype == "float64" else "float32"

        def weight(name, shape, initializer, **kwargs):
            return self.add_weight(
                name=name, shape=shape, initializer=initializer, dtype=wide, autocast=False, **kwargs
            )

        average = {"trainable": False, "aggregation": "mean"}
        self.gamma = weight("gamma", (channels,), self.gamma_initializer, regularizer=self.gamma_regularizer)
        self.beta = weight("beta", (channels,), "zeros", regularizer=self.beta_regularizer)
        self.moving_mean = weight("moving_mean", (channels,), "zeros", **average)
        self.moving_variance = weight("moving_variance", (channels,), "zeros", **average)
        self.updates = weight("updates", (), "zeros", **average)

    def call(self, inputs, training=None):
        """Normalises by the batch in training, by the averages otherwise, and in a frozen layer always by them."""
        gamma, beta = keras.ops.convert_to_tensor(self.gamma), keras.ops.convert_to_tensor(self.beta)
        if inputs.dtype != self.compute_dtype:  # Keras has cast what is floating; the rest may not fit into 16 bits
            inputs = tf.cast(inputs, gamma.dtype)
        if training and self.trainable:
            outputs, mean, variance = self.batch_norm(inputs, gamma, beta, self.epsilon)
            averages.update(self.moving_mean, mean, self.decay)
            averages.update(self.moving_variance, variance, self.decay)
            self.updates.assign_add(tf.ones_like(self.updates))
        else:
            outputs = ops.batch_norm_by_averages(inputs, gamma, beta, *self.averages(), self.epsilon)
        return tf.cast(outputs, self.compute_dtype)

    def averages(self):
        """The mean and the variance that inference normalises by, `(i,)` each.

        Before the first update they are 0 and 1 with `debias=True`, and 0 and 0 without.
        """
        mean, variance, updates = map(
            keras.ops.convert_to_tensor, (self.moving_mean, self.moving_variance, self.updates)
        )
        if not self.debias:
            return mean, variance  # DEVIATION Q4
        return tuple(
            averages.debiased(average, updates, self.decay, initial)
            for average, initial in ((mean, 0.0), (variance, 1.0))
        )

    def compute_output_shape(self, input_shape):
        """The input's shape."""
        return input_shape

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "decay": self.decay,
            "epsilon": self.epsilon,
            "debias": self.debias,
            "gamma_initializer": keras.initializers.serialize(self.gamma_initializer),
            "gamma_regularizer": keras.regularizers.serialize(self.gamma_regularizer),
            "beta_regularizer": keras.regularizers.serialize(self.beta_regularizer),
        }
