"""Finds the image files of the sets of metric learning, without reading an image."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from neural_similarity.data.class_assignment import CLASS_SEED
from neural_similarity.data.class_folder_sets import list_class_folder
from neural_similarity.data.class_folders import classes_of, files_of, one_form
from neural_similarity.data.images import DataMissing
from neural_similarity.data.listing import folder_exists
from neural_similarity.data.places import setup_command
from neural_similarity.data.products import holds_lists, list_products
from neural_similarity.data.registry import DATA_SETS, DownloadedSet
from neural_similarity.errors import UserError


def folder_of(name: str, root: str | Path) -> Path:
    """The folder of a set: `root` itself for `folder`, and else one below it, which holds all sets."""
    root = Path(root).expanduser()
    return root if name == "folder" else root / DATA_SETS[name].folder


def list_files(
    name: str, root: str | Path, class_splits: Sequence[float] | str | Path | None = None
) -> dict[str, dict[str, list[Path]]]:
    """Finds the images of a set that is made of files.

    - `cub200`, `cars196`: the folders of the classes are sorted by the number that their names begin with, or else by
      name. The first half is for training and the second half for testing.
    - `sop`: two lists say which classes, and which images.
    - `folder`: see `class_folder_sets.list_class_folder`.

    Args:
        name: one of the four.
        root: the folder that holds all sets; for `folder` that of the set.
        class_splits: for `folder` only.

    Returns:
        `{split: {class: paths}}`, in the order of the labels.

    Raises:
        DataMissing: the set is not there.
        UserError: it has not the classes and images that it should have.
    """
    if name == "folder":
        return list_class_folder(root, class_splits, CLASS_SEED)
    folder = folder_of(name, root)
    there = holds_lists(folder) if name == "sop" else folder_exists(folder / "images")
    if not there:
        raise _missing(name, root, folder)
    again = f"move {folder} away, then: {_setup_command(name, root)}"
    found = list_products(folder, again) if name == "sop" else halves(name, _class_folders(folder / "images"))
    check_counts(name, found, folder, again)
    return found


def _setup_command(name, root):
    return setup_command(name, root, None if isinstance(DATA_SETS[name], DownloadedSet) else "DIR")


def _missing(name, root, folder):
    entry = DATA_SETS[name]
    if isinstance(entry, DownloadedSet):
        how = f"Next: {setup_command(name, root)} (downloads it; --from DIR takes it from a folder)"
    else:
        how = f"Next, DIR being a folder with the images: {setup_command(name, root, 'DIR')} (docs/data.md says which)"
    return DataMissing(
        f"{name}: its files are not in {folder}. {how}; or name the folder that contains {entry.folder} already: "
        "--set data.root=DIR, or NEURAL_SIMILARITY_DATA=DIR"
    )


def _class_folders(folder):
    """{class: the paths of its images} of all folders in a folder."""
    return {one_form(name): files_of(folder / name, "put its images back")[0] for name in classes_of(folder)}


def halves(name: str, classes: Mapping[str, Sequence]) -> dict[str, dict[str, Sequence]]:
    """Splits the classes of a set in two, in the order of their numbers, or else of their names.

    Args:
        name: of the set; the registry says how many classes are for training.
        classes: `{class: images}` of all of them.
    """
    ordered = sorted(classes, key=_number_and_name)
    count = DATA_SETS[name].class_counts["train"]
    parts = {"train": ordered[:count], "test": ordered[count:]}
    return {split: {label: classes[label] for label in labels} for split, labels in parts.items()}


def _number_and_name(name):
    """Sorts `2.Laysan` before `10.Gull`, and both before `Acura`."""
    number = re.match(r"\d+", name)
    return (int(number[0]) if number else float("inf"), name)


def check_counts(name: str, found: Mapping[str, Mapping[str, Sequence]], where: Path, again: str) -> None:
    """Raises a `UserError` unless every split has the classes and images that the registry says.

    Args:
        name: of the set.
        found: `{split: {class: images}}`.
        where: the folder that was looked in.
        again: what to do next, for the message.
    """
    entry = DATA_SETS[name]
    for split, classes in found.items():
        there = (len(classes), sum(map(len, classes.values())))
        expected = (entry.class_counts[split], entry.counts[split])
        if there != expected:
            raise UserError(
                f"{name}: {where}: the split `{split}` has {there[0]:,} classes with {there[1]:,} images; expected "
                f"{expected[0]:,} classes with {expected[1]:,} images. Next: {again}"
            )
