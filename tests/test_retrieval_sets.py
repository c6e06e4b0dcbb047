"""The sets of metric learning: which classes and images a split has, how they are read, what is refused."""

import dataclasses
import itertools
import shutil
import zlib

import numpy as np
import pytest
import tiny_retrieval as tiny
from pictures import pixels, save, save_set
from PIL import Image

from neural_similarity.data import images, registry
from neural_similarity.data.digits import load_digits
from neural_similarity.data.image_files import resized_centre
from neural_similarity.data.images import DataMissing
from neural_similarity.data.retrieval_sets import RETRIEVAL_SETS, count_retrieval_set, load_retrieval_set
from neural_similarity.data.retrieval_splits import hold_out_classes
from neural_similarity.errors import UserError

ORIENTATION = 0x0112  # EXIF tag
OF_FILES = ("cub200", "cars196", "sop")


@pytest.fixture(autouse=True)
def root(monkeypatch, tmp_path):
    """All three sets of files in one folder."""
    root = tmp_path / "root"
    tiny.use_tiny(monkeypatch, root)
    tiny.write_birds(root)
    tiny.write_classes(root / "cars196" / "images", tiny.CARS)
    tiny.write_products(root / "Stanford_Online_Products")
    return root


def sizes(splits):
    return {split: (len(part.classes), len(part)) for split, part in splits.parts().items()}


# Which classes and images


@pytest.mark.parametrize("name", OF_FILES)
def test_labels_names_and_counts(root, name):
    splits = load_retrieval_set(name, root, 16)
    assert sizes(splits) == count_retrieval_set(name, root) == {"train": (2, 5), "test": (2, 7)}
    assert splits.validation is None
    folder = root / registry.DATA_SETS[name].folder
    for part in splits.parts().values():
        assert part.labels.dtype == np.int32
        assert part.labels.tolist() == sorted(part.labels)
        assert set(part.labels) == {0, 1}
        assert [len(rows) for rows in part.rows] == np.bincount(part.labels).tolist()
        assert all(np.all(part.labels[rows] == label) for label, rows in enumerate(part.rows))
        assert tuple(folder / name_of for name_of in part.names) == part.images.paths
        if name != "sop":
            assert [name_of.split("/")[1] for name_of in part.names] == [part.classes[label] for label in part.labels]


def test_birds_are_sorted_by_number_and_cars_by_name(root):
    (root / "CUB_200_2011" / "images" / tiny.BIRDS[0]).rename(root / "CUB_200_2011" / "images" / "9.Albatross")
    assert load_retrieval_set("cub200", root, 16).train.classes == ("002.Auklet", "9.Albatross")
    assert load_retrieval_set("cars196", root, 16).test.classes == ("Dodge Ram C-V", "smart fortwo")


def test_the_order_is_not_the_file_systems(root, list_backwards):
    expected = [load_retrieval_set(name, root, 16).facts() for name in OF_FILES]
    list_backwards()
    assert [load_retrieval_set(name, root, 16).facts() for name in OF_FILES] == expected


def test_digits_of_unseen_classes():
    splits = load_retrieval_set("digits_unseen", "")
    assert [part.classes for part in splits.parts().values()] == [tuple("01234"), tuple("56789")]
    assert sizes(splits) == count_retrieval_set("digits_unseen", "") == {"train": (5, 901), "test": (5, 896)}
    assert splits.train.images.shape == (901, 32, 32, 3)
    digits = load_digits()
    whole = np.concatenate([digits.train.images, digits.test.images])
    for part in splits.parts().values():
        chosen = np.array([7, 0, len(part) - 1])
        numbers = [int(part.names[i]) for i in chosen]
        np.testing.assert_array_equal(part.read(chosen), whole[numbers])
        labels = np.concatenate([digits.train.labels, digits.test.labels])[numbers]
        assert [part.classes[part.labels[i]] for i in chosen] == [str(label) for label in labels]


def test_cifar_of_unseen_classes(monkeypatch, root):
    """Three images of each class for training, two for testing; all five are in the split of their class."""
    names = registry.DATA_SETS["cifar100"].classes

    def fake(name, root):
        assert name == "cifar100"
        parts = []
        for count, first in ((3, 0), (2, 3)):
            labels = np.tile(np.arange(100, dtype=np.int32), count)
            numbers = np.repeat(np.arange(first, first + count), 100)
            pixels = np.stack([labels, numbers, 0 * labels], 1).astype(np.uint8)
            parts.append(images.ImageSet(pixels[:, None, None].repeat(32, 1).repeat(32, 2), labels))
        return images.Splits(parts[0], None, parts[1], names)

    monkeypatch.setattr("neural_similarity.data.cifar.load_cifar", fake)
    splits = load_retrieval_set("cifar100_unseen", root, validation_fraction=0.2)
    assert sizes(splits) == {"train": (40, 200), "validation": (10, 50), "test": (50, 250)}
    assert splits.test.classes == names[50:]
    assert set(splits.train.classes + splits.validation.classes) == set(names[:50])
    for part in splits.parts().values():
        content = part.read(np.arange(len(part)))[:, 0, 0]
        assert [names[label] for label in content[:, 0]] == [part.classes[label] for label in part.labels]
        assert content[:, 1].reshape(-1, 5).tolist() == [[0, 1, 2, 3, 4]] * len(part.classes)
    assert splits.facts() == load_retrieval_set("cifar100_unseen", root, validation_fraction=0.2).facts()
    monkeypatch.setattr("neural_similarity.data.retrieval_sets.check_files_exist", lambda name, root: None)
    counts = {"train": (40, 24_000), "validation": (10, 6_000), "test": (50, 30_000)}
    assert count_retrieval_set("cifar100_unseen", root, 0.2) == counts


def test_own_images_by_a_list(tmp_path):
    root = save_set(tmp_path, ("ant", "bee", "cat", "dog", "eel"), ("mine",), images=2) / "mine"
    lists = tmp_path / "lists.yaml"
    lists.write_text("{train: [dog, ant], validation: [bee], test: [cat, eel]}")
    shutil.rmtree(root / "eel")
    (root / "eel").mkdir()
    save(root / "eel" / "only.png", pixels())  # a test class with one image is legal
    splits = load_retrieval_set("folder", root, 8, class_splits=lists)
    assert sizes(splits) == count_retrieval_set("folder", root, class_splits=lists)
    assert sizes(splits) == {"train": (2, 4), "validation": (1, 2), "test": (2, 3)}
    assert splits.train.names == ("ant/0.png", "ant/1.png", "dog/0.png", "dog/1.png")
    assert splits.origin is None
    with pytest.raises(UserError, match=r"expected `data.validation_fraction` 0, got 0.5. Next: --set"):
        load_retrieval_set("folder", root, 8, 0.5, lists)


# Validation


def test_validation_classes_are_always_the_same_ones():
    classes = [f"c{i:03}" for i in range(100)]
    kept, held_out = hold_out_classes(classes, 0.2)
    assert (len(kept), len(held_out)) == (80, 20)
    assert sorted(kept + held_out) == classes
    assert (kept, held_out) == (sorted(kept), sorted(held_out))
    assert held_out[:5] == ["c001", "c007", "c013", "c015", "c020"]  # on every machine
    assert set(hold_out_classes(classes[::-1], 0.2)[1]) == set(held_out)
    assert set(hold_out_classes(classes, 0.1)[1]) < set(held_out)
    assert hold_out_classes(classes, 0) == (classes, [])
    assert len(hold_out_classes(classes, 1e-9)[1]) == 1


def test_validation_is_taken_from_the_training_classes(monkeypatch, root):
    changes = {"counts": {"train": 8, "test": 4}, "class_counts": {"train": 3, "test": 1}}
    monkeypatch.setitem(registry.DATA_SETS, "cub200", dataclasses.replace(registry.DATA_SETS["cub200"], **changes))
    whole, splits = (load_retrieval_set("cub200", root, 16, fraction) for fraction in (0, 0.3))
    assert sizes(splits) == count_retrieval_set("cub200", root, 0.3)
    assert len(splits.validation.classes) == 1
    assert set(splits.train.classes) | set(splits.validation.classes) == set(whole.train.classes)
    assert set(splits.train.names) | set(splits.validation.names) == set(whole.train.names)
    assert splits.test.names == whole.test.names
    assert set(splits.train.labels) == {0, 1}
    assert set(splits.validation.labels) == {0}


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan")])
def test_fractions_that_are_none_are_refused(fraction):
    with pytest.raises(UserError, match=r"must be at least 0 and less than 1, got .* Next: --set data"):
        hold_out_classes(["a", "b", "c"], fraction)


def test_two_classes_are_left_to_train_on(root):
    with pytest.raises(UserError, match=r"= 0.5 leaves 1 of 2 training classes to train on; .* Next: --set data.*=0"):
        load_retrieval_set("cub200", root, 16, 0.5)


# What a run must find again


def test_facts_change_with_names_labels_sizes_and_splits_and_nothing_is_read(monkeypatch, root, tmp_path):
    monkeypatch.setattr(Image, "open", None)

    def facts(**settings):
        return load_retrieval_set("cub200", root, 16, **settings).facts()

    began = facts()
    assert list(began) == ["train_classes", "test_classes", "data_checksum"]
    lines = {}
    for split in ("train", "test"):
        part = getattr(load_retrieval_set("cub200", root, 16), split)
        lines[split] = "".join(f"{n}\t{p.stat().st_size}\n" for n, p in zip(part.names, part.images.paths, strict=True))
    crc = 0
    for split, labels in (("train", [0, 0, 1, 1, 1]), ("test", [0] * 3 + [1] * 4)):
        crc = zlib.crc32(np.array(labels, np.int32), zlib.crc32(lines[split].encode(), crc))
    assert began["data_checksum"] == f"{crc:08x}"
    (root / "CUB_200_2011").rename(tmp_path / "CUB_200_2011")  # elsewhere it is the same set
    assert load_retrieval_set("cub200", tmp_path, 16).facts() == began
    (tmp_path / "CUB_200_2011").rename(root / "CUB_200_2011")
    image = root / "CUB_200_2011" / "images" / tiny.BIRDS[3] / "Gull_0.jpg"
    content = image.read_bytes()
    image.write_bytes(content + b"\0")
    assert facts()["data_checksum"] != began["data_checksum"]
    image.write_bytes(content)
    assert facts() == began
    image.rename(image.with_name("Gull_9.jpg"))
    assert facts()["data_checksum"] != began["data_checksum"]


# Pixels


def test_the_form_for_evaluation_is_resized_and_cropped(tmp_path):
    """Slowly: the whole image is scaled, and then cropped."""
    for (width, height), size in itertools.product([(60, 40), (40, 60), (33, 33), (400, 31), (7, 9)], [14, 16, 21]):
        path = save(tmp_path / "x.png", pixels(height, width))
        short = round(size * 256 / 224)
        scaled = [max(int(short * side / min(width, height)), short) for side in (width, height)]
        whole = Image.open(path).resize(scaled, Image.Resampling.BILINEAR)
        left, top = (round((side - size) / 2) for side in scaled)
        expected = np.asarray(whole.crop((left, top, left + size, top + size))).astype(int)
        found = np.asarray(resized_centre(Image.open(path), size)).astype(int)
        assert found.shape == (size, size, 3)
        assert np.abs(found - expected).max() <= 1


def test_at_224_pixels_the_short_side_is_256():
    image = Image.fromarray(pixels(256, 300))
    np.testing.assert_array_equal(np.asarray(resized_centre(image, 224)), pixels(256, 300)[16:240, 38:262])


def test_a_strip_takes_no_memory():
    assert resized_centre(Image.new("RGB", (65_535, 1), (1, 2, 3)), 224).getpixel((223, 223)) == (1, 2, 3)


def test_images_are_read_as_chosen_grey_and_turned_ones_too(root):
    folder = root / "CUB_200_2011" / "images" / tiny.BIRDS[0]
    grey, turned = folder / "Albatross_0.jpg", folder / "Albatross_1.jpg"
    save(grey, pixels(40, 50)[..., 0])
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # to be turned by 90° clockwise
    photo = np.kron(pixels(10, 15), np.ones((4, 4, 1), np.uint8))
    save(turned, photo, quality=95, exif=exif)
    part = load_retrieval_set("cub200", root, 28).train
    read = part.read(np.array([1, 0, 4, 1]))
    assert (read.shape, read.dtype) == ((4, 28, 28, 3), np.uint8)
    assert np.ptp(read[1].astype(int), axis=-1).max() == 0
    np.testing.assert_array_equal(read[0], read[3])
    upright = np.asarray(resized_centre(Image.fromarray(np.rot90(photo, k=-1)), 28)).astype(int)
    assert np.abs(read[0] - upright).mean() < 12  # JPEG
    expected = resized_centre(Image.open(part.images.paths[4]).convert("RGB"), 28)
    np.testing.assert_array_equal(read[2], np.asarray(expected))


# Refusals


@pytest.mark.parametrize("name", RETRIEVAL_SETS)
def test_what_is_not_there_is_missing(tmp_path, name):
    if name == "digits_unseen":
        return
    for function in (load_retrieval_set, count_retrieval_set):
        with pytest.raises(DataMissing) as error:
            function(name, tmp_path / "none", **({"class_splits": (0.5, 0, 0.5)} if name == "folder" else {}))
        commands = {"cub200": "cub200 --root", "cifar100_unseen": "cifar100 --root", "folder": "--set data.root=DIR"}
        assert commands.get(name, f"{name} --from DIR --root") in str(error.value)
        assert " Next" in str(error.value)


def remove(path):
    return lambda root: (root / path).unlink()


SET_MISTAKES = {
    "fewer images": ("cub200", remove("CUB_200_2011/images/011.Gull/Gull_0.jpg"), "the split `test` has 2 classes wi"),
    "a class less": ("cub200", lambda r: shutil.rmtree(r / "CUB_200_2011/images/011.Gull"), "has 1 classes with 3 ima"),
    "a class more": ("cars196", lambda r: save_set(r / "cars196/images", (".",), ("Z",), 1), "has 3 classes with 8 im"),
    "no list entry": ("sop", remove("Stanford_Online_Products/chair_final/1001_2.JPG"), "line 6: names chair_final/1"),
    "no class": ("cars196", lambda r: [shutil.rmtree(p) for p in (r / "cars196/images").iterdir()], "images: no class"),
}


@pytest.mark.parametrize("kind", SET_MISTAKES)
def test_mistakes_in_a_set_end_in_one_message(root, kind):
    name, damage, said = SET_MISTAKES[kind]
    damage(root)
    for function in (load_retrieval_set, count_retrieval_set):
        with pytest.raises(UserError) as error:
            function(name, root)
        assert said in str(error.value)
        assert " Next: " in str(error.value)
        assert not isinstance(error.value, DataMissing)


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        (
            "{train: [one, two, bee], test: [ant]}",
            "the class `one` of the split `train` has one image, and 1 more trai",
        ),
        (
            "{train: [one, bee], test: [ant]}",
            "the class `one` of the split `train` has one image; expected two or more",
        ),
        (
            "{train: [ant], test: [bee]}",
            "the split `train` has 1 class, which leaves nothing to tell apart. Next: more",
        ),
        ("{train: [ant, bee], test: [one, two]}", "no class of the split `test` has two images; expected one at least"),
    ],
)
def test_classes_that_are_too_small_are_refused_at_load(tmp_path, lists, said):
    root = save_set(tmp_path, ("ant", "bee"), ("mine",), images=2) / "mine"
    save_set(tmp_path, ("one", "two"), ("mine",), images=1)
    (root / "lists.yaml").write_text(lists)
    for function in (load_retrieval_set, count_retrieval_set):
        with pytest.raises(UserError, match=said):
            function("folder", root, class_splits="lists.yaml")


def test_a_damaged_image_is_named_when_it_is_read(root):
    part = load_retrieval_set("cub200", root, 16).train
    part.images.paths[3].write_bytes(part.images.paths[3].read_bytes()[:-200])
    part.read(np.array([0, 1, 2, 4]))
    with pytest.raises(UserError, match=r"002\.Auklet/Auklet_1\.jpg: cannot be read as an image \(.*truncated"):
        part.read(np.arange(5))
