"""CNN-9, the network of the CIFAR experiments (Liu et al., NeurIPS 2019; the released code)."""

import keras

from neural_similarity.layers import DebiasedBatchNormalization
from neural_similarity.layers.predictor import he_normal


def cnn9(
    num_classes,
    convolution=keras.layers.Conv2D,
    widths=(32, 64, 128),
    weight_decay=0.0,
    moving_average="debiased",
    batch_norm_decay=0.999,
    image_size=32,
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
        dtype: Keras dtype policy; the logits are float32 under a mixed one too.

    Returns:
        A functional `keras.Model` from `(b, image_size, image_size, 3)` raw 0–255 images to `(b, num_classes)`
        logits. Its layers carry the released code's names.
    """
    if image_size <= 0 or image_size % 8:
        raise ValueError(f"`image_size` must be a positive multiple of 8. Received: {image_size!r}")
    decay = keras.regularizers.L2(weight_decay / 2)

    def filters():  # an initializer of its own for every layer, as one instance draws the same numbers each time
        return {"use_bias": False, "kernel_initializer": he_normal(), "kernel_regularizer": decay, "dtype": dtype}

    def activated(x, name):
        normalization = DebiasedBatchNormalization(
            moving_average,
            batch_norm_decay,
            gamma_regularizer=decay,
            beta_regularizer=decay,
            dtype=dtype,
            name=f"{name}_bn",
        )
        return keras.layers.ReLU(dtype=dtype, name=f"{name}_relu")(normalization(x))

    inputs = keras.Input((image_size, image_size, 3), name="image")
    x = activated(keras.layers.Conv2D(widths[0], 3, padding="same", name="root", **filters())(inputs), "root")
    for block, width in enumerate(widths, start=1):
        for i in range(3):
            name = f"conv{block}_{i}"
            x = activated(convolution(width, 3, padding="same", name=name, **filters())(x), name)
        x = keras.layers.MaxPooling2D(2, dtype=dtype, name=f"pool{block}")(x)
    x = keras.layers.Conv2D(num_classes, x.shape[1], name="score", **filters())(x)
    wide = "float64" if dtype == "float64" else "float32"
    logits = keras.layers.Flatten(dtype=wide, name="logits")(x)
    return keras.Model(inputs, logits, name="cnn9")
