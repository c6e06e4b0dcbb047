"""Which images a class-balanced batch has: some classes, and the same number of images of each."""

import zlib
from collections.abc import Sequence

import numpy as np


def balanced_rows(
    rows: Sequence[np.ndarray],
    seed: int,
    step: int,
    classes_per_batch: int,
    images_per_class: int,
    with_replacement: bool,
) -> np.ndarray:
    """Chooses the images of a step's batch.

    Args:
        rows: for each class the indices of its images, one at least.
        seed, step: integers; the batch depends on nothing else.
        classes_per_batch: p; without replacement at most the number of classes.
        images_per_class: k.
        with_replacement: draws each class and each image anew, as the released code does: a class may come twice, and
            an image too. Without it, the classes are different ones, and so are the images of a class. A class with
            fewer than k images gives all of them, and begins again: of a, b and c, k = 5 takes a, b, c, a, b in an
            order that is random.

    Returns:
        `(p·k,)` integers, class by class.
    """
    generator = np.random.default_rng((seed, zlib.crc32(b"classes"), step))
    if with_replacement:
        labels = generator.integers(len(rows), size=classes_per_batch)
        chosen = [generator.choice(rows[label], images_per_class) for label in labels]
    else:
        labels = generator.choice(len(rows), classes_per_batch, replace=False)
        chosen = [np.resize(generator.permutation(rows[label]), images_per_class) for label in labels]
    return np.concatenate(chosen)
