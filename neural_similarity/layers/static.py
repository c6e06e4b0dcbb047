"""Static neural similarity: a convolution with one learned M."""

import math

import keras

from neural_similarity import ops
from neural_similarity.layers.arguments import STRUCTURES, check_floating, one_of
from neural_similarity.layers.extra_weights import ExtraWeights


@keras.saving.register_keras_serializable("neural_similarity")
class StaticSimilarityConv2D(ExtraWeights, keras.layers.Conv2D):
    """`Conv2D` under a learned bilinear similarity: y = Wᵀ M x, with one M for all channels, filters and pixels.

    A drop-in for `keras.layers.Conv2D`, whose arguments it takes (Liu et al., NeurIPS 2019, static neural similarity).
    M mixes the k = kh·kw taps of the patch x. The layer computes the kernel MᵀW and convolves with it, so that training
    costs what a plain convolution costs. `neural_similarity.merge` replaces a trained layer by a plain `Conv2D`.

    Args:
        filters, kernel_size, strides: as in `Conv2D`.
        structure: of M: `"diagonal"` (DNS: k numbers) or `"unconstrained"` (UNS: a k × k matrix).
        similarity_initializer: where M starts. With `"identity"` the layer starts as the plain convolution.
            `"flattened_eye"` is the released code's start of a diagonal M: the matrix `eye(kh, kw)`, read row by row.
            For a 3×3 kernel that is 1 0 0 0 1 0 0 0 1, which switches six of the nine taps off. Any Keras initializer
            is accepted too.
        similarity_regularizer: a penalty on M, as `kernel_regularizer` is one on W.
        **kwargs: `Conv2D`'s own.

    Raises:
        ValueError: `structure` is unknown, or `"flattened_eye"` is asked of an unconstrained M. When the layer is
            called: images of integers or bools.

    Example:
        >>> layer = StaticSimilarityConv2D(32, 3, structure="unconstrained", padding="same")
        >>> layer(keras.ops.ones((1, 8, 8, 3))).shape
        TensorShape([1, 8, 8, 32])
    """

    extra_weights = ("similarity_matrix",)

    def __init__(
        self,
        filters,
        kernel_size,
        strides=(1, 1),
        *,
        structure="diagonal",
        similarity_initializer="identity",
        similarity_regularizer=None,
        **kwargs,
    ):
        super().__init__(filters, kernel_size, strides, **kwargs)
        self.structure = one_of("structure", structure, STRUCTURES)
        self.similarity_initializer = similarity_initializer
        if similarity_initializer not in ("identity", "flattened_eye"):
            self.similarity_initializer = keras.initializers.get(similarity_initializer)
        if similarity_initializer == "flattened_eye" and structure != "diagonal":
            raise ValueError(
                "`similarity_initializer='flattened_eye'` is a start of a diagonal M and needs structure='diagonal'. "
                f"Received: structure={structure!r}"
            )
        self.similarity_regularizer = keras.regularizers.get(similarity_regularizer)

    def add_extra_weights(self):
        """Creates M."""
        k = math.prod(self.kernel_size)
        self.similarity_matrix = self.add_weight(
            name="similarity_matrix",
            shape=(k,) if self.structure == "diagonal" else (k, k),
            initializer=self._initial_similarity,
            regularizer=self.similarity_regularizer,
        )

    def _initial_similarity(self, shape, dtype=None):
        if callable(self.similarity_initializer):
            return self.similarity_initializer(shape, dtype=dtype)
        if self.similarity_initializer == "flattened_eye":
            return keras.ops.reshape(keras.ops.eye(*self.kernel_size, dtype=dtype), shape)  # DEVIATION Q1
        return keras.ops.ones(shape, dtype=dtype) if len(shape) == 1 else keras.ops.eye(shape[0], dtype=dtype)

    def merged_kernel(self):
        """MᵀW: the `(kh, kw, i, o)` kernel of the plain convolution that equals this layer, in its compute dtype."""
        kernel, matrix = (keras.ops.cast(v, self.compute_dtype) for v in (self.kernel, self.similarity_matrix))
        return ops.similarity_kernel(kernel, matrix)

    def convolution_op(self, inputs, kernel):
        """Keras' own hook: the plain convolution, with M folded into its kernel."""
        check_floating(self, inputs)
        kernel, matrix = map(keras.ops.convert_to_tensor, (kernel, self.similarity_matrix))
        return super().convolution_op(inputs, ops.similarity_kernel(kernel, matrix))

    def get_config(self):
        """The constructor's arguments."""
        start = self.similarity_initializer
        return {
            **super().get_config(),
            "structure": self.structure,
            "similarity_initializer": keras.initializers.serialize(start) if callable(start) else start,
            "similarity_regularizer": keras.regularizers.serialize(self.similarity_regularizer),
        }
