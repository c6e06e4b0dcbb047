"""The user's own images for few-shot recognition: which split gets which classes, what is refused, a support folder."""

import json
import os
import shutil
import unicodedata

import numpy as np
import pytest
from pictures import pixels, save, save_set
from PIL import Image

from neural_similarity.data.class_assignment import assign_by_fractions
from neural_similarity.data.class_folder_sets import list_class_folder, load_class_folder
from neural_similarity.data.image_files import read_image
from neural_similarity.data.images import DataMissing
from neural_similarity.data.support_folder import read_support
from neural_similarity.errors import UserError

CLASSES = ("ant", "bee", "cat", "dog", "eel")
THIRDS = (0.4, 0.2, 0.4)


def save_classes(root, classes=CLASSES, images=2):
    """Writes ROOT/CLASS/*.png, of 8×8 pixels; no two images are equal."""
    return save_set(root.parent, classes, splits=(root.name,), images=images) / root.name


@pytest.fixture
def root(tmp_path):
    return save_classes(tmp_path / "set")


def listed(root, lists, seed=0, file="splits.yaml"):
    """The set whose classes are listed in a file that holds `lists`, a text or what is to be written as JSON."""
    (root / file).write_text(lists if isinstance(lists, str) else json.dumps(lists), encoding="utf-8")
    return list_class_folder(root, file, seed)


def names(splits):
    return {split: [*classes] for split, classes in splits.items()}


# By fractions


@pytest.mark.parametrize(
    ("count", "fractions", "sizes"),
    [
        (100, (0.64, 0.16, 0.2), (64, 16, 20)),
        (3, (0.64, 0.16, 0.2), (1, 1, 1)),
        (10, (0.98, 0.01, 0.01), (8, 1, 1)),
        (7, (1 / 3, 1 / 3, 1 / 3), (3, 2, 2)),
        (10, (0.75, 0, 0.25), (8, 0, 2)),
        (2, (0.01, 0, 0.99), (1, 0, 1)),
    ],
)
def test_every_class_is_in_one_split_and_every_split_has_its_share(count, fractions, sizes):
    classes = [f"c{i:03}" for i in range(count)]
    splits = assign_by_fractions(classes, fractions, 0, "set")
    assert tuple(len(splits.get(split, ())) for split in ("train", "validation", "test")) == sizes
    assert sorted(name for part in splits.values() for name in part) == classes
    assert all(part == sorted(part) for part in splits.values())


def test_fractions_depend_on_names_and_seed_alone():
    expected = {"train": ["bee", "dog"], "validation": ["ant"], "test": ["cat", "eel"]}  # on every machine
    assert assign_by_fractions(CLASSES, THIRDS, 0, "set") == expected
    assert assign_by_fractions(CLASSES[::-1], THIRDS, 0, "elsewhere") == expected
    assert len({str(assign_by_fractions(CLASSES, THIRDS, seed, "set")) for seed in range(20)}) > 5


def test_the_order_is_not_the_file_systems(root, list_backwards):
    expected = list_class_folder(root, THIRDS, 0)
    list_backwards()
    found = list_class_folder(root, THIRDS, 0)
    assert [*found.items()] == [*expected.items()]
    assert names(found) == names(expected)


def test_a_name_in_another_unicode_form_is_the_same_class(tmp_path):
    forms = [unicodedata.normalize(form, "caf\xe9") for form in ("NFC", "NFD")]
    roots = [save_classes(tmp_path / str(i) / "set", (*CLASSES, form)) for i, form in enumerate(forms)]
    first, second = (list_class_folder(root, THIRDS, 3) for root in roots)
    assert names(first) == names(second)
    assert names(listed(roots[1], {"train": ["caf\xe9"], "test": ["ant"]})) == {"train": ["caf\xe9"], "test": ["ant"]}


# Reading


def test_loaded_images_are_the_listed_files(root):
    save(root / "cat" / "more.JPG", pixels(20, 30))
    splits, files = load_class_folder(root, 16, THIRDS, 0), list_class_folder(root, THIRDS, 0)
    assert [*splits.parts()] == [*files] == ["train", "validation", "test"]
    for split, part in splits.parts().items():
        assert part.images.dtype == np.uint8
        assert part.classes == tuple(files[split])
        assert len(part) == len(part.images)
        for rows, paths in zip(part.rows, files[split].values(), strict=True):
            np.testing.assert_array_equal(part.images[rows], [read_image(path, 16) for path in paths])
    assert [len(rows) for rows in splits.test.rows] == [3, 2]  # cats and eels
    assert load_class_folder(root, 16, THIRDS, 0).facts() == splits.facts()


def test_no_validation_split(root):
    splits = load_class_folder(root, 8, (0.6, 0, 0.4), 0)
    assert splits.validation is None
    assert [len(part.classes) for part in splits.parts().values()] == [3, 2]


def test_a_dry_run_reads_no_image(root, monkeypatch):
    monkeypatch.setattr(Image, "open", None)
    assert sum(map(len, list_class_folder(root, THIRDS, 0)["train"].values())) == 4


def test_what_is_left_out_is_told(root, logged):
    (root / ".cache").mkdir()
    (root / "cat" / ".0.png").write_text("hidden")
    (root / "cat" / "notes.txt").write_text("no image")
    (root / "README").write_text("no image")
    (root / "papers").mkdir()
    assert names(listed(root, "{test: [dog, cat], train: [bee]}")) == {"train": ["bee"], "test": ["cat", "dog"]}
    assert logged.messages == [
        f"{root}: folders that are not read, as {root}/splits.yaml does not name them: 3 (`ant`, `eel`, `papers`)",
        f"{root}: left out, as they are no images: 2 (`README`, `cat/notes.txt`)",
    ]


def test_equal_images_are_told(root, logged):
    (root / "splits.yaml").write_text("{train: [ant], validation: [bee, cat], test: [dog, eel]}")
    load_class_folder(root, 8, "splits.yaml", 0)
    assert logged.messages == []
    for source, target in (("ant/0", "dog/a"), ("ant/0", "eel/a"), ("bee/1", "bee/a"), ("cat/0", "eel/b")):
        shutil.copy(root / f"{source}.png", root / f"{target}.png")
    load_class_folder(root, 8, "splits.yaml", 0)
    assert [message.removeprefix(f"{root}: ") for message in logged.messages] == [
        "images of validation that are copies of another one there, pixel for pixel: 1",
        "images of test that are copies of another one there, pixel for pixel: 1",
        "images of test that are also in train, pixel for pixel: 2 of 7",
        "images of test that are also in validation, pixel for pixel: 1 of 7",
    ]
    assert logged.records[0].levelname == "WARNING"


# The list


@pytest.mark.parametrize("file", ["splits.yaml", "splits.json", "list"])
def test_names_are_texts(file, tmp_path):
    odd = ("1", "010", "1.50", "no", "2024-01-01", "null", "1e3", "ünï")
    root = save_classes(tmp_path / "set", odd, images=1)
    yaml = "train: [1, 010, no, 2024-01-01]\ntest:\n- null\n- 1.50\n- 1e3\n- ünï\n"
    json_text = '\ufeff{"train":\n\t[1, "010", "no", "2024-01-01"], "test": ["null", 1.50, 1e3, "\\u00fcn\\u00ef"]}'
    splits = listed(root, json_text if file.endswith("json") else yaml, file=file)
    assert names(splits) == {"train": ["010", "1", "2024-01-01", "no"], "test": ["1.50", "1e3", "null", "ünï"]}


def test_where_the_list_lies(root, tmp_path, monkeypatch):
    """A relative path begins in the folder of the images, whatever the working folder is."""
    expected = listed(root, {"train": ["ant"], "test": ["bee"]})
    monkeypatch.chdir(tmp_path)
    (root / "splits.yaml").rename(tmp_path / "other.yaml")
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("../other.yaml", tmp_path / "other.yaml", str(tmp_path / "other.yaml"), "~/other.yaml"):
        assert list_class_folder(root, path, 0) == expected


LISTS = {  # the list → what the message says of it
    "train: [ant]\nTest: [bee]": "unknown key `Test`; expected `train: [cat, dog, …]`, |. Did you mean `test`? Next: ",
    "train: [ant]\nval: [cat]\ntest: [bee]": "unknown key `val`; |. Did you mean `validation`? Next: rename it",
    "train: [ant]": "the key `test` is missing; expected `train: ",
    "test: [ant]": "the key `train` is missing; expected `train: ",
    "train: [ant, cot]\ntest: [bee]": "names `cot`, and |has no folder of that name. Did you mean `cat`? Next: ",
    "train: [x1, x2]\ntest: [x3, x4, x5, x6, x7]": "names `x1`, `x2`, `x3`, `x4`, `x5` and 2 more, and ",
    "train: [ant, ant]\ntest: [bee]": "the class `ant` stands twice under `train`; expected each class once",
    "train: [ant]\ntest: [bee, ant]": "the class `ant` stands under `train` and `test`; expected each class once",
    "train: []\ntest: [bee]": "`train` names no class; expected at least one. Next: add names",
    "train: [ant]\nvalidation: []\ntest: [bee]": "or delete this key: validation may be left out",
    "train: [ant]\nvalidation:\ntest: [bee]": "`validation` holds nothing; expected a list of class names, as `valida",
    "train: ant, cat\ntest: [bee]": "`train` holds a text; expected a list of class names, as `train: [cat, dog]`",
    "train: [ant: cat]\ntest: [bee]": "`train` has a mapping where a class's name was expected",
    "- ant\n- bee": "holds a list; expected `train: ",
    "ant,train\nbee,test": "holds a text; expected `train: ",
    "": "holds nothing; expected `train: ",
    "train: [ant]\ntrain: [cat]\ntest: [bee]": "cannot be read as a list of classes (line 1: the key `train` ",
    "train: [ant\ntest: [bee]": "cannot be read as a list of classes (line 2: ",
    "? [ant]\n: bee": "cannot be read as a list of classes (line 1: a key is no text)",
    "\ttrain: [ant]": "cannot be read as a list of classes (line 1: ",
    "train: [\x01]": "cannot be read as a list of classes (special characters are not allowed, at character 8)",
    "[" * 9999: "cannot be read as a list of classes (it is nested too deeply)",
    "a" * 1_000_001: "cannot be read as a list of classes (larger than 1,000,000 bytes)",
    "train: &a [ant]\ntest: [*a, *a]": "`test` has a list where a class's name was expected",
}


@pytest.mark.parametrize("text", LISTS, ids=range(len(LISTS)))
def test_mistakes_in_a_list_end_in_one_message(text, root):
    with pytest.raises(UserError) as error:
        listed(root, text)
    message = str(error.value)
    assert message.startswith(f"{root}/splits.yaml: ")
    assert [part for part in LISTS[text].split("|") if part not in message] == [], message
    assert " Next: " in message
    assert "\n" not in message
    assert len(message) < 700


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"train": ["ant"], "test": [true]}', "`test` has `True` where a class's name was expected"),
        ('{"train": ["ant"], "train": ["cat"], "test": ["bee"]}', "(the key `train` is there twice)"),
        ('{"train": ["ant"]', "(Expecting ',' delimiter: line 1 column 18"),
        ("[" * 200_000, "it is nested too deeply"),
        ("train: [ant]", "expected YAML, or JSON in a file that ends in .json"),
    ],
)
def test_mistakes_in_json_too(text, words, root):
    with pytest.raises(UserError) as error:
        listed(root, text, file="splits.json")
    assert words in str(error.value)
    assert str(error.value).startswith(f"{root}/splits.json: ")


def test_a_list_that_cannot_be_read(root):
    for make, words in (
        (lambda path: None, f"there is no such file; .*begins in {root}.* --set 'data.class_splits="),
        (lambda path: path.write_bytes(b"train: [caf\xe9]"), "not UTF-8 text from byte 11 on"),
        (lambda path: (path.unlink(), path.mkdir()), "a folder, not a file"),
        (lambda path: (path.rmdir(), os.mkfifo(path)), "a pipe, not a file"),
    ):
        make(root / "list")
        with pytest.raises(UserError, match=words):
            list_class_folder(root, "list", 0)


# Refusals


@pytest.mark.parametrize(
    "fractions",
    [(0.8, 0.2), (0.6, 0.2, 0.1), (0, 0.5, 0.5), (0.5, 0.5, 0), (1.2, -0.4, 0.2), (float("nan"), 0.5, 0.5), ()],
)
def test_fractions_that_are_no_shares_are_refused(fractions, root):
    with pytest.raises(UserError, match=r"^`data\.class_splits` is \[.* expected three fractions .* Next: --set '"):
        list_class_folder(root, fractions, 0)


def move_into_splits(root):
    for i, name in enumerate(CLASSES):
        split = ("train", "val", "test")[i % 3]
        (root / split).mkdir(exist_ok=True)
        (root / name).rename(root / split / name)


MISTAKES = {  # what is done to the folder → how the message begins and ends
    "no root": (shutil.rmtree, "folder: there is no folder {root}; ", "Next: --set data.root=DIR"),
    "splits": (move_into_splits, "{root}: there are folders within `test`, `train`, `val`; ", "=splits.yaml"),
    "too few": (
        lambda r: [shutil.rmtree(r / name) for name in CLASSES[2:]],
        "{root}: 2 folders of classes; expected at least 3, one for each of train, validation, test",
        "Next: add folders, each with the images of one class",
    ),
    "no class": (lambda r: [shutil.rmtree(r / n) for n in CLASSES], "{root}: no class; ", "and put images there"),
    "empty": (lambda r: (r / "fox").mkdir(), "{root}/fox: no image; ", "put images there, or move this folder away"),
    "loose": (lambda r: save(r / "0.png", pixels()), "{root}/0.png: an image outside of a class's folder; ", "class"),
    "other kind": (
        lambda r: save(r / "ant" / "0.webp", pixels()),
        "{root}/ant/0.webp: an image that would not",
        "away",
    ),
    "deeper": (lambda r: (r / "ant" / "x").mkdir(), "{root}/ant/x: a folder in a class's folder; ", "away"),
    "link": (lambda r: (r / "fox").symlink_to(r / "ant"), "{root}/", "by a folder of other images"),
    "dead link": (lambda r: (r / "fox").symlink_to("/nowhere"), "{root}/fox: a link to /nowhere, ", "delete the link"),
    "unreadable": (
        lambda r: (r / "ant" / "0.png").write_text("x"),
        "{root}/ant/0.png: cannot be read as",
        "leave it out",
    ),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_mistakes_in_the_folders_end_in_one_message(kind, root):
    make, begin, end = MISTAKES[kind]
    make(root)
    with pytest.raises(UserError) as error:
        load_class_folder(root, 8, THIRDS, 0)
    assert str(error.value).startswith(begin.format(root=root))
    assert str(error.value).endswith(end)
    assert "\n" not in str(error.value)
    assert isinstance(error.value, DataMissing) == (kind == "no root")


def test_the_list_is_named_where_a_listed_class_is_empty(root):
    (root / "fox").mkdir()
    with pytest.raises(UserError, match=rf"/fox: no image; .* or take this class out of {root}/splits.yaml$"):
        listed(root, {"train": ["fox"], "test": ["ant"]})


# A support folder


def test_a_support_folder(root, logged):
    save(root / "bee" / "Z.JPEG", pixels(20, 30))
    (root / "bee" / "notes.txt").write_text("no image")
    images, labels, classes = read_support(root, 12)
    paths = [path for name in CLASSES for path in sorted((root / name).iterdir()) if path.suffix != ".txt"]
    np.testing.assert_array_equal(images, [read_image(path, 12) for path in paths])
    assert (images.dtype, labels.dtype) == (np.uint8, np.int32)
    assert labels.tolist() == [0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4]
    assert classes == CLASSES
    assert logged.messages == [f"{root}: left out, as they are no images: 1 (`bee/notes.txt`)"]


SUPPORT_MISTAKES = {
    "no root": (shutil.rmtree, "{root}: there is no such folder; ", "Next: look at the path"),
    "one class": (
        lambda r: [shutil.rmtree(r / name) for name in CLASSES[1:]],
        "{root}: one class, `ant`; ",
        "Next: add a folder of images of another class",
    ),
}


@pytest.mark.parametrize(
    "kind", [*SUPPORT_MISTAKES, *sorted(MISTAKES.keys() - SUPPORT_MISTAKES.keys() - {"splits", "too few"})]
)
def test_mistakes_in_a_support_folder(kind, root):
    make, begin, end = {**MISTAKES, **SUPPORT_MISTAKES}[kind]
    make(root)
    with pytest.raises(UserError) as error:
        read_support(root, 8)
    assert str(error.value).startswith(begin.format(root=root))
    assert str(error.value).endswith(end)
