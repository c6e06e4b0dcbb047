"""Puts Cars196 in place from a folder that somebody brings.

In its place there is a folder of images for each class: `images/Acura TL Sedan 2012/000123.jpg`.
"""

from pathlib import Path, PurePosixPath

import numpy as np

from neural_similarity.data.brought import copy_unless_there, put_in_place
from neural_similarity.data.class_folders import files_of, one_form
from neural_similarity.data.listing import entries, file_exists, folder_exists
from neural_similarity.data.places import setup_command
from neural_similarity.data.registry import DATA_SETS
from neural_similarity.data.retrieval_files import check_counts, halves
from neural_similarity.errors import UserError

NAME = "cars196"
_IMAGES, _ANNOTATIONS = "car_ims", "cars_annos.mat"


def build(source: Path | None, root: Path) -> None:
    """Copies the images into folders of their classes, unless the set is there.

    Args:
        source: a folder in one of these layouts: `CLASS/*.jpg`; several trees of such folders, `TREE/CLASS/*.jpg`,
            which are put together; or `car_ims/*.jpg` beside `cars_annos.mat`. None only looks whether the set is there
            and whole.
        root: the folder that holds all sets; it is created if it is not there.

    Raises:
        DataMissing: `source` is None, and the set is not there.
        UserError: `source` does not hold the set; what is in its place is not the set; or another process copies it.
        OSError: a file cannot be read or written.
    """
    copy_unless_there(NAME, source, root, _copy)


def _copy(source, root):
    again = f"complete {source}, then: {setup_command(NAME, root, source)}"
    annotated = file_exists(source / _ANNOTATIONS) and folder_exists(source / _IMAGES)
    classes, layout = _annotated(source, again) if annotated else _class_folders(source)
    check_counts(NAME, halves(NAME, classes), source, again)
    files = {f"images/{label}/{name}": path for label, paths in classes.items() for name, path in paths.items()}
    put_in_place(NAME, root, files, f"copied from {layout}; no checksum of the publisher's is known")


def _class_folders(source):
    """({class: {file name: path}}, the layout in words) of one tree of class folders, or of several."""
    expected = sum(DATA_SETS[NAME].class_counts.values())
    inner, _ = entries(source)
    trees = [source / name for name in inner if entries(source / name)[0]] or [source]
    if trees == [source] and len(inner) != expected:
        raise UserError(
            f"{source}: expected {expected} folders, each with the images of a class, or {_IMAGES} with "
            f"{_ANNOTATIONS} beside it; found {len(inner)} folders. Next: name the folder that holds them, --from DIR"
        )
    classes = {}
    for tree in trees:
        prefix = f"{tree.name}_" if len(trees) > 1 else ""  # two trees may both have an image 00001.jpg
        for name in entries(tree)[0]:
            paths, _ = files_of(tree / name, "take the folder away")
            classes.setdefault(one_form(name), {}).update({prefix + path.name: path for path in paths})
    return classes, "class folders" + (f" in {', '.join(tree.name for tree in trees)}" if len(trees) > 1 else "")


def _annotated(source, again):
    """The same of `car_ims` and `cars_annos.mat`. A slash in a class's name becomes a hyphen."""
    names, images = _annotations(source / _ANNOTATIONS)
    there = set(entries(source / _IMAGES)[1])
    classes = {}
    for image, number in images:
        if image not in there:
            raise UserError(f"{source / _ANNOTATIONS}: names {image}, which is not in {_IMAGES}. Next: {again}")
        classes.setdefault(one_form(names[number - 1].replace("/", "-")), {})[image] = source / _IMAGES / image
    return classes, f"{_IMAGES} and {_ANNOTATIONS}"


def _annotations(path):
    """(names of the classes, [(file name, number of its class, from 1)]) in the annotations' file."""
    import scipy.io  # here: the other layouts need no SciPy

    try:
        content = scipy.io.loadmat(path, variable_names=["annotations", "class_names"], squeeze_me=True)
        names = [str(name) for name in np.atleast_1d(content["class_names"])]
        rows = np.atleast_1d(content["annotations"])
        images = [(PurePosixPath(str(row["relative_im_path"])).name, int(row["class"])) for row in rows]
        if not all(name and 1 <= number <= len(names) for name, number in images):
            raise ValueError("an image without a name or a class")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}). Next: put a good copy there") from error
    except Exception as error:  # SciPy's reader breaks in its own ways
        raise UserError(
            f"{path}: cannot be read as the annotations of Cars196 ({error!r}). Next: put a good copy there"
        ) from error
    return names, images
