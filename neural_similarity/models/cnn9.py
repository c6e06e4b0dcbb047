"""CNN-9, the network of the CIFAR experiments (Liu et al., NeurIPS 2019; the released code)."""

import functools

import keras

from neural_similarity import layers
from neural_similarity.layers.initializers import he_normal
from neural_similarity.models.parts import CHANNELS_LAST, batch_norm_relu, image_input, logits_of, three_stages


def cnn9(
    num_classes,
    convolution=keras.layers.Conv2D,
    widths=(32, 64, 128),
    weight_decay=0.0,
    debias=True,
    batch_norm_decay=0.99,
    image_size=32,
    input_scaling="none",
    dtype=None,
) -> keras.Model:
    """A plain root convolution, three blocks of three convolutions and a pooling each, and a linear classifier.

    Args:
        num_classes: width of the classifier; None for a network without one, whose output are its maps.
        convolution: makes the nine inner convolutions: a layer class, or a function that takes `Conv2D`'s arguments and
            returns a new layer at each call. A `functools.partial` of a layer class is one. Layers with a predictor
            need a function that makes a predictor for each, as the nine inputs differ in width:

                def convolution(*arguments, **kwargs):
                    predictor = NeuralSimilarityPredictor(filters=16, name="predictor")
                    return DynamicSimilarityConv2D(*arguments, predictor=predictor, **kwargs)
        widths: filters of the three blocks; the root has the first one's.
        weight_decay: the penalty `weight_decay · Σ w² / 2` on every filter, γ and β.
        debias, batch_norm_decay: the `debias` and `decay` of `BatchNormalization2D`.
        image_size: height and width of the images, a multiple of 8. The classifier's kernel is an eighth of it.
        input_scaling: `"none"`, or `"centred"`: (x − 127.5)/128.
        dtype: Keras dtype policy, by default Keras' own setting; the logits are float32 under a mixed one too.

    Returns:
        A functional `keras.Model` from `(b, image_size, image_size, 3)` raw 0–255 images to `(b, num_classes)`
        logits, or to maps `(b, image_size/8, image_size/8, widths[2])`. Its layers carry the released code's names.

    Raises:
        ValueError: `image_size` cannot be halved three times, or `input_scaling` is unknown.

    Example:
        >>> from neural_similarity.layers import StaticSimilarityConv2D
        >>> model = cnn9(10, StaticSimilarityConv2D, widths=(4, 8, 16))
        >>> model(keras.ops.ones((2, 32, 32, 3))).shape
        TensorShape([2, 10])
    """
    decay = layers.weight_decay(weight_decay)

    def new_layer(make, *arguments, **kwargs):
        # Each layer gets an initializer of its own, as one instance draws the same numbers each time.
        return make(
            *arguments,
            use_bias=False,
            kernel_initializer=he_normal(),
            kernel_regularizer=decay,
            dtype=dtype,
            **CHANNELS_LAST,
            **kwargs,
        )

    normalize_and_rectify = functools.partial(
        batch_norm_relu,
        decay_of_weights=weight_decay,
        debias=debias,
        batch_norm_decay=batch_norm_decay,
        dtype=dtype,
    )
    inputs, x = image_input(image_size, input_scaling, dtype)
    x = new_layer(keras.layers.Conv2D, widths[0], 3, padding="same", name="root")(x)
    x = normalize_and_rectify(x, "root")
    x = three_stages(x, functools.partial(new_layer, convolution), normalize_and_rectify, widths, dtype)
    if num_classes is None:
        return keras.Model(inputs, x, name="cnn9_maps")
    x = new_layer(keras.layers.Conv2D, num_classes, x.shape[1], name="score")(x)
    return keras.Model(inputs, logits_of(x, dtype), name="cnn9")
