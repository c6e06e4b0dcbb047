"""SphereNet-9, with and without global similarity, and its plain counterpart (the released NSL and SphereNet code)."""

import functools

import keras

from neural_similarity.layers import GlobalSimilarity2D, Orthogonality, SphereConv2D
from neural_similarity.layers.initializers import he_normal
from neural_similarity.models.parts import image_input, logits_of, normalization, three_stages

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
):
    """Three stages of three SphereConvs and a pooling each, one that sees what is left of the image, and a classifier.

    Args:
        num_classes: width of the classifier, which is linear in the cosines of the last SphereConv, "fc6".
        operator: of the SphereConvs of the stages and of fc6, as `SphereConv2D` takes it; the attention's are cosine.
        widths: filters of the three stages; fc6 has the last one's.
        attention: a `GlobalSimilarity2D` behind the first two poolings.
        query_relu: of the attention.
        head_batch_norm: batch normalisation behind fc6, without a ReLU.
        weight_decay: the penalty `weight_decay · Σ w² / 2` on the classifier, the attention's filters, γ and β of batch
            normalisation; not on the filters of the stages and of fc6, whose length does not matter.
        orthogonality: the penalty `orthogonality · ‖WᵀW − I‖² / 2` on every filter but the classifier's.
        **network: `moving_average`, `batch_norm_decay`, `image_size`, `input_scaling` (here `"centred"` by default) and
            `dtype` of `cnn9`.

    Returns:
        A functional `keras.Model` from `(b, image_size, image_size, 3)` raw 0–255 images to `(b, num_classes)`
        logits. Its layers carry the released code's names.

    Raises:
        ValueError: as `cnn9`, an unknown operator, or attention on fewer than 8 channels.
    """
    convolution = functools.partial(
        SphereConv2D, operator=operator, kernel_regularizer=Orthogonality(orthogonality / 2)
    )
    look = None
    if attention:
        penalty = Orthogonality(orthogonality / 2, l2=weight_decay / 2)
        look = functools.partial(GlobalSimilarity2D, query_relu=query_relu, kernel_regularizer=penalty)
    return _network("spherenet9", num_classes, convolution, widths, look, head_batch_norm, weight_decay, **network)


def cnn9_128(num_classes, widths=WIDTHS, head_batch_norm=True, weight_decay=0.0, **network):
    """The plain counterpart of `spherenet9`: the same network of plain convolutions, all of them decayed."""
    convolution = functools.partial(keras.layers.Conv2D, kernel_regularizer=keras.regularizers.L2(weight_decay / 2))
    return _network("cnn9_128", num_classes, convolution, widths, None, head_batch_norm, weight_decay, **network)


def _network(
    name,
    num_classes,
    convolution,
    widths,
    look,
    head_batch_norm,
    weight_decay,
    moving_average="debiased",
    batch_norm_decay=0.999,
    image_size=32,
    input_scaling="centred",
    dtype=None,
):
    normalize = normalization(weight_decay, moving_average, batch_norm_decay, dtype)

    def filters(*arguments, layer=convolution, **kwargs):
        return layer(*arguments, use_bias=False, kernel_initializer=he_normal(), dtype=dtype, **kwargs)

    def after_pooling(x, stage):
        return look(name=f"att{stage}", dtype=dtype)(x) if look and stage < 3 else x

    inputs, x = image_input(image_size, input_scaling, dtype)
    x = three_stages(x, filters, normalize, widths, dtype, after_pooling)
    x = filters(widths[-1], x.shape[1], name="fc6")(x)
    if head_batch_norm:
        x = normalize(x, "fc6", relu=False)
    decay = keras.regularizers.L2(weight_decay / 2)
    x = filters(num_classes, 1, layer=keras.layers.Conv2D, kernel_regularizer=decay, name="score")(x)
    return keras.Model(inputs, logits_of(x, dtype), name=name)
