"""Batch normalisation with the released networks' averages, or with the same ones debiased."""

import keras
import tensorflow as tf

from neural_similarity import ops
from neural_similarity.layers import averages
from neural_similarity.layers.arguments import MOVING_AVERAGES, one_of


@keras.saving.register_keras_serializable("neural_similarity")
class DebiasedBatchNormalization(keras.layers.Layer):
    """Batch normalisation over `(b, y, x, i)` whose moving averages start at zero, as the released code's do.

    m ← m + (1 − decay)(batch − m) for the mean and the biased variance. Read as they are, such averages are far too
    small for the first thousands of steps; divided by 1 − decayᵗ they are right from the first one, as Adam's are.
    On several replicas every one normalises by its own part of the batch, and the averages take the replicas' mean.

    Args:
        moving_average: `"debiased"`, or `"released"` for the averages as they are.
        decay: of the moving averages (0.999 in the released code).
        epsilon: added to the variance (1e-3 in the released code).
        gamma_initializer: where the scale γ starts.
        gamma_regularizer, beta_regularizer: penalties on the scale γ and the offset β.

    Raises:
        ValueError: `moving_average` is neither of the two, or the input has no channels to count.
    """

    batch_norm = staticmethod(ops.batch_norm)  # the benchmarks' subclass computes it as the released code does

    def __init__(
        self,
        moving_average="debiased",
        decay=0.999,
        epsilon=1e-3,
        gamma_initializer="ones",
        gamma_regularizer=None,
        beta_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.moving_average = one_of("moving_average", moving_average, MOVING_AVERAGES)
        self.decay = decay
        self.epsilon = epsilon
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        self.gamma_regularizer = keras.regularizers.get(gamma_regularizer)
        self.beta_regularizer = keras.regularizers.get(beta_regularizer)
        self.supports_masking = True

    def build(self, input_shape):
        """Creates γ, β and the averages, in float32 also under a 16-bit policy."""
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
        """Normalises by the batch in training, by the averages otherwise."""
        gamma, beta = keras.ops.convert_to_tensor(self.gamma), keras.ops.convert_to_tensor(self.beta)
        if training and self.trainable:
            outputs, mean, variance = self.batch_norm(inputs, gamma, beta, self.epsilon)
            averages.move(self.moving_mean, mean, self.decay)
            averages.move(self.moving_variance, variance, self.decay)
            self.updates.assign_add(tf.ones_like(self.updates))
            return outputs
        return ops.batch_norm_by_averages(inputs, gamma, beta, *self.averages(), self.epsilon)

    def averages(self):
        """The mean and variance that inference normalises by, `(i,)` each; 0 and 1 before the first debiased one."""
        mean, variance, updates = map(
            keras.ops.convert_to_tensor, (self.moving_mean, self.moving_variance, self.updates)
        )
        if self.moving_average == "released":
            return mean, variance  # DEVIATION Q4
        return tuple(
            averages.debiased(average, updates, self.decay, before)
            for average, before in ((mean, 0.0), (variance, 1.0))
        )

    def compute_output_shape(self, input_shape):
        """The input's shape."""
        return input_shape

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "moving_average": self.moving_average,
            "decay": self.decay,
            "epsilon": self.epsilon,
            "gamma_initializer": keras.initializers.serialize(self.gamma_initializer),
            "gamma_regularizer": keras.regularizers.serialize(self.gamma_regularizer),
            "beta_regularizer": keras.regularizers.serialize(self.beta_regularizer),
        }
