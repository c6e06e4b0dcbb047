"""Dynamic neural similarity: a convolution whose M is predicted for every pixel."""

import math

import keras

from neural_similarity import ops
from neural_similarity.layers.arguments import STRUCTURES, check_channels_last, check_floating, one_of
from neural_similarity.layers.predictor import NeuralSimilarityPredictor


@keras.saving.register_keras_serializable("neural_similarity")
class DynamicSimilarityConv2D(keras.layers.Conv2D):
    """`Conv2D` under a predicted bilinear similarity: y(p) = Wᵀ M(p) x(p) at every pixel p of the output.

    A drop-in for `keras.layers.Conv2D`, whose arguments it takes (Liu et al., NeurIPS 2019, dynamic neural
    similarity). x(p) is the patch that the kernel W sees. M(p) mixes the k = kh·kw taps of the patch, and does the same
    in every channel. A second, smaller network, the predictor, computes M for every pixel of the layer's input; the
    convolution takes the M at the centre of each patch. So strides, padding and dilation do not concern the predictor.

    Args:
        filters, kernel_size, strides: as in `Conv2D`. The kernel size is odd, so that a patch has a centre.
        structure: of M: `"diagonal"` (DNS: k numbers per pixel) or `"unconstrained"` (UNS: k × k numbers per pixel).
        predictor: any Keras layer from `(b, h, w, i)` to `(b, h, w, k)`, or to `(b, h, w, k, k)` for an unconstrained
            M, or its serialised dict. By default a `NeuralSimilarityPredictor` of this layer's kernel size,
            structure and dtype policy. One predictor may serve several layers whose inputs have equally many channels;
            these layers then share its weights. A predictor keeps its own dtype policy; the layer casts M to its own.
            A layer that is created with `trainable=False` freezes its predictor too.
        **kwargs: `Conv2D`'s own.

    Raises:
        ValueError: an even kernel size, `groups` ≠ 1, `data_format="channels_first"`, or an unknown `structure`. When
            the layer is built: a predictor whose output has another shape than M, or that was built for another number
            of channels. When it is called: images of integers or bools. `Conv2D` itself refuses strides together with
            dilation.

    Example:
        >>> layer = DynamicSimilarityConv2D(64, 3, padding="same", predictor=NeuralSimilarityPredictor(filters=16))
        >>> layer(keras.ops.ones((1, 8, 8, 3))).shape
        TensorShape([1, 8, 8, 64])
    """

    def __init__(self, filters, kernel_size, strides=(1, 1), *, structure="diagonal", predictor=None, **kwargs):
        super().__init__(filters, kernel_size, strides, **kwargs)
        check_channels_last(self, kwargs.get("data_format"))
        if self.groups != 1 or any(size % 2 == 0 for size in self.kernel_size):
            raise ValueError(
                "DynamicSimilarityConv2D needs groups=1 and an odd kernel size, as M is read at the patch's centre. "
                f"Received: groups={self.groups}, kernel_size={self.kernel_size}"
            )
        self.structure = one_of("structure", structure, STRUCTURES)
        self.predictor = self._default_predictor() if predictor is None else _layer_of(predictor)
        if not self.trainable:
            self.predictor.trainable = False

    def _default_predictor(self):
        return NeuralSimilarityPredictor(
            kernel_size=self.kernel_size, structure=self.structure, dtype=self.dtype_policy, name="predictor"
        )

    def build(self, input_shape):
        """Creates W and the bias, and builds the predictor unless another layer has built it."""
        super().build(input_shape)
        self._build_predictor(tuple(input_shape))

    def _build_predictor(self, input_shape):
        """Builds the predictor unless it is built, and raises unless its output has the shape of M."""
        taps = math.prod(self.kernel_size)
        expected = (*input_shape[:3], *((taps,) if self.structure == "diagonal" else (taps, taps)))
        try:
            if not self.predictor.built:
                self.predictor.build(input_shape)
            built = (self.predictor.get_build_config() or {}).get("input_shape") or input_shape
            if built[-1] != input_shape[-1]:
                raise ValueError(f"layer '{self.predictor.name}' was built for inputs of {built[-1]} channels.")
            # Not a call: a call would add the predictor to the model that is being made, as a layer of its own.
            output = self.predictor.compute_output_spec(keras.KerasTensor(input_shape, dtype=self.compute_dtype))
        except ValueError as error:
            raise ValueError(
                f"The predictor of layer '{self.name}' cannot read the layer's input of shape {input_shape}. Layers "
                f"that share a predictor need inputs of equally many channels. The predictor says: {error}"
            ) from error
        found = getattr(output, "shape", None)  # a list of outputs has none
        sizes = zip(found or (), expected, strict=False)
        if len(found or ()) != len(expected) or any(None not in two and two[0] != two[1] for two in sizes):
            raise ValueError(
                f"The predictor of layer '{self.name}' must return M for the {taps} taps of the kernel at every pixel: "
                f"shape {expected}. Received a predictor that returns {f'shape {found}' if found else output}. "
                f"A `NeuralSimilarityPredictor` fits if it has kernel_size={self.kernel_size} and "
                f"structure={self.structure!r}."
            )

    def convolution_op(self, inputs, kernel):
        """Keras' own hook: the convolution under the predicted M."""
        check_floating(self, inputs)
        window = ops.Window(self.kernel_size, self.strides, self.padding, self.dilation_rate)
        matrix = window.centres(keras.ops.cast(self.predictor(inputs), inputs.dtype))
        return ops.dynamic_similarity_conv2d(inputs, keras.ops.convert_to_tensor(kernel), matrix, window)

    def get_config(self):
        """The constructor's arguments."""
        # While a model is saved, Keras notes an id in the config of an object that it serialises for the second time.
        # By this id loading knows a shared object again. The first of the layers that share the predictor needs the id
        # too. So each layer serialises the predictor twice.
        keras.saving.serialize_keras_object(self.predictor)
        predictor = keras.saving.serialize_keras_object(self.predictor)
        # The layer that holds a loaded predictor builds it, so that its weights have the same paths as before.
        predictor.pop("build_config", None)
        return {**super().get_config(), "structure": self.structure, "predictor": predictor}


def _layer_of(predictor):
    """The layer that was passed, or that a serialised dict describes."""
    if isinstance(predictor, dict):
        predictor = keras.saving.deserialize_keras_object(predictor)
    if not isinstance(predictor, keras.Layer):
        raise ValueError(f"`predictor` must be a Keras layer, its serialised dict, or None. Received: {predictor!r}")
    return predictor
