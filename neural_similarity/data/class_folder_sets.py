"""Reads anybody's images for few-shot recognition: ROOT/CLASS/*.{png,jpg,jpeg}, where each split has other classes.

Which classes a split has is said by fractions or by a list; see class_assignment.py. Files are found and read as in
folder.py: names with a leading dot are ignored, and what else is left out is told in one line, or refused if images
would be missing without notice.
"""

import itertools
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neural_similarity.data.class_assignment import assign_by_fractions, assign_by_list
from neural_similarity.data.class_folders import check_distinct, classes_of, files_of, one_form, tell
from neural_similarity.data.class_splits import ClassImages, ClassSplits
from neural_similarity.data.equal_images import equal_class_images
from neural_similarity.data.images import DataMissing
from neural_similarity.data.listing import entries, folder_exists
from neural_similarity.errors import UserError

_log = logging.getLogger("neural_similarity")


def load_class_folder(
    root: str | Path, image_size: int, class_splits: Sequence[float] | str | Path, seed: int
) -> ClassSplits:
    """Reads the images that `list_class_folder` finds, each as `image_files.read_image` does.

    Those of a large set stay in their files, and are read when they are chosen (`streamed.read_or_stream`). Logs how
    many images are there more than once, in a split or in two.

    Args:
        root, class_splits, seed: as in `list_class_folder`.
        image_size: s, height and width in pixels.

    Returns:
        ClassSplits with images `(n, s, s, 3)` uint8, an array or `ImageFiles` of its own for each split.

    Raises:
        DataMissing, UserError: as `list_class_folder`; UserError also if an image cannot be read whole.
    """
    from neural_similarity.data.streamed import read_or_stream  # here: to list files needs no Pillow

    root = Path(os.path.expanduser(root))
    files = list_class_folder(root, class_splits, seed)
    paths_of = {split: [*itertools.chain(*classes.values())] for split, classes in files.items()}
    parts = {}
    for split, images in read_or_stream(paths_of, image_size, root).items():
        ends = np.cumsum([len(paths) for paths in files[split].values()])
        rows = np.split(np.arange(len(images)), ends[:-1])
        parts[split] = ClassImages(images, tuple(rows), tuple(files[split]))
    splits = ClassSplits(**parts)
    for line in equal_class_images(splits):
        _log.warning("%s: %s", root, line)
    return splits


def list_class_folder(
    root: str | Path, class_splits: Sequence[float] | str | Path, seed: int
) -> dict[str, dict[str, list[Path]]]:
    """Finds the images and assigns their classes to the splits, without reading an image.

    Logs, in a line each, which folders the list does not name, and which files are no images.

    Args:
        root: the folder that holds one folder of images for each class.
        class_splits: the shares of train, validation and test, three numbers that add up to 1, of which the second may
            be 0; or the path of a file that lists the classes of each split. A relative path begins in `root`.
        seed: integer; it decides which classes a split gets by fractions.

    Returns:
        `{split: {class: paths}}` in the order train, validation, test, without "validation" if there is none. Classes
        and paths are sorted by name. Names of classes are in the Unicode form NFC.

    Raises:
        DataMissing: there is no folder `root`.
        UserError: the folders are arranged in another way; a class has no image, or something else than images; two of
            the folders are one by a link; a link leads to nothing; or the fractions or the list are refused (see
            class_assignment.py).
    """
    root = Path(os.path.expanduser(root))
    expected = f"expected a folder for each class, {root}/CLASS/*.{{png,jpg}}"
    if not folder_exists(root):
        raise DataMissing(f"folder: there is no folder {root}; {expected}. Next: --set data.root=DIR")
    _check_no_splits(root, expected)
    names = {one_form(name): name for name in classes_of(root)}
    others = [root / name for name in entries(root)[1]]
    if isinstance(class_splits, str | os.PathLike):
        path = root / os.path.expanduser(class_splits)
        splits = assign_by_list(path, tuple(names), root)
        others = [other for other in others if os.path.realpath(other) != os.path.realpath(path)]
        left_out = names.keys() - set().union(*splits.values())
        tell(f"folders that are not read, as {path} does not name them", root, left_out)
        instead = f"take this class out of {path}"
    else:
        splits = assign_by_fractions(tuple(names), class_splits, seed, root)
        instead = "move this folder away"
    folders = {name: root / names[name] for classes in splits.values() for name in classes}
    check_distinct(folders.values())
    images = {}
    for name, folder in folders.items():
        images[name], others_of_class = files_of(folder, instead)
        others += others_of_class
    tell("left out, as they are no images", root, (path.relative_to(root) for path in others))
    return {split: {name: images[name] for name in classes} for split, classes in splits.items()}


def _check_no_splits(root, expected):
    """Refuses ROOT/{train,val,test}/CLASS, in which image recognition has its images."""
    found, _ = entries(root)
    splits = {next(filter(name.lower().startswith, ("train", "val", "test")), None) for name in found}
    if not {"train", "test"} <= splits <= {"train", "val", "test"}:
        return
    if all(entries(root / name)[0] for name in found):
        raise UserError(
            f"{root}: there are folders within {', '.join(f'`{name}`' for name in found)}; {expected}, side by side. "
            f"Next: move the folders of the classes up to {root}. Then list in a file {root / 'splits.yaml'} which "
            "classes each split has, as `train: [cat, dog]`, `validation: [cow]` and `test: [horse]`, each in a line, "
            "and --set data.class_splits=splits.yaml"
        )
