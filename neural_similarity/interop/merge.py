"""Exports a static network as plain Keras: each similarity matrix M becomes part of its kernel.

    python -m neural_similarity merge RUN --out model.keras

`keras.models.load_model` reads the file without this package, and the network costs as much as plain convolutions.
"""

import keras
import numpy as np

from neural_similarity.errors import UserError
from neural_similarity.families import load_run
from neural_similarity.families.few_shot_methods import features_of
from neural_similarity.interop.keras_files import check_new_file, count_parameters, save_whole
from neural_similarity.interpret.trained_metrics import refuse_metric_run
from neural_similarity.layers import (
    ApplicationInput,
    BatchNormalization2D,
    DynamicSimilarityConv2D,
    GlobalSimilarity2D,
    SphereConv2D,
    StaticSimilarityConv2D,
)
from neural_similarity.training.runs import open_run

LOGIT_TOLERANCE = 1e-5  # the largest difference, relative to the largest logit, in float32


def merge(model: keras.Model) -> keras.Model:
    """A copy of a model that gives the same outputs in inference and does not need this package.

    Every `StaticSimilarityConv2D` becomes a `keras.layers.Conv2D` with the kernel MᵀW. The new layer has the
    regularizer and the constraint of W, but not those of M. If LoRA is enabled, its update is merged too. Every
    `BatchNormalization2D` becomes a `keras.layers.BatchNormalization` with the averages that inference used. All other
    layers are copied. A model without static layers is accepted too.

    Args:
        model: functional or Sequential, and so are the models inside it. It is not changed.

    Returns:
        A functional `keras.Model`, not compiled. Its layers have the same names.

    Raises:
        TypeError: the model, or one inside it, is neither functional nor Sequential.
        ValueError: the model has no weights yet; or it has a layer that cannot be merged: dynamic or global similarity,
            a SphereConv, a static layer inside a wrapper such as `TimeDistributed`, or an object of a subclass that
            computes something else.

    Example:
        >>> inputs = keras.Input((8, 8, 3))
        >>> model = keras.Model(inputs, StaticSimilarityConv2D(4, 3)(inputs))
        >>> type(merge(model).layers[1]) is keras.layers.Conv2D
        True
    """
    if not isinstance(model, keras.Sequential) and not hasattr(model, "operations"):  # which functional models have
        raise TypeError(f"`model` must be a functional or Sequential Keras model. Received: {model!r}")
    if not model.built:
        raise ValueError(f"`model` has no weights yet: call it on a batch first. Received: {model!r}")
    copies = []

    def copy(layer):
        if isinstance(layer, keras.Model):
            return merge(layer)
        copies.append((layer, _plain(layer)))
        return copies[-1][1]

    sequential = isinstance(model, keras.Sequential)
    ends = (model.inputs[0], model.outputs[0]) if sequential else (model.input, model.output)
    uncompiled = keras.Model(*ends, name=model.name)  # so that clone_model does not compile the copy
    merged = keras.models.clone_model(uncompiled, clone_function=copy)
    for layer, plain in copies:
        _copy_weights(layer, plain)
    return merged


def _plain(layer):
    """A new layer of plain Keras that replaces `layer`, without its weights."""
    config = layer.get_config()
    if isinstance(layer, DynamicSimilarityConv2D):
        raise ValueError(f"{layer.name}: dynamic similarity depends on the input and cannot merge into a plain kernel.")
    if isinstance(layer, SphereConv2D):
        raise ValueError(f"{layer.name}: depends on the length of each patch and cannot merge into a plain kernel.")
    if isinstance(layer, GlobalSimilarity2D):
        raise ValueError(f"{layer.name}: global similarity depends on the input and is no convolution with one kernel.")
    if isinstance(layer, StaticSimilarityConv2D):
        _check_computes_as(StaticSimilarityConv2D, layer, ("call", "convolution_op", "merged_kernel"))
        # not LoRA's rank either: `merged_kernel` has its update
        plain = keras.layers.Conv2D(layer.filters, layer.kernel_size)
        return keras.layers.Conv2D.from_config({name: config[name] for name in plain.get_config()})
    if isinstance(layer, BatchNormalization2D):
        _check_computes_as(BatchNormalization2D, layer, ("call", "batch_norm", "averages"))
        config["momentum"] = config["decay"]
        taken = keras.layers.BatchNormalization().get_config().keys() & config.keys()
        return keras.layers.BatchNormalization.from_config({name: config[name] for name in taken})
    plain = layer.__class__.from_config(config)
    if "neural_similarity>" in str(keras.saving.serialize_keras_object(plain)):
        raise ValueError(
            f"{layer.name}: holds a part of neural_similarity that cannot be merged there. Only a layer that stands "
            "directly in a functional or Sequential model can be merged."
        )
    return plain


def _check_computes_as(base, layer, methods):
    """Raises a `ValueError` where a subclass of `base` has one of these methods of its own, as plain Keras has not."""
    own = [name for name in methods if getattr(type(layer), name) is not getattr(base, name)]
    if own:
        raise ValueError(
            f"{layer.name}: {type(layer).__name__} computes something else than {base.__name__}, by a `{own[0]}` of "
            "its own, and cannot be merged."
        )


def _copy_weights(layer, plain):
    """Gives a layer of the copy the weights of the layer that it replaces."""
    if isinstance(layer, StaticSimilarityConv2D):
        plain.kernel.assign(layer.merged_kernel())
        if layer.use_bias:
            plain.bias.assign(layer.bias)
    elif isinstance(layer, BatchNormalization2D):
        mean, variance = layer.averages()
        plain.set_weights([layer.gamma, layer.beta, mean, variance])
    elif isinstance(layer, keras.Layer):  # and not an operation between layers, such as `+`
        plain.set_weights(layer.get_weights())


def export(run, out):
    """Writes the trained network of a run as plain Keras; returns a line that says what was written.

    Of a few-shot run the network of the features is written. Its classes are those of images that it has yet to see.

    Args:
        run: folder of the run of a static network.
        out: the `.keras` file to write, a new one.

    Raises:
        UserError: the network cannot be merged, the copy has other logits, or `out` cannot be written.
    """
    check_new_file(out)
    model, output = _network(run)
    try:
        merged = merge(model)
    except ValueError as error:
        raise UserError(f"{run}: cannot be merged. {error}") from error
    saved = save_whole(merged, out)
    images = np.random.default_rng(0).uniform(0, 255, (8, *model.input_shape[1:])).astype(np.float32)
    before, after = (np.asarray(each(images, training=False), np.float64) for each in (model, saved))
    largest, difference = np.max(np.abs(before)), np.max(np.abs(before - after))
    rounded = any(layer.compute_dtype in ("bfloat16", "float16") for layer in model.layers if layer.weights)
    if not rounded and not difference <= LOGIT_TOLERANCE * largest:
        out.unlink()
        by = f"{difference:.1e} of {largest:.1e}"
        raise UserError(f"{run}: merged, its {output}s differ by {by}; nothing was written.")
    return (
        f"{out}: plain Keras, {count_parameters(model):,} → {count_parameters(saved):,} parameters, "
        f"max |Δ{output}| {difference:.1e} of {largest:.1e} on {len(images)} random images"
        + (" (computed in 16 bits: Keras' batch normalisation rounds elsewhere)" if rounded else "")
    )


def _network(run):
    """(the network of a run that can be merged, what a number of its output is called)."""
    opened = open_run(run)
    config = opened.config
    if config.family == "bregman":
        refuse_metric_run(opened, "a run of a static network")
    if config.family == "metric_learning":
        return _embedding(run), "embedding"
    if config.family != "few_shot":
        return load_run(run), "logit"
    refuse_unadapted(run, config, "merged")
    return features_of(load_run(run)), "feature"


def refuse_unadapted(run, config, what):
    """Raises a `UserError` for a run whose network has yet to adapt to its classes.

    Args:
        run: the run's folder.
        config: the run's config.
        what: what cannot be done with it, as "merged".
    """
    if config.family == "few_shot" and config.method.name == "maml":
        raise UserError(
            f"{run}: cannot be {what} before its network has adapted to new classes (method.name: maml). In Python: "
            f'FewShotClassifier("{run}").fit(images, labels).merged(), after '
            "`from neural_similarity.predict import FewShotClassifier`"
        )


def _embedding(run):
    """The network of a run of metric learning, which has no similarity matrices, but may have layers of ours."""
    model = load_run(run)
    if any(isinstance(layer, ApplicationInput) for layer in model.layers):
        raise UserError(
            f"{run}: a run of metric learning with a network of keras.applications, which has no similarity matrices "
            "to merge, and which scales its images by a layer of neural_similarity. In Python: "
            f'load_run("{run}").save("model.keras"), after `from neural_similarity import load_run`'
        )
    return model
