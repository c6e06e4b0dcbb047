"""Mini-ImageNet at a tiny size: built by dataset_setup.sh from every layout, and opened."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tiny_mini_imagenet as tiny
from PIL import Image
from tiny_sets import SETUP_FILES, read, run

from neural_similarity.data import download, mini_imagenet, mini_imagenet_setup
from neural_similarity.data.few_shot_sets import count_class_splits, load_class_splits
from neural_similarity.data.images import DataMissing
from neural_similarity.errors import UserError

NAME = "mini_imagenet"
BUILD = f"./dataset_setup.sh {NAME} --from"


@pytest.fixture(autouse=True)
def root(monkeypatch, tmp_path):
    tiny.use_tiny(monkeypatch, tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def cache(root):
    return root / "mini-imagenet"


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    return folder


@pytest.fixture
def built(capsys, source, cache):
    """The folder of a cache that was built."""
    tiny.class_folders(source)
    assert run(capsys, NAME, "--from", source)[0] == 0
    return cache


def refused(capsys, cache, *arguments):
    """What is said of a build that fails; nothing is left of it."""
    code, _, err = run(capsys, NAME, *arguments)
    assert code == 2
    assert err.startswith(f"dataset_setup.sh: {NAME}: ")
    assert read(cache) == {}
    return err


# Layouts


@pytest.mark.parametrize("layout", [tiny.class_folders, tiny.several_trees, tiny.one_folder, tiny.imagenet])
def test_every_layout_gives_the_same_cache(capsys, root, source, cache, layout):
    layout(source)
    code, out, err = run(capsys, NAME, "--from", source)
    assert (code, err) == (0, "")
    assert f"{NAME}: complete in {cache}; made from " in out
    assert ("1 classes that are not in Mini-ImageNet" in out) == any(source.rglob(tiny.EXTRA))
    assert sorted(read(cache)) == ["images.json", "images.npy"]
    splits = load_class_splits(NAME, root)
    np.testing.assert_array_equal(splits.train.images, tiny.expected())
    assert {name: part.classes for name, part in splits.parts().items()} == tiny.SPLIT
    np.testing.assert_array_equal(np.concatenate(splits.test.rows), range(9, 15))


def test_lists_beside_complete_class_folders_are_not_needed(capsys, source):
    tiny.class_folders(source)
    (source / "train.csv").write_text("nonsense")
    assert run(capsys, NAME, "--from", source)[0] == 0


def test_imagenet_without_lists_is_refused(capsys, source, cache):
    tiny.imagenet(source)
    (source / "val.csv").unlink()
    assert f"{source}: val.csv missing. Next: put train.csv" in refused(capsys, cache, "--from", source)
    for name in ("train.csv", "test.csv"):
        (source / name).unlink()
    said = refused(capsys, cache, "--from", source)
    assert "5 classes have more than 3 images, as in ImageNet itself (n00000005: 11)" in said
    assert f"Next: put train.csv, val.csv and test.csv of Ravi and Larochelle's split into {source}" in said


def test_imagenet_with_too_few_images_is_refused(capsys, source, cache):
    tiny.imagenet(source)
    for number in (7, 10):
        (source / "train" / "n00000002" / f"n00000002_{number}.JPEG").unlink()
    assert "the lists name n0000000200000010.jpg, and n00000002 has 9 images" in refused(
        capsys, cache, "--from", source
    )


def test_missing_and_short_classes_are_named(capsys, source, cache):
    tiny.class_folders(source)
    for path in (source / "n00000004").iterdir():
        path.unlink()
    (source / "n00000001" / tiny.file_name("n00000001", 5)).unlink()
    said = refused(capsys, cache, "--from", source)
    assert (
        "expected 5 classes with 3 images each. Of 2 classes another number is there: n00000001 (2), n00000004 (0)"
        in said
    )


def test_missing_images_of_the_lists_are_counted(capsys, source, cache):
    tiny.one_folder(source)
    (source / "images" / tiny.file_name("n00000003", 10)).unlink()
    assert "Of 1 classes another number is there: n00000003 (2)" in refused(capsys, cache, "--from", source)


def test_a_folder_of_something_else_is_refused(capsys, source, cache):
    tiny.write(source / "cat" / "1.jpg", tiny.image("n00000001", 1))
    assert f"no images of Mini-ImageNet found; expected {source}/CLASS/*.jpg" in refused(
        capsys, cache, "--from", source
    )


def test_one_name_in_two_folders_of_a_class_is_refused(capsys, source, cache):
    tiny.several_trees(source)
    name = tiny.file_name("n00000001", 2)
    tiny.write(source / "val" / "n00000001" / name, tiny.image("n00000001", 2))
    assert "has the same name" in refused(capsys, cache, "--from", source)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x.jpg", "line 2: 'x.jpg': expected FILE,WNID"),
        ("x.jpg,cat", "expected FILE,WNID"),
        ("../x.jpg,n00000001", "expected FILE,WNID"),
        ("x.jpg,n00000001\nx.jpg,n00000001", "line 3: 'x.jpg,n00000001': named before"),
        ("x.jpg,n00000001", "Of 2 classes another number is in the lists: n00000005 (0), n00000001 (1)"),
        ("\xff", "cannot be read as a list"),
    ],
)
def test_damaged_lists_are_refused(capsys, source, cache, line, said):
    tiny.one_folder(source)
    (source / "train.csv").write_bytes(f"filename,label\n{line}\n".encode("latin-1"))
    assert said in refused(capsys, cache, "--from", source)


# Images


def test_a_larger_image_is_scaled_as_a_whole(capsys, root, source):
    tiny.class_folders(source)
    large = tiny.image("n00000001", 5, (100, 168))
    tiny.write(source / "n00000001" / tiny.file_name("n00000001", 5), large)
    assert run(capsys, NAME, "--from", source)[0] == 0
    scaled = np.asarray(Image.fromarray(large).resize((84, 84), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(load_class_splits(NAME, root).train.images[4], scaled)


def test_an_unreadable_image_is_named(capsys, source, cache):
    tiny.class_folders(source)
    bad = source / "n00000002" / tiny.file_name("n00000002", 5)
    bad.write_bytes(bad.read_bytes()[:-300])
    said = refused(capsys, cache, "--from", source)
    assert f"{bad}: cannot be read as an image" in said
    assert said.endswith(f"Next: put a good copy there, then: {BUILD} {source}\n")


# Building


def test_an_interrupted_build_leaves_nothing(capsys, monkeypatch, root, source, cache):
    tiny.class_folders(source)
    fill, calls = mini_imagenet_setup.fill, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        fill(*arguments)

    monkeypatch.setattr(mini_imagenet_setup, "fill", interrupted)
    code, _, err = run(capsys, NAME, "--from", source)
    assert code == 130
    assert err.endswith(f"{NAME}: interrupted; nothing is kept. Next, to begin anew: {BUILD} {source}\n")
    assert read(cache) == {}
    with pytest.raises(DataMissing, match=f"Next, .*: {BUILD} DIR"):
        load_class_splits(NAME, root)


def test_a_cache_without_its_manifest_is_not_whole(capsys, root, source, built):
    """A build that was killed: the images may have their name, and more may lie beside them."""
    (built / "images.json").unlink()
    (built / "images.npy.unfinished").write_bytes(b"half")
    with pytest.raises(DataMissing, match=r"images\.json not in "):
        load_class_splits(NAME, root)
    assert run(capsys, NAME, "--from", source)[0] == 0
    assert sorted(read(built)) == ["images.json", "images.npy"]
    np.testing.assert_array_equal(load_class_splits(NAME, root).test.images, tiny.expected())


def test_a_whole_cache_is_kept_and_a_damaged_one_built_anew(capsys, source, built):
    before = read(built)
    tiny.write(source / "n00000001" / tiny.file_name("n00000001", 5), tiny.image("n00000001", 6))
    code, out, _ = run(capsys, NAME, "--from", source)
    assert code == 0
    assert f"{NAME}: complete in {built}; it was made from class folders in {source}. To build it from another" in out
    assert read(built) == before
    content = bytearray(before["images.npy"])
    content[-1] ^= 1
    (built / "images.npy").write_bytes(content)
    code, _, err = run(capsys, NAME)
    assert code == 2
    assert "images.npy: the images of n00000003 are not those that were written. Next, to build it anew" in err
    code, out, _ = run(capsys, NAME, "--from", source)
    assert code == 0
    assert "it is built anew" in out
    assert read(built)["images.npy"] != before["images.npy"]
    assert run(capsys, NAME)[0] == 0


def test_two_builds_at_once(capsys, source, cache):
    tiny.class_folders(source)
    cache.mkdir(parents=True)
    with download.alone(cache / "images.npy.unfinished"):
        code, _, err = run(capsys, NAME, "--from", source)
    assert code == 2
    assert f"another process is building it in {cache / 'images.npy.unfinished'}" in err


def test_without_images_it_says_what_to_bring(capsys, cache):
    said = refused(capsys, cache)
    assert f"{NAME}: it is not downloaded. Bring the images, in a folder DIR: those of Mini-ImageNet with its" in said
    assert said.endswith(f"Next: {BUILD} DIR\n")


def test_without_the_packages_it_says_what_to_install(source):
    """-S hides the installed packages, -E the search path: a clone in which nothing is installed."""
    command = [sys.executable, "-E", "-s", "-S", SETUP_FILES[0], NAME, "--from", source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"make install, then: ./dataset_setup.sh {NAME} --from {source}" in done.stderr


# Opening


def test_the_images_stay_in_the_file(root, built):
    images = load_class_splits(NAME, root).train.images
    assert type(images) is np.ndarray
    assert isinstance(images.base, np.memmap)
    assert not images.flags.writeable


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((14, 84, 84, 3), np.uint8), r"expected an array \(15, 84, 84, 3\) of uint8"),
        (np.zeros((15, 84, 84, 3), np.int8), "of uint8"),
        (None, "cannot be read as an array"),
    ],
)
def test_damaged_images_are_refused(root, built, array, said):
    path = built / "images.npy"
    if array is None:
        path.write_bytes(path.read_bytes()[:-1])
    else:
        np.save(path, array)
    with pytest.raises(UserError, match=f"{said}.* Next, to build it anew from a folder DIR.*: {BUILD} DIR"):
        load_class_splits(NAME, root)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": ["n00000001"]}, "says other classes"),
        ({"images_per_class": 600}, "says `images_per_class` 600; expected 3"),
        ({"image_size": 32}, "says `image_size` 32; expected 84"),
        ({"crc32": {}}, "it lacks the checksums"),
        ({"crc32": None}, "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_damaged_manifest_is_refused(root, built, changes, said):
    path = built / "images.json"
    path.write_text("[" if changes is None else json.dumps(json.loads(path.read_text()) | changes))
    for function in (load_class_splits, count_class_splits):
        with pytest.raises(UserError, match=f"images.json: .*{said}.* Next, to build it anew"):
            function(NAME, root)


def test_images_are_counted_from_the_manifest_alone(monkeypatch, root, built):
    monkeypatch.setattr(mini_imagenet, "open_images", None)
    assert count_class_splits(NAME, root) == {"train": (2, 6), "validation": (1, 3), "test": (2, 6)}
