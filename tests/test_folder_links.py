"""The user's own images: links, folders that may not be read, names in two Unicode forms, and the same image twice."""

import errno
import os
import shutil
import unicodedata

import numpy as np
import pytest
from pictures import pixels, save, save_set

from neural_similarity import data
from neural_similarity.data import equal_images, image_files
from neural_similarity.data.images import ImageSet, Splits
from neural_similarity.errors import UserError

NFC = "caf\xe9"
NFD = unicodedata.normalize("NFD", NFC)


@pytest.fixture
def root(tmp_path):
    return save_set(tmp_path / "set", classes=("cat", "dog"), images=2)


def refusal(root, **settings):
    with pytest.raises(UserError) as error:
        data.load("folder", root, image_size=8, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "place", ["train/bird", "test/bird", "val", "train/cat/a.png", "test/dog/a", "train/notes.txt"]
)
def test_a_link_to_nowhere_is_refused(place, root):
    (root / place).symlink_to("/nowhere/to be mounted")
    assert refusal(root) == (
        f"{root / place}: a link to /nowhere/to be mounted, where nothing can be read (No such file or directory). "
        "Next: mount the disk that it leads to, or delete the link"
    )


@pytest.mark.parametrize("place", ["train/bird", "val", "train/cat/a.png", "."])
def test_a_link_to_itself_is_refused(place, root):
    if place == ".":
        shutil.rmtree(root)
    (root / place).symlink_to((root / place).name)
    assert refusal(root).startswith(f"{root / place}: a link that leads back to itself. Next: delete it")


@pytest.mark.parametrize("inner", ["", "set"])
def test_a_name_that_is_too_long_is_refused(inner, tmp_path):
    root = tmp_path / ("x" * 300) / inner
    assert refusal(root) == f"{root}: the name is too long for the file system. Next: look at the path, or rename it"


def test_links_to_other_folders_and_files_are_followed(root, tmp_path):
    expected = data.load("folder", root, image_size=8).facts()
    for place in ("train/cat", "test", "train/dog/0.png"):
        moved = tmp_path / place.replace("/", "-")
        (root / place).rename(moved)
        (root / place).symlink_to(moved)
    assert data.load("folder", root, image_size=8).facts() == expected


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("test", "train"),
        ("val", "test"),
        ("train/dog", "train/cat"),
        ("test/cat", "train/cat"),
        ("test/dog", "train/cat"),  # in another class of another split
    ],
)
def test_one_folder_under_two_names_is_refused(place, target, root):
    shutil.rmtree(root / place, ignore_errors=True)
    (root / place).symlink_to(root / target)
    assert f"{root / place}: the same folder as {root / target}, by a link; expected other images" in refusal(root)


@pytest.mark.parametrize("place", ["", "train", "test/dog"])
def test_a_folder_that_may_not_be_read_is_told(place, root, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if str(path) == str(root / place):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert refusal(root) == (
        f"{root / place}: may not be read (Permission denied). Next: give yourself the right to read it with chmod, or "
        "ask its owner for it"
    )


@pytest.mark.parametrize("name", ["folder", "cifar10", "cifar100"])
@pytest.mark.parametrize(("number", "words"), [(errno.EACCES, "may not be read"), (errno.EIO, "cannot be read")])
def test_a_root_that_may_not_be_entered_is_told(name, number, words, tmp_path, monkeypatch, capsys):
    def refuse(path, **more):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(UserError, match=rf"{tmp_path}.*: {words} \({os.strerror(number)}\)\. Next: "):
        data.count_images(name, tmp_path)


def test_a_file_that_may_not_be_read_is_told(root, monkeypatch):
    def refuse(path, mode):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(image_files, "open", refuse, raising=False)
    assert refusal(root).startswith(f"{root}/train/cat/0.png: may not be read (Permission denied). Next: give yourself")


@pytest.mark.parametrize(("train", "test"), [(NFC, NFD), (NFD, NFC)])
def test_a_name_in_two_unicode_forms_is_one_class(train, test, root):
    expected = data.load("folder", root, image_size=8)
    (root / "train" / "cat").rename(root / "train" / train)
    (root / "test" / "cat").rename(root / "test" / test)
    splits = data.load("folder", root, image_size=8)
    assert splits.classes == (train, "dog")  # as `train` has it
    assert splits.checksum() == expected.checksum()


def test_two_classes_of_one_name_in_two_unicode_forms_are_refused(root):
    for split in ("train", "test"):
        for name in (NFC, NFD):
            shutil.copytree(root / split / "cat", root / split / name)
    assert r"two classes have this name, written in two Unicode forms ('cafe\u0301' and 'caf\xe9')" in refusal(root)


# The same image twice


def of(*numbers):
    """Images that are filled with these numbers."""
    return np.stack([np.full((2, 2, 3), number, np.uint8) for number in numbers])


def test_images_that_training_saw_are_counted():
    train = ImageSet(of(1, 2, 3, 3), np.array([0, 0, 1, 1], np.int32))
    fine, mixed = ImageSet(of(4, 5), np.array([0, 1])), ImageSet(of(1, 4, 3), np.array([0, 1, 0]))
    assert equal_images.equal_images(Splits(train, None, fine, ("a", "b"))) == []
    assert equal_images.equal_images(Splits(train, mixed, fine, ("a", "b"))) == [
        "images of validation that are also in train, pixel for pixel: 2 of 3"
    ]
    both = ImageSet(of(7, 8, 7, 7), np.array([0, 1, 1, 0], np.int32))
    assert equal_images.equal_images(Splits(both, None, fine, ("a", "b"))) == [
        "images of train that are also in another class, pixel for pixel: 1"
    ]


@pytest.mark.parametrize("link", [False, True])
def test_a_test_image_that_is_a_training_image_is_told(link, root, logged):
    data.load("folder", root, image_size=8)
    assert logged.messages == []
    save(root / "train" / "cat" / "large.png", pixels(30, 30))  # it is equal after it was scaled, too
    for source, target in (("cat/0.png", "dog/copy.png"), ("cat/large.png", "cat/large.png")):
        (os.link if link else shutil.copy)(root / "train" / source, root / "test" / target)
    data.load("folder", root, image_size=8)
    assert logged.messages == [f"{root}: images of test that are also in train, pixel for pixel: 2 of 6"]
    assert logged.records[0].levelname == "WARNING"  # so that notebooks show it too
