"""CNN-9, the network of the CIFAR experiments (Liu et al., NeurIPS 2019; the released code)."""

import functools

import keras

from neural_similarity.layers.initializers import he_normal
from neural_similarity.models.parts import image_input, logits_of, normalization, three_stages


def cnn9(
    num_classes,
    convolution=keras.layers.Conv2D,
    widths=(32, 64, 128),
    weight_decay=0.0,
    moving_average="debiased",
    batch_norm_decay=0.999,
    image_size=32,
    input_scaling="none",
    dtype=None,
):
    """A plain root convolution, three blocks of three convolutions and a pooling each, and a linear classifier.

    Args:
        num_classes: width of the classifier.
        convolution: what the nine inner convolutions are: a layer class, or a `functools.partial` of one, that takes
            `Conv2D`'s arguments.
        widths: filters of the three blocks; the root has the first one's.
        weight_decay: the penalty `weight_decay · Σ w² / 2` on every filter, γ and β.
        moving_average, batch_norm_decay: the `moving_average` and `decay` of `DebiasedBatchNormalization`.
        image_size: height and width of the images, a multiple of 8. The classifier's kernel is an eighth of it.
        input_scaling: `"none"`, or `"centred"`: (x − 127.5)/128.
        dtype: Keras dtype policy; the logits are float32 under a mixed one too.

    Returns:
        A functional `keras.Model` from `(b, image_size, image_size, 3)` raw 0–255 images to `(b, num_classes)`
        logits. Its layers carry the released code's names.

    Raises:
        ValueError: `image_size` cannot be halved three times, or `input_scaling` is unknown.
    """
    decay = keras.regularizers.L2(weight_decay / 2)
    normalize = normalization(weight_decay, moving_average, batch_norm_decay, dtype)

    def filters(layer, *arguments, **kwargs):
        # an initializer of its own for every layer, as one instance draws the same numbers each time
        return layer(
            *arguments,
            use_bias=False,
            kernel_initializer=he_normal(),
            kernel_regularizer=decay,
            dtype=dtype,
            **kwargs,
        )

    inputs, x = image_input(image_size, input_scaling, dtype)
    x = normalize(filters(keras.layers.Conv2D, widths[0], 3, padding="same", name="root")(x), "root")
    x = three_stages(x, functools.partial(filters, convolution), normalize, widths, dtype)
    x = filters(keras.layers.Conv2D, num_classes, x.shape[1], name="score")(x)
    return keras.Model(inputs, logits_of(x, dtype), name="cnn9")
