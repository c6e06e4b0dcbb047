"""MNIST and Fashion-MNIST: their reader, against files written here byte by byte, and their set-up."""

import dataclasses
import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from neural_similarity import data
from neural_similarity.data import download, registry, setup
from neural_similarity.data.images import DataMissing
from neural_similarity.errors import UserError

NAMES = ("mnist", "fashion_mnist")
TRAIN, TEST = 5, 3


def idx(numbers):
    head = bytes([0, 0, 8, numbers.ndim]) + b"".join(n.to_bytes(4, "big") for n in numbers.shape)
    return head + numbers.astype(np.uint8).tobytes()


def contents(random):
    """{file: its content, not compressed}, and the arrays that it holds."""
    arrays = {}
    for split, n in (("train", TRAIN), ("t10k", TEST)):
        arrays[f"{split}-images-idx3-ubyte.gz"] = random.integers(256, size=(n, 28, 28))
        arrays[f"{split}-labels-idx1-ubyte.gz"] = random.integers(10, size=n)
    return {name: idx(array) for name, array in arrays.items()}, arrays


def put(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(gzip.compress(content))


@pytest.fixture(params=NAMES)
def small(request, tmp_path, monkeypatch):
    """(name of the set, the folder of all sets, the set's folder, its arrays): a set with a few images."""
    name = request.param
    entry = dataclasses.replace(registry.DATA_SETS[name], counts={"train": TRAIN, "test": TEST})
    files, arrays = contents(np.random.default_rng(0))
    put(tmp_path / entry.folder, files)
    monkeypatch.setitem(registry.DATA_SETS, name, entry)
    return name, tmp_path, tmp_path / entry.folder, arrays


def test_images_and_labels_are_read_in_their_order(small):
    name, root, _, arrays = small
    splits = data.load(name, root)
    assert splits.validation is None
    assert splits.classes == registry.DATA_SETS[name].classes
    assert len(splits.classes) == 10
    for part, begins in ((splits.train, "train"), (splits.test, "t10k")):
        grey = arrays[f"{begins}-images-idx3-ubyte.gz"]
        assert (part.images.dtype, part.labels.dtype) == (np.uint8, np.int32)
        for channel in range(3):
            np.testing.assert_array_equal(part.images[..., channel], grey)
        np.testing.assert_array_equal(part.labels, arrays[f"{begins}-labels-idx1-ubyte.gz"])
    assert data.count_images(name, root) == {"train": TRAIN, "test": TEST}


def test_a_missing_file_is_named(small):
    name, root, folder, _ = small
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    for function in (data.load, data.count_images):
        with pytest.raises(DataMissing, match=rf"{name}: 1 of 4 files are not in .*: t10k-labels.*setup\.sh {name}"):
            function(name, root)


DAMAGE = {
    "not gzip": (lambda content: content, "expected a readable gzip file"),
    "cut": (lambda content: gzip.compress(content)[:-9], "expected a readable gzip file"),
    "another byte": (
        lambda content: gzip.compress(content)[:-20] + bytes(20),
        "expected a readable gzip file",
    ),
    "shorter": (lambda content: gzip.compress(content[:-1]), "found 3,919 of them"),
    "longer": (lambda content: gzip.compress(content + b"0"), "found more of them"),
    "labels": (lambda content: gzip.compress(idx(np.zeros(5))), "found a file that begins with 00 00 08 01"),
    "empty": (lambda content: gzip.compress(b""), "found a file that begins with "),
    "another size": (lambda content: gzip.compress(content.replace(b"\x1c", b"\x1d", 1)), "found a file that begins"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused(small, damage):
    name, root, folder, _ = small
    change, words = DAMAGE[damage]
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(change(gzip.decompress(path.read_bytes())))
    with pytest.raises(UserError) as raised:
        data.load(name, root)
    said = str(raised.value)
    assert said.startswith(str(path))
    assert words in said
    assert f"Delete it and run ./dataset_setup.sh {name}" in said


def test_a_label_out_of_range_is_refused(small):
    name, root, folder, _ = small
    put(folder, {"train-labels-idx1-ubyte.gz": idx(np.array([0, 1, 10, 2, 3]))})
    with pytest.raises(UserError, match="expected labels from 0 to 9, found 10 at place 2"):
        data.load(name, root)


# The set-up


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """(`file → content` that the server has, the root): MNIST as a set of four other files."""
    files = {name: gzip.compress(content) for name, content in contents(np.random.default_rng(1))[0].items()}
    archives = tuple(
        registry.Archive(name=name, url=f"https://x/{name}", md5=md5, file_md5={name: md5})
        for name, md5 in ((name, hashlib.md5(content).hexdigest()) for name, content in files.items())
    )
    entry = dataclasses.replace(registry.DATA_SETS["mnist"], archives=archives)
    monkeypatch.setattr(registry, "DATA_SETS", {"mnist": entry})
    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", str(tmp_path / "root"))
    return files, tmp_path / "root"


def test_each_file_is_downloaded_as_it_is(tiny, monkeypatch, capsys):
    (files, root), partial = tiny, []

    def fetch(url, file, most_bytes):
        partial.append(Path(file.name).name)
        file.write(files[url.rpartition("/")[2]])
        file.flush()

    monkeypatch.setattr(download, "fetch", fetch)
    assert setup.main(["mnist"]) == 0
    assert {path.name: path.read_bytes() for path in (root / "mnist").iterdir()} == files
    assert [path.name for path in root.iterdir()] == ["mnist"]
    assert {*partial} == {f"mnist-{name}.part" for name in files}  # Fashion-MNIST's files have the same names
    said = capsys.readouterr().out
    assert "train-images-idx3-ubyte.gz copied from " in said
    assert "unpacked" not in said


@pytest.mark.parametrize("place", [".", "mnist", "data/mnist"])
def test_files_are_taken_from_a_folder(tiny, tmp_path, capsys, place):
    files, root = tiny
    folder = tmp_path / "mine" / place
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    assert setup.main(["mnist", "--from", str(tmp_path / "mine")]) == 0
    assert {path.name for path in (root / "mnist").iterdir()} == files.keys()
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"another")
    (root / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    assert setup.main(["mnist", "--from", str(tmp_path / "mine")]) == 2
    assert "t10k-labels-idx1-ubyte.gz: expected MD5" in capsys.readouterr().err
    assert not (root / "mnist" / "t10k-labels-idx1-ubyte.gz").exists()


def test_they_are_set_up_by_name_alone():
    assert not {*NAMES} & setup.downloaded_sets().keys()
