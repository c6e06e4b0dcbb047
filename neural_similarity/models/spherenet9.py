"""SphereNet-9, with and without global similarity, and its plain counterpart (the released NSL and SphereNet code)."""

import functools

import keras

from neural_similarity import layers
from neural_similarity.layers import GlobalSimilarity2D, Orthogonality, SphereConv2D
from neural_similarity.layers.initializers import he_normal
from neural_similarity.models.parts import (
    CHANNELS_LAST,
    batch_norm,
    batch_norm_relu,
    image_input,
    logits_of,
    three_stages,
)

WIDTHS = (128, 192, 256)


def spherenet9(
    num_classes,
    operator="cosine",
    widths=WIDTHS,
    attention=False,
    query_relu=True,
    head_batch_norm=True,
    weight_decay=0.0,
    orthogonality=0.0,
    **network,
) -> keras.Model:
    """Three stages of three SphereConvs and a pooling each, a SphereConv called fc6, and a linear classifier.

    fc6 covers all that is left of the image after the poolings: its kernel is an eighth of the image's size.

    Args:
        num_classes: width of the classifier.
        operator: of the SphereConvs of the stages and of fc6, as `SphereConv2D` takes it; the attention's are cosine.
        widths: filters of the three stages; fc6 has the last one's.
        attention: whether a `GlobalSimilarity2D` follows each of the first two poolings.
        query_relu: whether the query of the attention goes through a ReLU.
        head_batch_norm: whether batch normalisation, without a ReLU, follows fc6.
        weight_decay: the penalty `weight_decay · Σ w² / 2` on the classifier, the attention's filters, and γ and β of
            batch normalisation. The filters of the stages and of fc6 have none, as their length does not matter.
        orthogonality: the penalty `orthogonality · ‖WᵀW − I‖² / 2` on all filters but the classifier's.
        **network: `debias`, `batch_norm_decay`, `image_size`, `input_scaling` (here `"centred"` by default) and `dtype`
            of `cnn9`.

    Returns:
        A functional `keras.Model` from `(b, image_size, image_size, 3)` raw 0–255 images to `(b, num_classes)`
        logits. Its layers carry the released code's names.

    Raises:
        ValueError: as `cnn9`, an unknown operator, or attention on fewer than 8 channels.
    """
    convolution = functools.partial(
        SphereConv2D, operator=operator, kernel_regularizer=Orthogonality(orthogonality / 2)
    )
    new_attention = None
    if attention:
        penalty = Orthogonality(orthogonality / 2, l2=weight_decay / 2)
        new_attention = functools.partial(GlobalSimilarity2D, query_relu=query_relu, kernel_regularizer=penalty)
    return _network(
        "spherenet9", num_classes, convolution, widths, new_attention, head_batch_norm, weight_decay, **network
    )


def cnn9_128(num_classes, widths=WIDTHS, head_batch_norm=True, weight_decay=0.0, **network) -> keras.Model:
    """The plain counterpart of `spherenet9`: the same network of plain convolutions, with weight decay on all of them.

    Arguments, result and errors are those of `spherenet9`.
    """
    convolution = functools.partial(keras.layers.Conv2D, kernel_regularizer=layers.weight_decay(weight_decay))
    return _network("cnn9_128", num_classes, convolution, widths, None, head_batch_norm, weight_decay, **network)


def _network(
    name,
    num_classes,
    convolution,
    widths,
    new_attention,
    head_batch_norm,
    weight_decay,
    debias=True,
    batch_norm_decay=0.99,
    image_size=32,
    input_scaling="centred",
    dtype=None,
):
    def new_convolution(*arguments, make=convolution, **kwargs):
        common = {"use_bias": False, "kernel_initializer": he_normal(), "dtype": dtype, **CHANNELS_LAST}
        return make(*arguments, **common, **kwargs)

    def after_pooling(x, stage):
        return new_attention(name=f"att{stage}", dtype=dtype)(x) if new_attention and stage < 3 else x

    normalization = {
        "decay_of_weights": weight_decay,
        "debias": debias,
        "batch_norm_decay": batch_norm_decay,
        "dtype": dtype,
    }
    inputs, x = image_input(image_size, input_scaling, dtype)
    normalize_and_rectify = functools.partial(batch_norm_relu, **normalization)
    x = three_stages(x, new_convolution, normalize_and_rectify, widths, dtype, after_pooling)
    x = new_convolution(widths[-1], x.shape[1], name="fc6")(x)
    if head_batch_norm:
        x = batch_norm(x, "fc6", **normalization)
    decay = layers.weight_decay(weight_decay)
    x = new_convolution(num_classes, 1, make=keras.layers.Conv2D, kernel_regularizer=decay, name="score")(x)
    return keras.Model(inputs, logits_of(x, dtype), name=name)
