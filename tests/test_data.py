"""The readers, against files written here byte by byte; once against the real CIFAR-10, where it lies ready."""

import dataclasses
import re
import subprocess
import sys

import numpy as np
import pytest

from neural_similarity import data
from neural_similarity.data import cifar, digits, registry
from neural_similarity.data.images import DataMissing, ImageSet, split_validation
from neural_similarity.data.places import REPOSITORY, default_root
from neural_similarity.errors import UserError


def record(*labels, red=0, green=0, blue=0):
    """One image of one colour, but for its pixel in row 2, column 5, whose red is 255."""
    pixels = np.empty((3, 32, 32), np.uint8)
    pixels[:] = np.array([red, green, blue])[:, None, None]
    pixels[0, 2, 5] = 255
    return bytes(labels) + pixels.tobytes()


def shrink(monkeypatch, name, train, test):
    """The registry says that the set has so many images."""
    small = dataclasses.replace(registry.DATA_SETS[name], counts={"train": train, "test": test})
    monkeypatch.setitem(registry.DATA_SETS, name, small)


@pytest.fixture
def cifar10_root(tmp_path, monkeypatch):
    """A CIFAR-10 of two images a file; the red of file i (the test file is 6) is 10·i, then 10·i + 1."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    shrink(monkeypatch, "cifar10", train=10, test=2)
    for i, name in enumerate([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"], start=1):
        content = record(i, red=10 * i, green=100, blue=200) + record(9, red=10 * i + 1, green=100, blue=200)
        (folder / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def cifar100_root(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    shrink(monkeypatch, "cifar100", train=3, test=1)
    (folder / "train.bin").write_bytes(record(4, 0, blue=7) + record(19, 99, blue=8) + record(0, 51, blue=9))
    (folder / "test.bin").write_bytes(record(1, 42, blue=10))
    return tmp_path


def test_cifar10_keeps_the_files_order_and_puts_channels_last(cifar10_root):
    splits = cifar.load_cifar("cifar10", cifar10_root)
    assert splits.validation is None
    assert splits.classes == registry.DATA_SETS["cifar10"].classes
    assert splits.train.labels.tolist() == [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]
    assert splits.test.labels.tolist() == [6, 9]
    images = splits.train.images
    assert images.shape == (10, 32, 32, 3)
    assert images[:, 0, 0].tolist() == [[red, 100, 200] for i in range(1, 6) for red in (10 * i, 10 * i + 1)]
    assert images[0, 2, 5].tolist() == [255, 100, 200]
    assert images[0, 5, 2].tolist() == [10, 100, 200]
    assert splits.test.images[:, 31, 31, 0].tolist() == [60, 61]
    for part in (splits.train, splits.test):
        assert part.images.dtype == np.uint8
        assert part.labels.dtype == np.int32
        assert part.images.flags.c_contiguous
    assert len(splits.train) == 10


def test_cifar100_uses_the_fine_label(cifar100_root):
    splits = cifar.load_cifar("cifar100", cifar100_root)
    assert splits.train.labels.tolist() == [0, 99, 51]
    assert splits.test.labels.tolist() == [42]
    assert splits.train.images[:, 0, 0].tolist() == [[0, 0, 7], [0, 0, 8], [0, 0, 9]]
    assert [splits.classes[i] for i in (0, 51, 99)] == ["apple", "mushroom", "worm"]


def test_class_names():
    assert len(set(data.class_names("cifar10", "nowhere"))) == 10
    fine = data.class_names("cifar100", "nowhere")
    assert len(set(fine)) == 100
    assert list(fine) == sorted(fine)


def test_the_last_file_is_the_test_set():
    five = [f"data_batch_{i}.bin" for i in range(1, 6)]
    assert cifar.split_files("cifar10") == (five, "test_batch.bin")
    assert cifar.split_files("cifar100") == (["train.bin"], "test.bin")


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b[:3073], lambda b: b + b[:3073], lambda b: b""])
def test_a_file_of_another_size_is_refused(cifar10_root, change):
    path = cifar10_root / "cifar-10-batches-bin" / "data_batch_3.bin"
    content = change(path.read_bytes())
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        cifar.load_cifar("cifar10", cifar10_root)
    message = str(error.value)
    assert str(path) in message
    assert "expected 2 records of 3,073 bytes = 6,146 bytes" in message
    assert f"found {len(content):,} " in message
    assert f"run ./dataset_setup.sh cifar10 --root {cifar10_root}" in message
    assert not isinstance(error.value, DataMissing)


def test_a_label_out_of_range_is_refused(cifar10_root, cifar100_root):
    path = cifar10_root / "cifar-10-batches-bin" / "test_batch.bin"
    path.write_bytes(record(9) + record(10))
    with pytest.raises(
        UserError, match=r"test_batch\.bin: expected labels from 0 to 9, found 10 in byte 0 of record 1"
    ):
        cifar.load_cifar("cifar10", cifar10_root)
    path = cifar100_root / "cifar-100-binary" / "test.bin"
    path.write_bytes(record(19, 100))
    with pytest.raises(UserError, match="labels from 0 to 99, found 100 in byte 1 of record 0"):
        cifar.load_cifar("cifar100", cifar100_root)
    path.write_bytes(record(20, 99))
    with pytest.raises(UserError, match="labels from 0 to 19, found 20 in byte 0 of record 0"):
        cifar.load_cifar("cifar100", cifar100_root)


def test_an_unreadable_file_is_refused(cifar10_root, monkeypatch):
    def refuse(path, dtype):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(np, "fromfile", refuse)
    with pytest.raises(
        UserError, match=r"data_batch_1\.bin: expected a readable file: Permission denied.*dataset_setup"
    ):
        cifar.load_cifar("cifar10", cifar10_root)


def test_missing_files_are_told_apart_and_named(cifar10_root):
    folder = cifar10_root / "cifar-10-batches-bin"
    (folder / "data_batch_2.bin").unlink()
    with pytest.raises(DataMissing) as error:
        cifar.load_cifar("cifar10", cifar10_root)
    message = str(error.value)
    assert f"cifar10: 1 of 6 files are not in {folder}: data_batch_2.bin." in message
    assert f"Next: ./dataset_setup.sh cifar10 --root {cifar10_root} (downloads it; --from DIR " in message
    assert "--set data.root=DIR" in message
    assert "NEURAL_SIMILARITY_DATA" in message


def test_the_setup_command_is_short_for_the_usual_root(tmp_path, monkeypatch):
    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", str(tmp_path))
    with pytest.raises(DataMissing, match=r"2 of 2 files .* \./dataset_setup\.sh cifar100 \(downloads"):
        data.load("cifar100")


def test_load_finds_each_set_by_name(cifar10_root, cifar100_root):
    assert data.load("cifar10", cifar10_root).train.labels.tolist() == [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]
    assert data.load("cifar100", str(cifar100_root)).test.labels.tolist() == [42]
    assert data.load("digits").classes == tuple("0123456789")


def test_load_names_the_nearest_set():
    known = "cifar10, cifar100, mnist, fashion_mnist, digits, folder"
    with pytest.raises(UserError, match=rf"data\.name.*'cifar-100'; .* {known}\. Did you mean `cifar100`\?"):
        data.load("cifar-100", "nowhere")


def test_load_holds_out_validation_images():
    splits = data.load("digits", validation_fraction=0.1, seed=3)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (1293, 144, 360)
    assert data.load("digits").validation is None


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("from neural_similarity.data import registry", {"numpy", "pydantic", "tensorflow", "keras", "sklearn", "PIL"}),
        ("from neural_similarity.data import load", {"tensorflow", "keras", "sklearn", "PIL"}),
    ],
)
def test_importing_data_is_light(statement, heavy):
    code = f"{statement}; import sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_an_unknown_name_in_the_package_is_refused():
    with pytest.raises(AttributeError, match=r"'neural_similarity\.data' has no attribute 'lod'"):
        _ = data.lod


def test_images_are_counted_without_being_read(cifar10_root, monkeypatch):
    expected = {split: len(part) for split, part in data.load("cifar10", cifar10_root).parts().items()}
    monkeypatch.setattr(np, "fromfile", lambda *arguments: pytest.fail("read"))
    assert data.count_images("cifar10", cifar10_root) == expected == {"train": 10, "test": 2}
    (cifar10_root / "cifar-10-batches-bin" / "test_batch.bin").unlink()
    with pytest.raises(DataMissing, match=r"1 of 6 files .* test_batch\.bin"):
        data.count_images("cifar10", cifar10_root)


def test_digits_are_counted_as_they_are_loaded():
    for fraction in (0.0, 0.1):
        parts = data.load("digits", validation_fraction=fraction).parts()
        assert data.count_images("digits", validation_fraction=fraction) == {s: len(p) for s, p in parts.items()}


def test_counting_refuses_what_loading_refuses():
    with pytest.raises(UserError, match=r"'digit'.*Did you mean `digits`"):
        data.count_images("digit")
    with pytest.raises(UserError, match=r"at least 0 and less than 1, got -0\.5"):
        data.count_images("digits", validation_fraction=-0.5)


def test_facts_change_with_the_data():
    splits = data.load("digits")
    facts = splits.facts()
    assert facts["classes"] == [str(digit) for digit in range(10)]
    assert re.fullmatch("[0-9a-f]{8}", facts["data_checksum"])
    assert data.load("digits").facts() == facts
    splits.test.images[-1, -1, -1, -1] += 1
    assert splits.facts()["data_checksum"] != facts["data_checksum"]
    renamed = dataclasses.replace(splits, classes=tuple("abcdefghij"))
    assert renamed.facts()["classes"] == list("abcdefghij")


def test_digits_have_cifars_shape_and_full_range():
    splits = digits.load_digits()
    assert splits.train.images.shape == (1437, 32, 32, 3)
    assert splits.test.images.shape == (360, 32, 32, 3)
    for part in (splits.train, splits.test):
        assert part.images.dtype == np.uint8
        assert part.labels.dtype == np.int32
        assert (part.images.min(), part.images.max()) == (0, 255)
        assert (part.images == part.images[..., :1]).all()
        assert part.images.flags.c_contiguous


def test_digits_are_the_embedded_images_scaled_up():
    """Against bilinear interpolation between pixel centres, written out; the border repeats its last pixel."""
    from sklearn import datasets

    source = datasets.load_digits()
    weights = np.zeros((32, 8))
    for i in range(32):
        centre = (i + 0.5) / 4 - 0.5
        below = int(np.floor(centre))
        weights[i, max(below, 0)] += 1 - (centre - below)
        weights[i, min(below + 1, 7)] += centre - below
    expected = weights @ (source.images * 255 / 16) @ weights.T  # (1797, 32, 32)
    test = digits.load_digits().test
    grey = test.images[..., 0].astype(float)
    flat, flat_expected = grey.reshape(360, -1), expected.reshape(1797, -1)
    origin = ((flat_expected**2).sum(1) - 2 * flat @ flat_expected.T).argmin(1)  # the nearest embedded image
    assert np.abs(grey - expected[origin]).max() <= 1.5  # grey levels: three roundings
    assert (np.diff(origin) > 0).all()  # all different, and in the set's order
    assert test.labels.tolist() == source.target[origin].tolist()


def test_digits_are_stratified_and_always_the_same():
    first, second = digits.load_digits(), digits.load_digits()
    share = np.bincount(first.test.labels) / (np.bincount(first.train.labels) + np.bincount(first.test.labels))
    np.testing.assert_allclose(share, 0.2, atol=0.005)
    for part in ("train", "test"):
        assert (getattr(first, part).images == getattr(second, part).images).all()
        assert (getattr(first, part).labels == getattr(second, part).labels).all()


def numbered(n, class_count):
    """Images whose first pixel is their number."""
    images = np.zeros((n, 1, 1, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(n)
    return ImageSet(images, (np.arange(n) % class_count).astype(np.int32))


def numbers(images):
    return images.images[:, 0, 0, 0].tolist()


def test_validation_is_stratified_in_order_and_complete():
    whole = numbered(200, 4)
    train, validation = split_validation(whole, 0.2, seed=1)
    assert np.bincount(validation.labels).tolist() == [10] * 4
    assert np.bincount(train.labels).tolist() == [40] * 4
    assert sorted(numbers(train) + numbers(validation)) == list(range(200))
    for part in (train, validation):
        assert numbers(part) == sorted(numbers(part))
        assert part.labels.tolist() == [number % 4 for number in numbers(part)]


def test_validation_is_a_function_of_the_seed():
    whole = numbered(200, 4)
    assert numbers(split_validation(whole, 0.2, seed=1)[1]) == numbers(split_validation(whole, 0.2, seed=1)[1])
    assert numbers(split_validation(whole, 0.2, seed=1)[1]) != numbers(split_validation(whole, 0.2, seed=2)[1])


def test_no_validation_leaves_the_training_set_alone():
    whole = numbered(20, 4)
    train, validation = split_validation(whole, 0.0, seed=1)
    assert train is whole
    assert validation is None


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, float("nan"), 0.05, 0.95])
def test_an_impossible_fraction_is_refused(fraction):
    with pytest.raises(UserError, match=r"`data\.validation_fraction`.*Next: --set data\.validation_fraction=0\.1"):
        split_validation(numbered(40, 4), fraction, seed=1)


def test_a_class_of_one_image_cannot_be_split():
    alone = ImageSet(np.zeros((11, 1, 1, 3), np.uint8), np.array([0] * 10 + [1], np.int32))
    with pytest.raises(UserError, match="at least one of each of the 2 classes"):
        split_validation(alone, 0.5, seed=1)


def test_real_cifar10():
    root = default_root()
    try:
        splits = cifar.load_cifar("cifar10", root)
    except DataMissing:
        pytest.skip(f"CIFAR-10 is not in {root}: ./dataset_setup.sh cifar10 puts it there")
    assert splits.train.images.shape == (50_000, 32, 32, 3)
    assert splits.test.images.shape == (10_000, 32, 32, 3)
    assert np.bincount(splits.train.labels).tolist() == [5_000] * 10
    assert np.bincount(splits.test.labels).tolist() == [1_000] * 10
    # The publishers' per-channel means, as everybody quotes them: the channels' order and the pixels are right.
    np.testing.assert_allclose(splits.train.images.mean((0, 1, 2)) / 255, [0.4914, 0.4822, 0.4465], atol=1e-4)
