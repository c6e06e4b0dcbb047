"""The user's own images: which files make a set, in which order, what is refused, and a run on them."""

import builtins
import re
import shutil

import numpy as np
import pytest
from commands import run_tool
from pictures import pixels, save, save_set
from PIL import Image

from neural_similarity import data, predict
from neural_similarity.data import image_files
from neural_similarity.data.folder import list_folder, load_folder
from neural_similarity.data.image_files import read_image
from neural_similarity.data.images import DataMissing
from neural_similarity.errors import UserError
from neural_similarity.families import load_run, main
from neural_similarity.training import runs

CLASSES = ("bird", "cat", "dog")


@pytest.fixture
def root(tmp_path):
    return save_set(tmp_path / "set")


def names(part, root):
    return [path.relative_to(root).as_posix() for path in part.images]


# Reading


def test_images_come_in_the_order_of_their_names(root):
    splits = list_folder(root)
    assert splits.classes == CLASSES
    assert splits.validation is None
    assert names(splits.test, root) == [f"test/{name}/{i}.png" for name in CLASSES for i in range(4)]
    assert splits.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert splits.train.labels.dtype == np.int32


def test_the_order_is_not_the_file_systems(root, list_backwards):
    expected = names(list_folder(root).train, root)
    list_backwards()
    assert names(list_folder(root).train, root) == expected


def test_loaded_images_are_the_listed_files(root):
    save_set(root, splits=("val",), images=2, size=20)
    splits, files = load_folder(root, 16), list_folder(root)
    assert splits.classes == CLASSES
    for part, listed in [(splits.train, files.train), (splits.validation, files.validation), (splits.test, files.test)]:
        assert (part.images.dtype, part.labels.dtype) == (np.uint8, np.int32)
        np.testing.assert_array_equal(part.images, [read_image(path, 16) for path in listed.images])
        np.testing.assert_array_equal(part.labels, listed.labels)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (12, 6, 12)


def test_what_a_file_may_be(root):
    """Every ending in both cases; grey, alpha, 16 bits, a turned photo and other shapes, each as predict reads it."""
    folder = root / "train" / "ant"
    shutil.copytree(root / "test" / "cat", root / "test" / "ant")
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned by 90° clockwise
    save(folder / "a.PNG", pixels()[..., 0])
    save(folder / "b.png", pixels(channels=4))
    save(folder / "c.JPG", pixels(50, 40), exif=exif)
    save(folder / "d.jpeg", pixels(9, 70))
    save(folder / "e.JPEG", pixels())
    save(folder / "f.png", pixels()[..., 0].astype(np.uint16) * 257)
    save(folder / "g.jpg", pixels()[..., 0])
    splits = data.load("folder", root, image_size=32)
    ants = splits.train.images[splits.train.labels == 0]
    assert splits.classes == ("ant", *CLASSES)
    np.testing.assert_array_equal(ants, [read_image(path, 32) for path in sorted(folder.iterdir())])
    np.testing.assert_array_equal(ants[1], pixels(channels=4)[..., :3])
    grey = np.repeat(pixels()[..., :1], 3, -1)
    np.testing.assert_array_equal(ants[0], grey)
    np.testing.assert_array_equal(ants[5], grey)


def test_what_is_no_image_is_passed_over(root):
    expected = names(list_folder(root).train, root)
    (root / ".cache").mkdir()
    (root / "notes").mkdir()
    (root / "train" / ".ipynb_checkpoints").mkdir()
    (root / "train" / "cat" / ".thumbnails").mkdir()
    for file in ("README.txt", "train/labels.csv", "train/cat/Thumbs.db", "train/cat/._0.png", "train/cat/notes"):
        (root / file).write_text("no image")
    assert names(list_folder(root).train, root) == expected


def test_a_validation_folder_or_a_fraction_but_not_both(root):
    whole = names(list_folder(root).train, root)
    splits = list_folder(root, validation_fraction=0.25, seed=1)
    assert sorted(names(splits.train, root) + names(splits.validation, root)) == whole
    assert splits.validation.labels.tolist() == [0, 1, 2]
    assert names(list_folder(root, 0.25, seed=2).validation, root) != names(splits.validation, root)
    loaded = load_folder(root, 8, validation_fraction=0.25, seed=1)
    np.testing.assert_array_equal(loaded.validation.images, [read_image(path, 8) for path in splits.validation.images])
    save_set(root, splits=("val",), images=2)
    splits = list_folder(root)
    assert names(splits.validation, root) == [f"val/{name}/{i}.png" for name in CLASSES for i in range(2)]
    assert names(splits.train, root) == whole
    with pytest.raises(UserError) as error:
        list_folder(root, validation_fraction=0.25)
    assert str(error.value) == (
        f"{root}/val is the validation set, so nothing can be held out from `train`; expected "
        "`data.validation_fraction` 0, got 0.25. Next: --set data.validation_fraction=0"
    )


def test_classes_and_counts_without_reading_an_image(root, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("read")

    monkeypatch.setattr(Image, "open", refuse)
    monkeypatch.setattr(builtins, "open", refuse)
    assert data.class_names("folder", root) == CLASSES
    assert data.count_images("folder", root) == {"train": 12, "test": 12}
    assert data.count_images("folder", root, 0.25, 0) == {"train": 9, "validation": 3, "test": 12}


# Refusals


def write(path, content=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


TREE = "expected {root}/{{train,test}}/CLASS/*.{{png,jpg}}"
LOOK = "Next: make them the same, then look with --dry-run"
MAKE = "Next: make them, and put images there"
REPLACE = "Next: replace it or leave it out"
# What is done to the folder → how the message begins (its path), which words it has, and how it ends (its hint).
MISTAKES = {
    "no root": (lambda r: shutil.rmtree(r), "folder: ", ["no folder {root}", TREE], "Next: --set data.root=DIR"),
    "another folder": (
        lambda r: [(r / split).rename(r / f"{split}-set") for split in ("train", "test")],
        "folder: {root} ",
        ["`train`", "`test`", "`test-set`, `train-set`", TREE],
        "Next: --set data.root=DIR",
    ),
    "an empty root": (
        lambda r: [shutil.rmtree(r / split) for split in ("train", "test")],
        "folder: {root} ",
        ["`train`", "`test`", "no folder", TREE],
        "Next: --set data.root=DIR",
    ),
    "no train": (
        lambda r: shutil.rmtree(r / "train"),
        "{root}: ",
        ["`train`", TREE],
        "Next: mkdir {root}/train, and fill it",
    ),
    "no test": (
        lambda r: shutil.rmtree(r / "test"),
        "{root}: ",
        ["`test`", TREE],
        "Next: mkdir {root}/test, and fill it",
    ),
    "a split without classes": (
        lambda r: [shutil.rmtree(r / "test" / name) for name in CLASSES],
        "{root}/test: ",
        ["no class", "{root}/test/CLASS/*.{{png,jpg}}"],
        MAKE,
    ),
    "nothing to train on": (
        lambda r: [shutil.rmtree(r / "train" / name) for name in CLASSES],
        "{root}/train: ",
        ["no class", "{root}/train/CLASS/*.{{png,jpg}}"],
        MAKE,
    ),
    "a split of another name": (
        lambda r: (r / "validation").mkdir(),
        "{root}/validation: ",
        ["`val`"],
        "Next: mv {root}/validation {root}/val",
    ),
    "a name that cannot be printed": (
        lambda r: [(r / split / "caf\udce9").mkdir() for split in ("train", "test")],
        "'{root}/train/caf\\udce9': ",
        ["expected printable UTF-8"],
        "Next: rename every folder of this name",
    ),
    "a val without classes": (
        lambda r: (r / "val").mkdir(),
        "{root}/val: ",
        ["no class", "{root}/val/CLASS/*.{{png,jpg}}"],
        MAKE,
    ),
    "one class": (
        lambda r: [shutil.rmtree(r / split / name) for split in ("train", "test") for name in CLASSES[1:]],
        "{root}/train: ",
        ["one class, `bird`", "two or more"],
        "Next: a folder for another class beside {root}/train/bird",
    ),
    "an empty class": (
        lambda r: [path.unlink() for path in (r / "train" / "cat").iterdir()],
        "{root}/train/cat: ",
        ["no image", ".png, .jpg, .jpeg", "found 0 others"],
        "Next: put images there, or remove this class from every split",
    ),
    "a class of other files": (
        lambda r: [(path.write_text("text"), path.rename(f"{path}.txt")) for path in (r / "test" / "cat").iterdir()],
        "{root}/test/cat: ",
        ["no image", ".png, .jpg, .jpeg", "found 4 others"],
        "Next: put images there, or remove this class from every split",
    ),
    "a class missing": (
        lambda r: shutil.rmtree(r / "test" / "cat"),
        "{root}/test: ",
        ["lacks `cat`", "the classes of {root}/train"],
        LOOK,
    ),
    "a class extra": (
        lambda r: write(r / "test" / "ant" / "0.png"),
        "{root}/test: ",
        ["has `ant`, which `train` lacks", "the classes of {root}/train"],
        LOOK,
    ),
    "other classes in val": (
        lambda r: [write(r / "val" / name / "0.png") for name in ("bird", "Cat", "dog")],
        "{root}/val: ",
        ["lacks `cat`", "has `Cat`, which `train` lacks"],
        LOOK,
    ),
    "many classes missing": (
        lambda r: [write(r / "train" / f"{i}" / "0.png") for i in range(10, 1010)],
        "{root}/test: ",
        ["lacks `10`, `100`, `1000`, `1001`, `1002` and 995 more"],
        LOOK,
    ),
    "an image without a class": (
        lambda r: write(r / "test" / "a.JPG"),
        "{root}/test/a.JPG: ",
        ["expected {root}/test/CLASS/a.JPG"],
        "Next: move all images there into the folder of their class",
    ),
    "a folder in a class": (
        lambda r: (r / "train" / "cat" / "more").mkdir(),
        "{root}/train/cat/more: ",
        ["a folder in a class's folder"],
        "Next: move its images up to {root}/train/cat, or away",
    ),
    "an image of another kind": (
        lambda r: write(r / "train" / "cat" / "a.WebP"),
        "{root}/train/cat/a.WebP: ",
        [".png, .jpg, .jpeg"],
        "Next: rename PNG and JPEG files, convert others to PNG, or move them away",
    ),
    "a truncated PNG": (
        lambda r: cut(r / "test" / "dog" / "2.png"),
        "{root}/test/dog/2.png: ",
        ["cannot be read as an image (image file is truncated"],
        REPLACE,
    ),
    "a truncated JPEG": (
        lambda r: cut(save(r / "train" / "dog" / "2.jpg", pixels())),
        "{root}/train/dog/2.jpg: ",
        ["cannot be read as an image ("],
        REPLACE,
    ),
    "no image in the file": (
        lambda r: write(r / "train" / "dog" / "a.png", b"text"),
        "{root}/train/dog/a.png: ",
        ["cannot be read as an image ("],
        REPLACE,
    ),
}
MISSING = ("no root", "another folder", "an empty root")


@pytest.mark.parametrize("kind", MISTAKES)
def test_mistakes_end_in_one_message(kind, root):
    make, begin, words, end = MISTAKES[kind]
    make(root)
    with pytest.raises(UserError) as error:
        data.load("folder", root, image_size=8)
    message = str(error.value)
    assert message.startswith(begin.format(root=root))
    assert [word for word in words if word.format(root=root) not in message] == [], message
    assert message.endswith(end.format(root=root))
    assert "\n" not in message
    assert isinstance(error.value, DataMissing) == (kind in MISSING)


def test_two_messages_as_a_whole(root):
    write(root / "test" / "ant" / "0.png")
    with pytest.raises(UserError) as error:
        list_folder(root)
    assert str(error.value) == (
        f"{root}/test: has `ant`, which `train` lacks; expected the classes of {root}/train. "
        "Next: make them the same, then look with --dry-run"
    )
    shutil.rmtree(root)
    with pytest.raises(DataMissing) as error:
        list_folder(root)
    assert str(error.value) == (
        f"folder: there is no folder {root}; expected {root}/{{train,test}}/CLASS/*.{{png,jpg}}. "
        "Next: --set data.root=DIR"
    )


def test_a_command_in_a_message_can_be_pasted(tmp_path):
    root = save_set(tmp_path / "my images", splits=("train",))
    with pytest.raises(UserError, match=re.escape(f"Next: mkdir '{root}/test', and fill it")):
        load_folder(root, 8)


# A run


def run_main(*arguments, config="configs/cifar10/static_dns.yaml"):
    with pytest.raises(SystemExit) as stop:
        main(config, [str(argument) for argument in arguments])
    return stop.value.code


def settings(root, *more):
    """Arguments that turn static DNS to the folder, small; there are fewer images than a batch holds."""
    words = ["data.name=folder", f"data.root={root}", "data.image_size=16", "data.global_batch_size=20"]
    words += ["model.widths=[2, 3, 4]", "schedule.train_steps=4", "schedule.warmup_steps=1", *more]
    return [part for word in words for part in ("--set", word)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(root, run folder) of four finished steps on a set with three classes."""
    folder = tmp_path_factory.mktemp("folder")
    save_set(folder / "set", size=20)
    save_set(folder / "set", splits=("val",), images=2)
    assert run_main(*settings(folder / "set"), "--run-dir", folder / "run") == 0
    return folder / "set", folder / "run"


def test_a_run_keeps_its_classes_and_size(finished):
    _, folder = finished
    run = runs.Run(folder)
    assert run.facts["classes"] == list(CLASSES)
    assert run.config.data.image_size == 16
    assert run.result.data == "folder"
    assert run.result.selected.step in range(1, 5)
    assert load_run(folder).input_shape == (None, 16, 16, 3)


def test_predict_names_the_folders_classes(finished, capsys):
    root, folder = finished
    assert run_tool("predict", folder, root / "test" / "dog" / "1.png") == 0
    found = re.findall(r"(\w+) \d+\.\d %", capsys.readouterr().out)
    assert sorted(found) == list(CLASSES)
    image = load_folder(root, 16).test.images[9]  # of the dogs the second
    logits = load_run(folder)(image[None].astype(np.float32), training=False)
    likelihoods = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(predict.predict(folder, [root / "test" / "dog" / "1.png"]), likelihoods, rtol=1e-4)


def test_eval_only(finished, capsys):
    root, folder = finished
    assert run_main(*settings(root), "--run-dir", folder, "--eval-only") == 0
    out = capsys.readouterr().out
    accuracy = 100 * runs.Run(folder).result.scores["test/accuracy"].value
    assert f"step 4   test accuracy: {accuracy:.2f} %" in out
    assert "step 4   validation accuracy: " in out


@pytest.mark.parametrize("switch", ["--eval-only", "--resume"])
def test_other_classes_do_not_enter_a_run(switch, finished, tmp_path, capsys):
    root, folder = finished
    moved, copy = tmp_path / "set", tmp_path / "run"
    shutil.copytree(folder, copy)
    shutil.copytree(root, moved)
    (copy / "result.json").unlink()
    for split in ("train", "val", "test"):
        (moved / split / "cat").rename(moved / split / "horse")
    assert run_main(*settings(moved), "--run-dir", copy, switch) == 2
    said = capsys.readouterr().err
    assert "it had 3, now there are 3; gone: cat; new: horse. Put the data back, or train anew" in said


def test_a_run_finds_its_images_elsewhere_and_no_others(finished, tmp_path, capsys):
    root, folder = finished
    moved, copy = tmp_path / "set", tmp_path / "run"
    shutil.copytree(folder, copy)
    shutil.copytree(root, moved)
    assert run_main(*settings(moved), "--run-dir", copy, "--eval-only") == 0
    (copy / "result.json").unlink()
    assert run_main(*settings(moved), "--run-dir", copy, "--resume") == 0
    (copy / "result.json").unlink()
    save(moved / "train" / "cat" / "0.png", pixels(16, 16, seed=99))
    capsys.readouterr()
    assert run_main(*settings(moved), "--run-dir", copy, "--resume") == 2
    assert re.search(
        r"not those that this run began with \(data checksum is now \w{8}, was \w{8}\)\. Put them back",
        capsys.readouterr().err,
    )


def test_dry_run_counts_and_reads_nothing(root, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(image_files, "read_images", None)
    arguments = settings(root, "data.validation_fraction=0.25")
    assert run_main(*arguments, "--run-dir", tmp_path / "run", "--dry-run") == 0
    out = capsys.readouterr().out
    plain = [3 * 2, 2 * 2, 2 * 2, 2 * 2, 2 * 3, 3 * 3, 3 * 3, 3 * 4, 4 * 4, 4 * 4]  # in · out of the convolutions
    norms = 2 * (4 * 2 + 3 * 3 + 3 * 4)
    assert f"parameters: {9 * sum(plain) + norms + 9 * 9 + 2 * 2 * 4 * 3:,}" in out
    assert "classes: 3 (bird, cat, dog)" in out
    assert "data: 9 train, 3 validation, 12 test" in out
    assert "image_size: 16" in out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", MISSING)
def test_dry_run_without_data(kind, root, tmp_path, capsys):
    make, begin, _, end = MISTAKES[kind]
    make(root)
    assert run_main(*settings(root), "--run-dir", tmp_path / "run", "--dry-run") == 0
    output = capsys.readouterr()
    assert "parameters: unknown until the data are there\n" in output.out
    (missing,) = (line for line in output.out.splitlines() if line.startswith("data: missing"))
    assert missing.startswith("data: missing. " + begin.format(root=root))
    assert missing.endswith(end.format(root=root))
    assert output.err == ""


@pytest.mark.parametrize("switch", [[], ["--dry-run"]])
def test_a_mistake_ends_a_run_before_it_begins(switch, root, tmp_path, capsys):
    shutil.rmtree(root / "test" / "cat")
    assert run_main(*settings(root), "--run-dir", tmp_path / "run", *switch) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"{root}/test: lacks `cat`; ")
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()
