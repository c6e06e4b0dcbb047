"""The user's own images: what is not read is refused by name, or told in a line. And what did not change."""

import shutil

import pytest
from pictures import pixels, save, save_set

from neural_similarity import data
from neural_similarity.errors import UserError

PNG, TEXT = "png", b"BMW and II*, said in a text"


@pytest.fixture
def root(tmp_path):
    return save_set(tmp_path / "set", classes=("cat", "dog"), images=2)


@pytest.fixture
def told(root, logged):
    """The lines that are logged when the set is listed; the folder's path is cut off."""

    def listen():
        logged.clear()
        assert data.count_images("folder", root) == {"train": 4, "test": 4}
        assert all(message.startswith(f"{root}: ") for message in logged.messages)
        return [message.removeprefix(f"{root}: ") for message in logged.messages]

    return listen


def put(path, content=PNG):
    path.parent.mkdir(parents=True, exist_ok=True)
    if content == PNG:
        save(path, pixels(8, 8), format="PNG")
    else:
        path.write_bytes(content)


def test_the_facts_of_a_good_folder_stay(root):
    """Runs keep them. The checksum is of an earlier version."""
    assert data.load("folder", root, image_size=8).facts() == {"classes": ["cat", "dog"], "data_checksum": "b22ddef3"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((name, PNG) for name in ("0", "0.jpg_large", "0.jpg?w=300", "0.CR2", "0.png.crdownload", "0.bak", "0.JPG~")),
        *((f"0{ending}", b"") for ending in (".CR2", ".TIFF", ".jfif", ".dng", ".svg", ".jxl")),
        ("jpeg", b"\xff\xd8\xff\xe1" + bytes(20)),
        ("gif", b"GIF89a" + bytes(20)),
        ("webp", b"RIFF\n\n\n\nWEBPVP8 "),  # 10 is a length here, not an end of line
        ("bmp", b"BM\x0a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0" + bytes(20)),
        ("tiff", b"II*\0" + bytes(20)),
        ("avif", b"\0\0\0\x1cftypavif" + bytes(20)),
        ("heic", b"\0\0\0\x24ftypheic" + bytes(20)),
    ],
)
@pytest.mark.parametrize("place", ["train/cat", "test/dog", "test"])
def test_an_image_under_another_ending_is_refused(name, content, place, root):
    put(root / place / name, content)
    with pytest.raises(UserError) as error:
        data.count_images("folder", root)
    assert str(error.value).startswith(f"{root / place / name}: an image ")


def test_other_files_are_counted_in_one_line(root, told):
    assert told() == []
    for name in ("labels.csv", "cat/0.png.json", "cat/Thumbs.db", "cat/0.jpg.part", "cat/.hidden.jpg"):
        put(root / "train" / name, b"" if name.endswith(".part") else TEXT)
    put(root / "test" / "dog" / "film.mp4", b"\0\0\0\x18ftypmp42" + bytes(20))
    put(root / "README.txt", TEXT)
    names = "`test/dog/film.mp4`, `train/cat/0.jpg.part`, `train/cat/0.png.json`, `train/cat/Thumbs.db`, "
    assert told() == [f"left out, as they are no images: 5 ({names}`train/labels.csv`)"]
    for i in range(2000):
        put(root / "train" / "cat" / f"{i}.txt", TEXT)
    (line,) = told()
    assert line.startswith("left out, as they are no images: 2,005 (`test/dog/film.mp4`, ")
    assert line.endswith(" and 2,000 more)")
    assert "\n" not in line


def test_a_name_that_cannot_be_printed_is_told_all_the_same(root, told):
    put(root / "train" / "cat" / "caf\udce9\n.txt", TEXT)
    assert told() == ["left out, as they are no images: 1 (`'train/cat/caf\\udce9\\n.txt'`)"]


@pytest.mark.parametrize("name", ["Val", "VAL", "valid", "Validation", "validate"])
def test_a_validation_set_of_another_name_is_refused(name, root):
    shutil.copytree(root / "test", root / name)
    with pytest.raises(UserError) as error:
        data.count_images("folder", root)
    assert str(error.value) == (
        f"{root / name}: this is not the name of a split; expected `val`. Next: mv {root / name} {root / 'val'}"
    )


@pytest.mark.parametrize(("name", "split"), [("Train", "train"), ("TEST", "test"), ("training", "train")])
def test_a_split_of_another_name_can_be_renamed_as_told(name, split, root):
    (root / split).rename(root / name)
    for part in ("train", "test"):
        if (root / part).exists():
            (root / part).rename(root / part.title())  # now no split has its name
    with pytest.raises(UserError, match=r"Next: mv \S+/[Tt]\w+ \S+/(train|test)$"):
        data.count_images("folder", root)


@pytest.mark.parametrize("name", ["val2", "dev", "holdout", "Train", "raw"])
def test_a_further_folder_with_images_is_told(name, root, told):
    shutil.copytree(root / "test", root / name)
    (root / name / "nowhere").symlink_to("nowhere")
    (root / "notes").mkdir()
    put(root / "notes" / "a.txt", TEXT)
    put(root / ".cache" / "a.png")
    assert told() == [f"folders and images that are not read, as only `train`, `val` and `test` are: 1 (`{name}`)"]


def test_images_outside_of_the_splits_are_told_at_any_depth(root, told):
    put(root / "a.jpg")
    put(root / "b" / "c" / "d" / "e.HEIC", b"")
    put(root / "f" / "0")  # images without an ending
    put(root / "g")
    assert told() == [
        "folders and images that are not read, as only `train`, `val` and `test` are: 4 (`a.jpg`, `b`, `f`, `g`)"
    ]


def test_a_class_too_small_for_the_fraction_is_told(tmp_path, logged):
    root = save_set(tmp_path / "set", classes=("cat",), images=40)
    save_set(root, classes=("dog",), images=2)
    assert data.count_images("folder", root, 0.05) == {"train": 39, "validation": 3, "test": 42}
    (line,) = logged.messages
    assert line.endswith("too small for a validation image with this data.validation_fraction: 1 (`dog`)")


@pytest.mark.parametrize(("cats", "dogs"), [(2, 2), (3, 2), (60, 2)])
def test_the_advised_fraction_works(cats, dogs, tmp_path, logged):
    root = save_set(tmp_path / "set", classes=("cat",), images=cats)
    save_set(root, classes=("dog",), images=dogs)
    with pytest.raises(UserError) as error:
        data.count_images("folder", root, 0.01)
    advised = float(str(error.value).partition("Next: --set data.validation_fraction=")[2])
    assert min(data.count_images("folder", root, advised).values()) >= 2
    assert logged.messages == []


def test_where_no_fraction_works_none_is_advised(tmp_path):
    root = save_set(tmp_path / "set", classes=("cat", "dog"), images=1)
    with pytest.raises(UserError, match=r"smallest class has 1\. Next: more images, or --set .*_fraction=0$"):
        data.count_images("folder", root, 0.5)
    data.count_images("folder", root, 0)
