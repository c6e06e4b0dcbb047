"""Reads the few labelled images by which a few-shot network learns new classes: DIR/CLASS/*.{png,jpg,jpeg}."""

import itertools
import os
from pathlib import Path

import numpy as np

from neural_similarity.data.class_folders import check_distinct, classes_of, files_of, one_form, tell
from neural_similarity.data.image_files import read_images
from neural_similarity.data.listing import entries, folder_exists
from neural_similarity.errors import UserError


def read_support(folder: str | Path, image_size: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Reads example images of some classes, each as `image_files.read_image` does.

    Logs, in a line, which files are no images.

    Args:
        folder: holds one folder of images for each class. Their numbers may differ.
        image_size: s, height and width in pixels.

    Returns:
        (images `(n, s, s, 3)` uint8, labels `(n,)` int32, the classes' names in the order of the labels). The classes
        are sorted by name, and their images too. Names are in the Unicode form NFC.

    Raises:
        UserError: there is no such folder, or fewer than two classes; a class has no image, or something else than
            images; two of the folders are one by a link; or an image cannot be read whole.
    """
    folder = Path(os.path.expanduser(folder))
    expected = f"expected a folder for each class, {folder}/CLASS/*.{{png,jpg}}"
    if not folder_exists(folder):
        raise UserError(f"{folder}: there is no such folder; {expected}. Next: look at the path")
    names = {one_form(name): name for name in classes_of(folder)}
    classes = tuple(sorted(names))
    if len(classes) == 1:
        raise UserError(
            f"{folder}: one class, `{classes[0]}`; expected two or more, as one leaves nothing to tell apart. "
            "Next: add a folder of images of another class"
        )
    folders = [folder / names[name] for name in classes]
    check_distinct(folders)
    images, others = zip(*(files_of(path, "move this folder away") for path in folders), strict=True)
    others = [*(folder / name for name in entries(folder)[1]), *itertools.chain(*others)]
    tell("left out, as they are no images", folder, (path.relative_to(folder) for path in others))
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), [len(paths) for paths in images])
    return read_images([*itertools.chain(*images)], image_size, "support"), labels, classes
