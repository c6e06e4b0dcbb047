"""Finds the images of Mini-ImageNet in the layouts that people have.

- *Class folders*: `DIR/WNID/*.jpg`, or `DIR/ANY/WNID/*.jpg`, where several folders may together hold one class.
- *Lists*: `train.csv`, `val.csv` and `test.csv` in DIR, with lines `FILE,WNID`, and the images in `DIR/images` or DIR.
- *ImageNet*: the lists, and class folders with more images than Mini-ImageNet takes.

The lists only say which images belong to a class. To which split a class belongs, our own class lists say.
"""

import csv
import re
from pathlib import Path

from neural_similarity.data import mini_imagenet
from neural_similarity.data.image_kinds import ENDINGS
from neural_similarity.data.listing import entries, file_exists, folder_exists, unreadable
from neural_similarity.errors import UserError

LISTS = ("train.csv", "val.csv", "test.csv")
_LISTS = "train.csv, val.csv and test.csv of Ravi and Larochelle's split"
_WNID = re.compile(r"n\d{8}")
_POSITION = re.compile(r"n\d{8}(\d{8})\.jpg")  # of the lists' names
_NUMBER = re.compile(r"n\d{8}_(\d+)\.jpe?g", re.IGNORECASE)  # of ImageNet's names


def find_images(source: Path) -> tuple[dict[str, list[Path]], str, int]:
    """Finds the images of every class.

    Args:
        source: the folder that somebody brought, DIR above.

    Returns:
        (class → paths of its images, sorted by the name that they have in Mini-ImageNet; the layout in words; the
        number of classes found that are not in Mini-ImageNet).

    Raises:
        UserError: the layout is none of the above, a list is damaged, or a class has not exactly 600 images.
    """
    folders = _class_folders(source)
    ours = {name: folders.get(name, []) for name in mini_imagenet.classes()}
    there = {name: _images_in(paths) for name, paths in ours.items()}
    counts = {name: len(paths) for name, paths in there.items()}
    extra = len(folders.keys() - ours.keys())
    if any(counts.values()) and max(counts.values()) <= mini_imagenet.IMAGES_PER_CLASS:
        _check_counts(source, counts)
        return {name: [files[key] for key in sorted(files)] for name, files in there.items()}, "class folders", extra
    if not any(file_exists(source / name) for name in LISTS):
        raise _no_lists(source, counts)
    listed = _read_lists(source)
    _check_counts(source, {name: len(listed.get(name, ())) for name in mini_imagenet.classes()}, "in the lists")
    extra = extra or len(listed.keys() - ours.keys())
    if any(counts.values()):
        return {name: _of_imagenet(source, name, listed[name], there[name]) for name in ours}, "ImageNet", extra
    return _of_one_folder(source, {name: listed[name] for name in ours}), "a folder of images with lists", extra


def _class_folders(source):
    """{WordNet id: the folders with this name in `source`, or one level below}."""
    found = {}
    inner, _ = entries(source)
    for name in inner:
        below = [] if _WNID.fullmatch(name) else entries(source / name)[0]
        for path in [source / name, *(source / name / folder for folder in below)]:
            if _WNID.fullmatch(path.name):
                found.setdefault(path.name, []).append(path)
    return found


def _images_in(folders):
    """{file name: path} of the images in the folders of one class."""
    images = {}
    for folder in folders:
        for name in entries(folder)[1]:
            if name.lower().endswith(ENDINGS):
                other = images.setdefault(name, folder / name)
                if other != folder / name:
                    raise UserError(
                        f"{folder / name}: {other} has the same name; expected each image once, so that training and "
                        "test images can be told apart. Next: keep one of the two"
                    )
    return images


def _check_counts(source, counts, where="there"):
    expected = mini_imagenet.IMAGES_PER_CLASS
    wrong = [f"{name} ({count:,})" for name, count in counts.items() if count != expected]
    if wrong:
        raise UserError(
            f"{source}: expected {len(counts)} classes with {expected:,} images each. Of {len(wrong)} classes another "
            f"number is {where}: {', '.join(wrong)}. Next: complete them"
        )


def _no_lists(source, counts):
    large = {name: count for name, count in counts.items() if count > mini_imagenet.IMAGES_PER_CLASS}
    if large:
        name, count = next(iter(large.items()))
        return UserError(
            f"{source}: {len(large)} classes have more than {mini_imagenet.IMAGES_PER_CLASS:,} images, as in ImageNet "
            f"itself ({name}: {count:,}), and no list says which of them belong to Mini-ImageNet. Next: put {_LISTS} "
            f"into {source}"
        )
    return UserError(
        f"{source}: no images of Mini-ImageNet found; expected {source}/CLASS/*.jpg or {source}/ANY/CLASS/*.jpg, CLASS "
        f"being a WordNet id such as {mini_imagenet.classes()[0]}, or {source}/images/*.jpg with {_LISTS} beside "
        "`images`. Next: name the folder that holds them, --from DIR"
    )


def _read_lists(source):
    """{WordNet id: the names of its files} of all three lists. A name must be one name, and no path."""
    missing = [name for name in LISTS if not file_exists(source / name)]
    if missing:
        raise UserError(f"{source}: {' and '.join(missing)} missing. Next: put {_LISTS} there")
    listed, seen = {}, set()
    for path in (source / name for name in LISTS):
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = [(number, row) for number, row in enumerate(csv.reader(file), 1) if any(map(str.strip, row))]
        except OSError as error:
            raise unreadable(path, error) from error
        except (ValueError, csv.Error) as error:
            raise UserError(f"{path}: cannot be read as a list ({error}). Next: put a good copy there") from error
        for number, row in rows:
            row = [cell.strip() for cell in row]
            if number == rows[0][0] and row == ["filename", "label"]:
                continue
            if len(row) != 2 or not _WNID.fullmatch(row[1]) or Path(row[0]).name != row[0] or row[0] in seen:
                fault = (
                    "named before" if row[0] in seen else "expected FILE,WNID such as n0153282900000005.jpg,n01532829"
                )
                raise UserError(f"{path}, line {number}: {','.join(row)!r}: {fault}. Next: put a good copy there")
            seen.add(row[0])
            listed.setdefault(row[1], []).append(row[0])
    return {label: sorted(names) for label, names in listed.items()}


def _of_one_folder(source, listed):
    """{class: paths} of the files in the lists, which lie in `source/images`, or else in `source`."""
    folder = source / "images" if folder_exists(source / "images") else source
    there = set(entries(folder)[1])
    _check_counts(folder, {name: len(there.intersection(files)) for name, files in listed.items()})
    return {name: [folder / file for file in files] for name, files in listed.items()}


def _of_imagenet(source, label, listed, there):
    """The paths of a class's listed files among all of ImageNet.

    Ravi and Larochelle numbered the images of a class from 1, in the order of ImageNet's own numbers: their
    `n0153282900000005.jpg` is the fifth file, and not `n01532829_5.JPEG`, which need not exist.
    """
    numbered = sorted((int(match[1]), name) for name in there if (match := _NUMBER.fullmatch(name)))
    paths = []
    for file in listed:
        position = _POSITION.fullmatch(file)
        if file in there:
            paths.append(there[file])
        elif position and 0 < int(position[1]) <= len(numbered):
            paths.append(there[numbered[int(position[1]) - 1][1]])
        else:
            raise UserError(
                f"{source}: the lists name {file}, and {label} has {len(there):,} images, none of which is it. Next: "
                f"bring all of ImageNet's training images of {label}, under their own names ({label}_NUMBER.JPEG)"
            )
    return paths
