"""Exports a trained network to a format that other programs run: SavedModel, TFLite or ONNX.

    python -m neural_similarity export RUN --format saved_model --out DIR

What is written needs neither this package nor Keras. A static network is merged first, so that it has plain
convolutions alone. Everything is computed in float32, whatever the run's precision, and the batch size is free.
"""

import logging
import os
import re
import shutil
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from neural_similarity.errors import UserError
from neural_similarity.families import family_of
from neural_similarity.families.few_shot_methods import features_of
from neural_similarity.files import put_in_place
from neural_similarity.interop.merge import LOGIT_TOLERANCE, merge, refuse_unadapted
from neural_similarity.ops.fused import without_xla
from neural_similarity.quiet import hidden_standard_error
from neural_similarity.training.runs import open_run

_OPSET = 17  # of ONNX
_BATCHES = (1, 5)  # sizes of the batches that are compared
_OUTPUTS = {"image_recognition": "logits", "few_shot": "features", "metric_learning": "map", "bregman": "embedding"}


def export(run: str | Path, form: str, out: Path) -> str:
    """Writes the trained network of a run; returns a line that says what was written.

    It maps images `(b, h, w, 3)` float32 from 0 to 255, or the samples of a run of learned divergences, to logits. Of
    other families than image recognition it gives what `load_run` gives: features of a few-shot network, the map of
    the embedding in metric learning, the embedding of learned divergences.

    What was written is read again, and must give the outputs of the network on batches of one and of five.

    Args:
        run: the run's folder.
        form: `"saved_model"`, `"tflite"` or `"onnx"`.
        out: a folder for `saved_model`, else a file. It is new.

    Raises:
        UserError: there is no run or no checkpoint; the format lacks an operation that the network needs, or the
            packages that write it are not installed; the outputs differ; or `out` is there already or cannot be
            written.
    """
    _, reader, ending = FORMATS[form]
    if ending and out.suffix != ending:
        raise UserError(f"{out}: a file of {form} ends in {ending}. Next: --out model{ending}")
    if out.exists():
        raise UserError(f"{out}: exists already. Name another with --out, or delete it.")
    if not out.parent.is_dir():
        raise UserError(f"{out}: there is no folder {out.parent}. Next: make it, or --out another")
    model, name = _network(run)
    unfinished = out.with_name(f"{out.stem}.unfinished{out.suffix}")
    try:
        _remove(unfinished)
        write(model, form, name, unfinished)
        with hidden_standard_error(show_after_exception=False):
            difference, largest = _compare(model, reader(unfinished))
        if not difference <= LOGIT_TOLERANCE * largest:
            raise UserError(
                f"{run}: as {form}, its {name} differ by {difference:.1e} of {largest:.1e}; nothing was written."
            )
        put_in_place(unfinished, out)
    except Missing as error:
        raise UserError(
            f"{run}: {form} lacks what this network needs ({error}). Nothing was written. Next: --format saved_model, "
            "which can hold every network"
        ) from error
    except (OSError, tf.errors.OpError) as error:  # TensorFlow writes a SavedModel with a file system of its own
        reason = error.message if isinstance(error, tf.errors.OpError) else error.strerror or error
        raise UserError(f"{out}: cannot be written ({reason}).") from error
    finally:
        _remove(unfinished)
    return (
        f"{out}: {form}, {size_mb(out):.1f} MB, {_shape(model)} → {name}; max |Δ| {difference:.1e} of {largest:.1e} "
        f"on batches of {' and '.join(map(str, _BATCHES))}"
    )


def write(model: keras.Model, form: str, name: str, path: Path) -> None:
    """Writes a network as it is, without a check.

    Args:
        model: in float32.
        form: one of `FORMATS`.
        name: of its output.
        path: where to; there is nothing yet.

    Raises:
        Missing: the format has not all operations of the network.
        UserError: the packages that write the format are not installed.
    """
    writer, *_ = FORMATS[form]
    # Converters write messages to standard error; they are hidden.
    with hidden_standard_error(show_after_exception=False), without_xla():
        writer(model, name, path)


class Missing(UserError):
    """A format does not have an operation. The message names it."""


def _network(run):
    """(the network that is written, what it returns in words)."""
    opened = open_run(run)
    config = opened.config
    refuse_unadapted(run, config, "exported")
    runtime = config.runtime.model_copy(update={"precision": "float32"})
    model = family_of(config).build_model(config.model_copy(update={"runtime": runtime}), opened.facts)
    opened.load_weights(model)
    if config.family == "few_shot":
        model = features_of(model)
    try:
        return merge(model), _OUTPUTS[config.family]
    except ValueError:  # a layer that depends on the image
        return model, _OUTPUTS[config.family]


def _function(model, name):
    """The network as a TensorFlow function of a batch of any size."""
    shape = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="images")
    return tf.function(lambda images: {name: model(images, training=False)}, input_signature=[shape])


def _constant(model, name):
    """The network as a concrete function without variables."""
    return convert_variables_to_constants_v2(_function(model, name).get_concrete_function())


def _write_saved_model(model, name, path):
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", _function(model, name))
    archive.write_out(str(path), verbose=False)


def _read_saved_model(path):
    loaded = tf.saved_model.load(str(path))

    def run(images):
        (found,) = loaded.serve(tf.constant(images)).values()
        return found.numpy()

    return run


def _write_tflite(model, name, path):
    converter = tf.lite.TFLiteConverter.from_concrete_functions([_constant(model, name)])
    try:
        content = converter.convert()
    except MemoryError:
        raise
    except Exception as error:  # the converter's own class is not public
        found = sorted(set(re.findall(r"tf\.([A-Z]\w+)", str(error))))
        raise Missing(", ".join(found) or str(error)[:200]) from error
    path.write_bytes(content)


def _read_tflite(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the class will move to another package
        interpreter = tf.lite.Interpreter(str(path), num_threads=os.cpu_count())
    (images,), (found,) = interpreter.get_input_details(), interpreter.get_output_details()
    last_shape = []

    def run(batch):
        if last_shape != [batch.shape]:
            interpreter.resize_tensor_input(images["index"], batch.shape)
            interpreter.allocate_tensors()
            last_shape[:] = [batch.shape]
        interpreter.set_tensor(images["index"], batch)
        interpreter.invoke()
        return interpreter.get_tensor(found["index"])

    return run


def _onnx():
    """The packages that write and run ONNX."""
    try:
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        raise UserError(
            f"ONNX takes packages that are not installed ({error}). Next, in the repository: "
            '.venv/bin/pip install -e ".[onnx]"'
        ) from error
    return tf2onnx, onnxruntime


def _write_onnx(model, name, path):
    tf2onnx, _ = _onnx()
    function = _function(model, name)
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # its optimisers go on after what they report
    try:
        content, _ = tf2onnx.convert.from_function(function, input_signature=function.input_signature, opset=_OPSET)
    except MemoryError:
        raise
    except Exception as error:
        raise Missing(str(error)[:200]) from error
    path.write_bytes(content.SerializeToString())


def _read_onnx(path):
    _, onnxruntime = _onnx()
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # an operation that ONNX does not have
        raise Missing(str(error)[-200:]) from error
    (images,) = session.get_inputs()
    return lambda batch: session.run(None, {images.name: batch})[0]


# Name → (writes a network, reads it as a function of a batch, how its file ends).
FORMATS = {
    "saved_model": (_write_saved_model, _read_saved_model, ""),
    "tflite": (_write_tflite, _read_tflite, ".tflite"),
    "onnx": (_write_onnx, _read_onnx, ".onnx"),
}


def _compare(model, run):
    """(largest difference, largest output) on batches of images of noise."""
    random, pairs = np.random.default_rng(0), []
    for size in _BATCHES:
        images = random.uniform(0, 255, (size, *model.input_shape[1:])).astype(np.float32)
        pairs.append((np.asarray(model(images, training=False), np.float64), np.asarray(run(images), np.float64)))
    # np.max, as Python's `max` may pass over NaN
    return np.max([np.max(np.abs(a - b)) for a, b in pairs]), np.max([np.max(np.abs(a)) for a, _ in pairs])


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def size_mb(path: Path) -> float:
    """The size of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(os.path.getsize(file) for file in files) / 1e6


def _shape(model):
    return f"(b, {', '.join(map(str, model.input_shape[1:]))})"
