"""What the networks share: their input, their normalisation, their three stages."""

import keras

from neural_similarity.layers import DebiasedBatchNormalization


def image_input(image_size, input_scaling, dtype):
    """The input of raw 0–255 images, and what the first layer sees: themselves, or (x − 127.5)/128 (`"centred"`)."""
    if image_size <= 0 or image_size % 8:
        raise ValueError(f"`image_size` must be a positive multiple of 8. Received: {image_size!r}")
    if input_scaling not in ("none", "centred"):
        raise ValueError(f"`input_scaling` must be 'none' or 'centred'. Received: {input_scaling!r}")
    inputs = keras.Input((image_size, image_size, 3), name="image")
    if input_scaling == "none":
        return inputs, inputs
    return inputs, keras.layers.Rescaling(1 / 128, -127.5 / 128, dtype=dtype, name="centred")(inputs)


def normalization(weight_decay, moving_average, batch_norm_decay, dtype):
    """A function `normalize(x, name, relu=True)` that adds batch normalisation, with γ and β decayed, and a ReLU."""
    decay = keras.regularizers.L2(weight_decay / 2)

    def normalize(x, name, relu=True):
        x = DebiasedBatchNormalization(
            moving_average,
            batch_norm_decay,
            gamma_regularizer=decay,
            beta_regularizer=decay,
            dtype=dtype,
            name=f"{name}_bn",
        )(x)
        return keras.layers.ReLU(dtype=dtype, name=f"{name}_relu")(x) if relu else x

    return normalize


def three_stages(x, convolution, normalize, widths, dtype, after_pooling=lambda x, stage: x):
    """Three times three 3×3 convolutions and a 2×2 pooling; the layers carry the released code's names.

    Args:
        x: `(b, h, w, i)`.
        convolution: `convolution(filters, kernel_size, padding=…, name=…)`, a layer.
        normalize: what follows each, as `normalization` returns it.
        widths: filters of the three stages.
        dtype: of the poolings.
        after_pooling: `after_pooling(x, stage)`, for stage 1, 2 and 3.

    Returns:
        `(b, h/8, w/8, widths[2])`.
    """
    for stage, width in enumerate(widths, start=1):
        for i in range(3):
            name = f"conv{stage}_{i}"
            x = normalize(convolution(width, 3, padding="same", name=name)(x), name)
        x = after_pooling(keras.layers.MaxPooling2D(2, dtype=dtype, name=f"pool{stage}")(x), stage)
    return x


def logits_of(x, dtype):
    """`(b, 1, 1, classes)` → `(b, classes)`, float32 under a mixed policy too."""
    return keras.layers.Flatten(dtype="float64" if dtype == "float64" else "float32", name="logits")(x)
