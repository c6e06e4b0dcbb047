"""Conv-4, the backbone that most few-shot papers share (Vinyals et al., NeurIPS 2016; Snell et al., NeurIPS 2017)."""

import keras

from neural_similarity.layers import BatchNormalization2D
from neural_similarity.layers.initializers import he_normal
from neural_similarity.models.parts import CHANNELS_LAST, flattened


def conv4(
    convolution=keras.layers.Conv2D,
    filters=64,
    image_size=84,
    batch_norm_decay=0.99,
    dtype=None,
) -> keras.Model:
    """Four blocks of a 3×3 convolution, batch normalisation, a 2×2 max-pooling and a ReLU; then flattened.

    The papers put the ReLU before the pooling. Both orders give the same numbers, as the largest of four rectified
    numbers is the rectified largest; this one rectifies a quarter of them.

    Args:
        convolution: makes the four convolutions: a layer class, or a function that takes `Conv2D`'s arguments and
            returns a new layer at each call, as for `cnn9`.
        filters: of each convolution; 64 in most papers, 32 in that of MAML.
        image_size: height and width of the images, 16 or more.
        batch_norm_decay: what a step keeps of the moving averages.
        dtype: Keras dtype policy, by default Keras' own setting; the features are float32 under a mixed one too.

    Returns:
        A functional `keras.Model` from `(b, image_size, image_size, 3)` raw 0–255 images to `(b, f)` features, with
        f = (image_size // 16)² · filters: 1,600 for 84×84, 256 for 32×32.

    Raises:
        ValueError: `image_size` cannot be halved four times.
    """
    if image_size < 16:
        raise ValueError(f"`image_size` must be 16 or more, to be halved four times. Received: {image_size!r}")
    inputs = keras.Input((image_size, image_size, 3), dtype="float32", name="image")
    x = keras.layers.Rescaling(1 / 127.5, -1.0, dtype=dtype, name="scaled")(inputs)
    for block in range(1, 5):
        x = convolution(
            filters,
            3,
            padding="same",
            use_bias=False,  # batch normalisation has an offset
            kernel_initializer=he_normal(),
            dtype=dtype,
            **CHANNELS_LAST,
            name=f"conv{block}",
        )(x)
        x = BatchNormalization2D(batch_norm_decay, epsilon=1e-5, dtype=dtype, name=f"conv{block}_bn")(x)
        x = keras.layers.MaxPooling2D(2, **CHANNELS_LAST, dtype=dtype, name=f"pool{block}")(x)
        x = keras.layers.ReLU(dtype=dtype, name=f"conv{block}_relu")(x)
    return keras.Model(inputs, flattened(x, "features", dtype), name="conv4")
