"""Writes `.keras` files: only new ones, and as a whole or not at all."""

import os

import keras
import numpy as np

from neural_similarity.errors import UserError
from neural_similarity.files import put_in_place


def check_new_file(out):
    """Raises a `UserError` unless `out` ends in `.keras` and is not there yet."""
    if out.suffix != ".keras":
        raise UserError(f"{out}: Keras saves to files that end in .keras. Next: --out model.keras")
    if out.exists():
        raise UserError(f"{out}: exists already. Name another file with --out, or delete it.")


def save_whole(model, out):
    """Saves a model to a file, or leaves no file at all.

    Args:
        model: a built `keras.Model`.
        out: `Path` of the file.

    Returns:
        The model as Keras loads it from the file.

    Raises:
        UserError: the disk is full, or `out` cannot be written.
    """
    unfinished = out.with_suffix(".unfinished.keras")
    try:
        model.save(unfinished)
        saved = keras.models.load_model(unfinished)
        with open(unfinished, "rb+") as file:
            os.fsync(file.fileno())
        put_in_place(unfinished, out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror or error}).") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return saved


def count_parameters(model):
    """How many numbers of a model are trained."""
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)
