"""Global neural similarity: every pixel of a feature map sees every other."""

import keras
import tensorflow as tf

from neural_similarity import ops
from neural_similarity.layers.initializers import he_normal


@keras.saving.register_keras_serializable("neural_similarity")
class GlobalSimilarity2D(keras.layers.Layer):
    """Self-attention on the hypersphere: y = x + γ · softmax(QKᵀ) V over all pixels of a feature map.

    Every pixel asks for other pixels by its query in Q, answers by its key in K, and gives its value in V. Q, K and V
    are 1×1 cosine SphereConvs of x without bias. γ is learned and starts at 0, so that the layer starts as the identity
    (Liu et al., NeurIPS 2019, appendix B and the released code). Height and width may be unknown, and may change from
    call to call. Memory grows with the number of pixels, not with its square (`ops.global_similarity`).

    Args:
        filters: channels of query and key; by default an eighth of the input's, as released.
        query_relu: whether the query goes through a ReLU, as in the released code.
        kernel_regularizer: a penalty on each of the kernels of query, key and value.

    Input shape:
        `(b, h, w, c)`; the output's too. The input is cast to the layer's compute dtype, integers and bool included.

    Raises:
        ValueError: the number of channels is unknown, or below 8 where `filters` is not given.

    Example:
        >>> GlobalSimilarity2D()(keras.ops.ones((1, 8, 8, 32))).shape
        TensorShape([1, 8, 8, 32])
    """

    def __init__(self, filters=None, *, query_relu=True, kernel_regularizer=None, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.query_relu = query_relu
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, input_shape):
        """Creates the kernels of query, key and value, and γ. γ is float32 under a 16-bit policy too."""
        channels = input_shape[-1]
        filters = (channels or 0) // 8 if self.filters is None else self.filters
        if channels is None or filters < 1:
            raise ValueError(
                "The channels (last axis) must be known, and 8 or more where `filters` is not given. "
                f"Received an input of shape {input_shape}"
            )
        self.input_spec = keras.InputSpec(ndim=4, axes={-1: channels})

        def kernel(name, outputs):
            return self.add_weight(
                name=name,
                shape=(1, 1, channels, outputs),
                initializer=he_normal(),
                regularizer=self.kernel_regularizer,
            )

        self.query_kernel = kernel("query_kernel", filters)
        self.key_kernel = kernel("key_kernel", filters)
        self.value_kernel = kernel("value_kernel", channels)
        wide = "float64" if self.variable_dtype == "float64" else "float32"
        self.gamma = self.add_weight(name="gamma", shape=(), initializer="zeros", dtype=wide, autocast=False)

    def call(self, inputs):
        """x + γ · softmax(QKᵀ) V."""
        inputs = tf.cast(inputs, self.compute_dtype)
        query, key, value = self._projected(inputs, self.query_kernel, self.key_kernel, self.value_kernel)
        seen = tf.reshape(ops.global_similarity(query, key, value), tf.shape(inputs))
        return inputs + tf.cast(keras.ops.convert_to_tensor(self.gamma), inputs.dtype) * seen

    def attention_map(self, inputs, pixels=None):
        """The weights softmax(QKᵀ) by which pixels look at all pixels, as `call` computes them.

        Args:
            inputs: `(b, h, w, c)`.
            pixels: `(p,)` numbers of the pixels that look, counted row by row; by default all h·w.

        Returns:
            `(b, p, h·w)` weights, float32 or wider. The h·w weights of each looking pixel sum to 1.
        """
        inputs = tf.cast(inputs, self.compute_dtype)
        if not self.built:
            self.build(inputs.shape)
        query, key = self._projected(inputs, self.query_kernel, self.key_kernel)
        return ops.attention_map(query if pixels is None else tf.gather(query, pixels, axis=1), key)

    def _projected(self, inputs, *kernels):
        """The 1×1 cosine SphereConv of the input with each kernel, `(b, h·w, …)`. The first is the query's."""
        window = ops.Window((1, 1))
        norm = ops.patch_norm(inputs, window)
        kernels = [tf.cast(keras.ops.convert_to_tensor(kernel), inputs.dtype) for kernel in kernels]
        maps = [ops.cosine_sphere_conv2d(inputs, kernel, window, norm=norm) for kernel in kernels]
        if self.query_relu:  # DEVIATION Q6
            maps[0] = tf.nn.relu(maps[0])
        batch, height, width, _ = ops.dimensions(inputs)
        return [tf.reshape(each, (batch, height * width, each.shape[-1])) for each in maps]

    def compute_output_shape(self, input_shape):
        """The input's shape."""
        return input_shape

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "query_relu": self.query_relu,
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }
