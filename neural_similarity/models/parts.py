"""What the networks share: their input, their normalisation, their three stages, their logits.

Keras' settings, such as those of `~/.keras/keras.json`, do not change a network: what Keras would take from there, the
networks name. `CHANNELS_LAST` goes to every layer that has a data format. The images are float32 whatever `floatx` is.
"""

import keras

from neural_similarity.layers import BatchNormalization2D, weight_decay

CHANNELS_LAST = {"data_format": "channels_last"}


def image_input(image_size, input_scaling, dtype):
    """The input of raw 0–255 images, and what the first convolution gets of them.

    Args:
        image_size: height and width, a multiple of 8.
        input_scaling: `"none"` for the images as they are, `"centred"` for (x − 127.5)/128.
        dtype: of the scaling.

    Returns:
        Two symbolic `(b, image_size, image_size, 3)` tensors: the input of the model, and the scaled images.

    Raises:
        ValueError: `image_size` cannot be halved three times, or `input_scaling` is unknown.
    """
    if image_size <= 0 or image_size % 8:
        raise ValueError(f"`image_size` must be a positive multiple of 8. Received: {image_size!r}")
    if input_scaling not in ("none", "centred"):
        raise ValueError(f"`input_scaling` must be 'none' or 'centred'. Received: {input_scaling!r}")
    inputs = keras.Input((image_size, image_size, 3), dtype="float32", name="image")
    if input_scaling == "none":
        return inputs, inputs
    return inputs, keras.layers.Rescaling(1 / 128, -127.5 / 128, dtype=dtype, name="centred")(inputs)


def batch_norm(x, name, decay_of_weights, debias, batch_norm_decay, dtype):
    """Batch normalisation of `(b, y, x, i)` by a layer called `{name}_bn`, with weight decay on γ and β."""
    decay = weight_decay(decay_of_weights)
    layer = BatchNormalization2D(
        batch_norm_decay,
        debias=debias,
        gamma_regularizer=decay,
        beta_regularizer=decay,
        dtype=dtype,
        name=f"{name}_bn",
    )
    return layer(x)


def batch_norm_relu(x, name, dtype, **arguments):
    """`batch_norm`, and a ReLU called `{name}_relu`."""
    return keras.layers.ReLU(dtype=dtype, name=f"{name}_relu")(batch_norm(x, name, dtype=dtype, **arguments))


def three_stages(x, convolution, normalize_and_rectify, widths, dtype, after_pooling=lambda x, stage: x):
    """Three times three 3×3 convolutions and a 2×2 pooling. The layers carry the released code's names.

    Args:
        x: `(b, h, w, i)`.
        convolution: `convolution(filters, kernel_size, padding=…, name=…)` returns a layer that reads channels last.
        normalize_and_rectify: `normalize_and_rectify(x, name)` returns what follows the convolution called `name`.
        widths: filters of the three stages.
        dtype: of the poolings.
        after_pooling: `after_pooling(x, stage)` returns what follows the pooling of stage 1, 2 or 3; by default nothing
            does.

    Returns:
        `(b, h/8, w/8, widths[2])`.
    """
    for stage, width in enumerate(widths, start=1):
        for i in range(3):
            name = f"conv{stage}_{i}"
            x = normalize_and_rectify(convolution(width, 3, padding="same", name=name)(x), name)
        pooling = keras.layers.MaxPooling2D(2, **CHANNELS_LAST, dtype=dtype, name=f"pool{stage}")
        x = after_pooling(pooling(x), stage)
    return x


def logits_of(x, dtype):
    """`(b, 1, 1, classes)` → `(b, classes)`, float32 under a mixed policy too."""
    return flattened(x, "logits", dtype)


def flattened(x, name, dtype):
    """`(b, y, x, i)` → `(b, y·x·i)`, by a layer that is float32 under a mixed policy too, and float64 under float64."""
    variables = (keras.config.dtype_policy() if dtype is None else keras.dtype_policies.get(dtype)).variable_dtype
    wide = "float64" if variables == "float64" else "float32"
    return keras.layers.Flatten(**CHANNELS_LAST, dtype=wide, name=name)(x)
