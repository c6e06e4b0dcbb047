"""Reads the sets of metric learning: in them the classes of training, validation and test differ."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neural_similarity.data.class_splits import ClassImages, regroup
from neural_similarity.data.origin import read_note
from neural_similarity.data.presence import check_files_exist
from neural_similarity.data.registry import DATA_SETS
from neural_similarity.data.retrieval_files import folder_of, list_files
from neural_similarity.data.retrieval_splits import RetrievalPart, RetrievalSplits, check_sizes, hold_out_classes
from neural_similarity.errors import UserError, nearest

RETRIEVAL_SETS = tuple(name for name, entry in DATA_SETS.items() if "metric_learning" in entry.families)
_IN_MEMORY = ("cifar100_unseen", "digits_unseen")
_IMAGES_PER_CLASS = 600  # of `cifar100_unseen`


def load_retrieval_set(
    name: str,
    root: str | Path,
    image_size: int = 224,
    validation_fraction: float = 0.0,
    class_splits: Sequence[float] | str | Path | None = None,
) -> RetrievalSplits:
    """Opens a set by name.

    The images of `cub200`, `cars196`, `sop` and `folder` stay in their files, and are read when they are chosen. Those
    of `cifar100_unseen`, which is CIFAR-100 with its training and test images put together, and of `digits_unseen` are
    in memory: the first half of the classes is for training and the second half for testing.

    Args:
        name: one of `RETRIEVAL_SETS`.
        root: the folder that holds all sets; for `folder` that of the set. `digits_unseen` ignores it.
        image_size: s, height and width in pixels, for the sets of files. The others have the size that the registry
            states.
        validation_fraction: the share of the training classes to hold out for validation; see `hold_out_classes`. With
            `folder`, `class_splits` says it, and this must be 0.
        class_splits: for `folder`, as in `class_folder_sets.list_class_folder`: which classes each split has.

    Raises:
        DataMissing: the set's files are not there.
        UserError: there is no such set, its files are not as they should be, the fraction cannot be held out, or the
            classes are too small to train on.
    """
    _check(name, validation_fraction)
    if name in _IN_MEMORY:
        splits = _regrouped(name, root, validation_fraction)
        _check_sizes(name, {split: dict(zip(part.classes, part.rows, strict=True)) for split, part in splits.items()})
        return RetrievalSplits(**{split: _of_array(part) for split, part in splits.items()})
    from neural_similarity.data.image_files import resized_centre  # here: to count the images needs no Pillow
    from neural_similarity.data.streamed import ImageFiles

    files = _files(name, root, validation_fraction, class_splits)
    folder = folder_of(name, root)
    parts = {}
    for split, classes in files.items():
        images = ImageFiles([*itertools.chain(*classes.values())], image_size, resized_centre, folder)
        labels = np.repeat(np.arange(len(classes), dtype=np.int32), [len(paths) for paths in classes.values()])
        parts[split] = RetrievalPart(images, labels, tuple(classes), images.names)
    return RetrievalSplits(**parts, origin=None if name == "folder" else read_note(folder))


def count_retrieval_set(
    name: str,
    root: str | Path,
    validation_fraction: float = 0.0,
    class_splits: Sequence[float] | str | Path | None = None,
) -> dict[str, tuple[int, int]]:
    """Counts the classes and the images of each split, for a dry run. No image is read from a file.

    Args:
        name, root, validation_fraction, class_splits: as in `load_retrieval_set`.

    Returns:
        `{"train": (classes, images), "validation": …, "test": …}`, without "validation" if there is no such split.

    Raises:
        DataMissing, UserError: as `load_retrieval_set`.
    """
    _check(name, validation_fraction)
    if name == "cifar100_unseen":
        check_files_exist("cifar100", root)
        counts = {split: len(classes) for split, classes in _lists(name, validation_fraction).items()}
        return {split: (count, count * _IMAGES_PER_CLASS) for split, count in counts.items()}
    if name == "digits_unseen":
        parts = _regrouped(name, root, validation_fraction)
        return {split: (len(part.classes), len(part)) for split, part in parts.items()}
    files = _files(name, root, validation_fraction, class_splits)
    return {split: (len(classes), sum(map(len, classes.values()))) for split, classes in files.items()}


def count_training_classes(name: str, validation_fraction: float = 0.0) -> int:
    """The number of training classes of a published set, whose files need not be there."""
    _check(name, validation_fraction)
    count = DATA_SETS[name].class_counts["train"]
    return len(hold_out_classes([str(i) for i in range(count)], validation_fraction)[0])


def _check(name, validation_fraction):
    if name not in RETRIEVAL_SETS:
        raise UserError(
            f"`data.name` is {name!r}; expected a set for metric learning: {', '.join(RETRIEVAL_SETS)}."
            f"{nearest(name, RETRIEVAL_SETS)} Next: --set data.name=NAME"
        )
    if name == "folder" and validation_fraction:
        raise UserError(
            "`data.class_splits` says which classes of a folder are for validation; expected "
            f"`data.validation_fraction` 0, got {validation_fraction}. Next: --set data.validation_fraction=0"
        )


def _files(name, root, validation_fraction, class_splits):
    """{split: {class: paths}}, with the classes for validation held out."""
    files = list_files(name, root, class_splits)
    if validation_fraction:
        kept, held_out = hold_out_classes([*files["train"]], validation_fraction)
        train = files["train"]
        parts = {"train": kept, "validation": held_out}
        files = {split: {label: train[label] for label in labels} for split, labels in parts.items()} | {
            "test": files["test"]
        }
    _check_sizes(folder_of(name, root), files)
    return files


def _check_sizes(where, images):
    """`check_sizes` of `{split: {class: images}}`."""
    check_sizes({s: {label: len(found) for label, found in classes.items()} for s, classes in images.items()}, where)


def _lists(name, validation_fraction):
    """{split: its classes} of a set in memory."""
    entry = DATA_SETS[name]
    count = entry.class_counts["train"]
    kept, held_out = hold_out_classes(entry.classes[:count], validation_fraction)
    return {"train": kept, **({"validation": held_out} if held_out else {}), "test": list(entry.classes[count:])}


def _regrouped(name, root, validation_fraction) -> dict[str, ClassImages]:
    """{split: ClassImages} of a set in memory."""
    lists = _lists(name, validation_fraction)
    if name == "digits_unseen":
        from neural_similarity.data.digits import load_digits  # here: the others need no scikit-learn

        return regroup(load_digits(), lists).parts()
    from neural_similarity.data.cifar import load_cifar

    return regroup(load_cifar("cifar100", root), lists).parts()


def _of_array(part: ClassImages) -> RetrievalPart:
    images = part.image_set()
    return RetrievalPart(images.images, images.labels, part.classes, tuple(map(str, np.concatenate(part.rows))))
