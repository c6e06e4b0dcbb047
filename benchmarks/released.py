"""The computation of the authors' released TensorFlow 1 code, written in TensorFlow 2, to measure our forms against.

It differs from ours in four places:

- Dynamic DNS convolves with a bank of 9·o filters, each zero but for one tap, and sums over the taps.
- Dynamic UNS makes 9·o channels by a 1×1 convolution and adds up nine shifted sums of them.
- Patch norms are convolutions over all channels.
- Batches are normalised by TensorFlow's `moments`.

The functions that it computes, the weights and their order are those of `neural_similarity`.
"""

import keras
import tensorflow as tf

from neural_similarity import layers
from neural_similarity.ops.sphere import NORM_EPSILON

TAPS = 9  # 3×3, stride 1, padded: the only convolution that was released


def bank_convolution(image, kernel, matrix):
    """Dynamic DNS, as `ops.dynamic_similarity_conv2d` computes it for a diagonal M.

    Args:
        image: `(b, h, w, i)`.
        kernel: `(3, 3, i, o)`.
        matrix: `(b, h, w, k)`.

    Returns:
        `(b, h, w, o)`.
    """
    *size, channels, filters = kernel.shape
    one_tap = tf.reshape(tf.eye(TAPS, dtype=kernel.dtype), (*size, 1, TAPS, 1))
    bank = tf.reshape(one_tap * kernel[:, :, :, None], (*size, channels, TAPS * filters))
    by_tap = tf.reshape(tf.nn.conv2d(image, bank, 1, "SAME"), (*matrix.shape, filters))
    return tf.reduce_sum(by_tap * matrix[..., None], axis=-2)


def shifted_sums(image, kernel, matrix):
    """Dynamic UNS, as `ops.dynamic_similarity_conv2d` computes it for a full M.

    Args:
        image: `(b, h, w, i)`.
        kernel: `(3, 3, i, o)`.
        matrix: `(b, h, w, s, t)`.

    Returns:
        `(b, h, w, o)`.
    """
    _, height, width, channels = image.shape
    filters = kernel.shape[-1]
    bank = tf.reshape(tf.einsum("klio->iklo", kernel), (1, 1, channels, TAPS * filters))
    by_tap = tf.reshape(tf.nn.conv2d(image, bank, 1, "SAME"), (*image.shape[:3], TAPS, filters))
    padded = tf.pad(by_tap, [(0, 0), (1, 1), (1, 1), (0, 0), (0, 0)])
    shifted = [padded[:, t // 3 : t // 3 + height, t % 3 : t % 3 + width] for t in range(TAPS)]
    return tf.add_n([tf.reduce_sum(x * matrix[..., t, None], axis=-2) for t, x in enumerate(shifted)])


def patch_norm(image):
    """‖x‖ = √(Σ x² + ε) of every patch, by a convolution over all channels: `(b, h, w, i)` → `(b, h, w, 1)`."""
    ones = tf.ones((3, 3, image.shape[-1], 1), image.dtype)
    return tf.sqrt(tf.nn.conv2d(tf.square(image), ones, 1, "SAME") + NORM_EPSILON)


def moments_batch_norm(x, scale, offset, epsilon):
    """What `ops.batch_norm` computes, in TensorFlow's plain operations; arguments and results are the same."""
    mean, variance = tf.nn.moments(x, (0, 1, 2))
    return tf.nn.batch_normalization(x, mean, variance, offset, scale, epsilon), mean, variance


class ReleasedBatchNormalization(layers.BatchNormalization2D):
    """Batch normalisation that computes mean and variance by `moments`."""

    batch_norm = staticmethod(moments_batch_norm)


class ReleasedPredictor(layers.NeuralSimilarityPredictor):
    """The predictor, with patch norms that are convolutions over all channels."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.batch_norms = [ReleasedBatchNormalization.from_config(each.get_config()) for each in self.batch_norms]

    def _convolve(self, x, i):
        kernel = keras.ops.convert_to_tensor(self.kernels[i])
        full = self.normalization == "full"
        product = tf.nn.conv2d(x, kernel, 1, "SAME")
        if full:
            product /= tf.sqrt(tf.reduce_sum(tf.square(kernel), (0, 1, 2)) + NORM_EPSILON)
        if full or i == 0:
            product /= patch_norm(x)
        return self.batch_norms[i](product) if self.batch_norms else product


class ReleasedDynamicConv2D(layers.DynamicSimilarityConv2D):
    """Dynamic similarity, by `bank_convolution` (DNS) or `shifted_sums` (UNS)."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.predictor = ReleasedPredictor.from_config(self.predictor.get_config())

    def convolution_op(self, inputs, kernel):
        """Keras' own hook: what takes the place of the plain convolution."""
        convolve = bank_convolution if self.structure == "diagonal" else shifted_sums
        return convolve(inputs, keras.ops.convert_to_tensor(kernel), self.predictor(inputs))


def released_form(model):
    """A copy of `model`, with the same weights, that computes as the released code does."""
    forms = {
        layers.BatchNormalization2D: ReleasedBatchNormalization,
        layers.DynamicSimilarityConv2D: ReleasedDynamicConv2D,
    }
    copy = keras.models.clone_model(
        model, clone_function=lambda layer: forms.get(type(layer), type(layer)).from_config(layer.get_config())
    )
    copy.set_weights(model.get_weights())
    return copy
