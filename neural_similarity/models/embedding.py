"""Networks for metric learning: a backbone's feature map, projected to the channels of the embedding."""

import contextlib

import keras

from neural_similarity.layers import ApplicationInput, FixedStatistics


def application_backbone(application, image_size, weights=None, dtype=None, **arguments) -> keras.Model:
    """A network of `keras.applications` without its classifier, for raw images, with batch norm by its averages.

    Batch normalisation never takes the statistics of a batch, nor changes its averages; its γ and β can be trained
    (`layers.FixedStatistics`). DIML (Zhao et al., ICCV 2021) and most of metric learning train so.

    Args:
        application: the name of the function, as "MobileNet".
        image_size: height and width of the images.
        weights: None for random ones; "imagenet", which Keras downloads; or the path of a file.
        dtype: Keras dtype policy, by default Keras' own setting.
        **arguments: more of the function's, as `alpha=0.75`.

    Returns:
        A functional `keras.Model` from `(b, image_size, image_size, 3)` raw 0–255 images to maps `(b, h, w, c)`.

    Raises:
        ValueError: there is no such network, or the weights are not its own.
    """
    inputs = keras.Input((image_size, image_size, 3), dtype="float32", name="image")
    scaled = ApplicationInput(application, dtype=dtype, name="scaled")(inputs)
    with _policy(dtype):
        network = getattr(keras.applications, application)(
            include_top=False, weights=weights, input_shape=(image_size, image_size, 3), **arguments
        )
    maps = FixedStatistics(network, dtype=dtype, name="backbone")(scaled)
    return keras.Model(inputs, maps, name=f"{application}_maps")


@contextlib.contextmanager
def _policy(dtype):
    """Makes `dtype` Keras' policy for a while: the functions of `keras.applications` take none."""
    before = keras.config.dtype_policy()
    if dtype is not None:
        keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def backbone_of_file(path, image_size) -> keras.Model:
    """A network in a `.keras` file, with batch norm by its averages; it begins with raw images and ends with maps.

    Args:
        path: of the file.
        image_size: height and width of the images.

    Returns:
        A functional `keras.Model` from `(b, image_size, image_size, 3)` raw 0–255 images to maps `(b, h, w, c)`.

    Raises:
        ValueError: the file holds no such network.
    """
    network = keras.saving.load_model(path, compile=False)
    inputs = keras.Input((image_size, image_size, 3), dtype="float32", name="image")
    return keras.Model(inputs, FixedStatistics(network, name="backbone")(inputs), name=f"{network.name}_maps")


def with_projection(backbone, embedding_size, dtype=None) -> keras.Model:
    """A backbone with a linear layer on every pixel of its map, the layer "projection".

    Global pooling before it gives the same as global pooling behind it. So the network serves distances that compare
    whole images, and those that compare their cells.

    Args:
        backbone: a functional model whose output are maps `(b, h, w, i)`.
        embedding_size: c, the number of channels of the embedding.
        dtype: of the layer.

    Returns:
        A functional `keras.Model` from the backbone's input to maps `(b, h, w, embedding_size)`.

    Raises:
        ValueError: the backbone does not end with maps.
    """
    shape = backbone.output_shape
    if len(shape) != 4:
        raise ValueError(f"the backbone must end with maps (b, h, w, i). Received the output shape {shape}")
    projection = keras.layers.Dense(embedding_size, dtype=dtype, name="projection")
    return keras.Model(backbone.input, projection(backbone.output), name=f"{backbone.name}_embedding")
