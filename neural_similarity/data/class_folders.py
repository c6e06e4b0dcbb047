"""The folders of the classes in one split of somebody's images, and the files in them."""

import logging
import os
import unicodedata

from neural_similarity.data.image_kinds import ENDINGS, is_image
from neural_similarity.data.listing import entries, unreadable
from neural_similarity.errors import UserError

_log = logging.getLogger("neural_similarity")
_MOST_NAMES = 5  # that one message lists


def classes_of(split):
    """The names of the folders in a split or in a set, sorted. There must be one at least, and no image beside them."""
    classes, files = entries(split)
    loose = [name for name in files if _is_image(split / name)]
    if loose:
        raise UserError(
            f"{split / loose[0]}: an image outside of a class's folder; expected {split}/CLASS/{loose[0]}. "
            "Next: move all images there into the folder of their class"
        )
    odd = [name for name in classes if not name.isprintable()]
    if odd:
        raise UserError(
            f"{str(split / odd[0])!a}: a class's name is printed and written down, and this one cannot be; expected "
            "printable UTF-8. Next: rename every folder of this name"
        )
    if not classes:
        raise UserError(
            f"{split}: no class; expected a folder of images for each: {split}/CLASS/*.{{png,jpg}}. "
            "Next: make them, and put images there"
        )
    forms = {}
    for name in classes:
        if forms.setdefault(one_form(name), name) != name:
            raise UserError(
                f"{split / name}: two classes have this name, written in two Unicode forms ({forms[one_form(name)]!a} "
                f"and {name!a}). Next: rename one, or put their images together"
            )
    return tuple(classes)


def class_folders(split, classes):
    """The folders of the classes in a split, in the order of `classes`, which are those of `train`.

    Names are compared in one Unicode form: some systems write é as one character, others as e and an accent.
    """
    wanted, own = ({one_form(name): name for name in names} for names in (classes, classes_of(split)))
    missing, extra = wanted.keys() - own.keys(), own.keys() - wanted.keys()
    if missing or extra:
        differences = [f"lacks {named(missing)}"] if missing else []
        differences += [f"has {named(extra)}, which `train` lacks"] if extra else []
        raise UserError(
            f"{split}: {' and '.join(differences)}; expected the classes of {split.parent / 'train'}. "
            "Next: make them the same, then look with --dry-run"
        )
    return [split / own[name] for name in wanted]


def check_distinct(folders):
    """Refuses a folder that is another one by a link: its images would count twice, or be trained on and tested on."""
    seen = {}
    for folder in folders:
        other = seen.setdefault(os.path.realpath(folder), folder)
        if other != folder:
            raise UserError(
                f"{folder}: the same folder as {other}, by a link; expected other images in each split and class. "
                "Next: replace the link by a folder of other images"
            )


def files_of(folder, instead="remove this class from every split"):
    """(the paths of a class's images, those of the other files), both sorted. There must be one image at least.

    `instead` says what to do with a class that has no images, for the message.
    """
    inner, files = entries(folder)
    if inner:
        raise UserError(
            f"{folder / inner[0]}: a folder in a class's folder; expected only images. Next: move its images up to "
            f"{folder}, or away"
        )
    images = [folder / name for name in files if name.lower().endswith(ENDINGS)]
    others = [folder / name for name in files if not name.lower().endswith(ENDINGS)]
    unread = next(filter(_is_image, others), None)
    if unread:
        raise UserError(
            f"{unread}: an image that would not be read; expected the ending {', '.join(ENDINGS)}. Next: rename PNG "
            "and JPEG files, convert others to PNG, or move them away"
        )
    if not images:
        raise UserError(
            f"{folder}: no image; expected files that end in {', '.join(ENDINGS)}, found {len(files):,} others. "
            f"Next: put images there, or {instead}"
        )
    return images, others


def _is_image(path):
    try:
        return is_image(path)
    except OSError as error:
        raise unreadable(path, error) from error


def one_form(name):
    """A name in the Unicode form in which names are compared: é is one character."""
    return unicodedata.normalize("NFC", name)


def named(names):
    """The first names, for a message: "`cat`, `dog` and 3 more"."""
    names = sorted(name if name.isprintable() else ascii(name) for name in names)
    shown = ", ".join(f"`{name}`" for name in names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES:,} more"


def tell(what, root, names):
    """Logs a line with the number of names and the first of them; nothing if there is none."""
    if names := list(map(str, names)):
        _log.warning("%s: %s: %s (%s)", root, what, f"{len(names):,}", named(names))
