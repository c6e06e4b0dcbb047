"""Static neural similarity: a convolution with one learned M."""

import math

import keras

from neural_similarity import ops
from neural_similarity.layers.arguments import STRUCTURES, one_of


@keras.saving.register_keras_serializable("neural_similarity")
class StaticSimilarityConv2D(keras.layers.Conv2D):
    """`Conv2D` under a learned bilinear similarity: y = Wᵀ M X, one M for all channels and filters.

    A drop-in for `keras.layers.Conv2D`, whose arguments it takes. M is folded into the kernel before the
    convolution, so that training costs what a plain convolution costs, and `neural_similarity.merge` leaves a plain
    `Conv2D` for inference (Liu et al., NeurIPS 2019, static neural similarity).

    Args:
        structure: `"diagonal"` (DNS: k = kh·kw numbers) or `"unconstrained"` (UNS: a k × k matrix).
        similarity_initializer: `"identity"` starts as the plain convolution; `"released"` as the released code does,
            with the flattened `eye(kh, kw)` on the diagonal, which switches most taps off, and the identity for UNS;
            or any Keras initializer.
        similarity_regularizer: a penalty on M, as `kernel_regularizer` is one on W.
        **kwargs: `Conv2D`'s own.

    Raises:
        ValueError: `structure` is neither of the two.

    Example:
        >>> layer = StaticSimilarityConv2D(32, 3, structure="unconstrained", padding="same")
        >>> layer(keras.ops.ones((1, 8, 8, 3))).shape
        TensorShape([1, 8, 8, 32])
    """

    def __init__(
        self,
        filters,
        kernel_size,
        structure="diagonal",
        similarity_initializer="identity",
        similarity_regularizer=None,
        **kwargs,
    ):
        super().__init__(filters, kernel_size, **kwargs)
        self.structure = one_of("structure", structure, STRUCTURES)
        if not isinstance(similarity_initializer, str) or similarity_initializer not in ("identity", "released"):
            similarity_initializer = keras.initializers.get(similarity_initializer)
        self.similarity_initializer = similarity_initializer
        self.similarity_regularizer = keras.regularizers.get(similarity_regularizer)

    def build(self, input_shape):
        """Creates W, the bias and M."""
        super().build(input_shape)
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
        if self.structure == "unconstrained":
            return keras.ops.eye(shape[0], dtype=dtype)
        if self.similarity_initializer == "released":
            return keras.ops.reshape(keras.ops.eye(*self.kernel_size, dtype=dtype), shape)  # DEVIATION Q1
        return keras.ops.ones(shape, dtype=dtype)

    def merged_kernel(self):
        """W' = MᵀW, the `(kh, kw, i, o)` kernel of the plain convolution that this is, in compute dtype."""
        kernel, matrix = (keras.ops.cast(v, self.compute_dtype) for v in (self.kernel, self.similarity_matrix))
        return ops.similarity_kernel(kernel, matrix)

    def convolution_op(self, inputs, kernel):
        """Keras' own hook: the plain convolution, with M folded into its kernel."""
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

    # Conv2D saves its kernel and bias only; without these two lines a `.keras` file would lose M.
    save_own_variables = keras.layers.Layer.save_own_variables
    load_own_variables = keras.layers.Layer.load_own_variables
