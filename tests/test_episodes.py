"""Episodes, and the splits of classes that they are drawn from."""

import numpy as np
import pytest
import tensorflow as tf

from neural_similarity.data import few_shot_sets
from neural_similarity.data.class_lists import CIFAR_FS, FC100, MINI_IMAGENET
from neural_similarity.data.class_splits import split_by_class
from neural_similarity.data.digits import load_digits
from neural_similarity.data.episodes import check_classes, check_images, episode_rows, training_episodes
from neural_similarity.data.images import DataMissing, ImageSet, Splits
from neural_similarity.data.registry import DATA_SETS
from neural_similarity.errors import UserError


@pytest.fixture(scope="module")
def splits():
    """Twelve classes with 7 to 18 images; the first pixel of an image is its class, the second its number."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(12), np.arange(7, 19)))
    images = np.zeros((len(labels), 2, 2, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = labels, np.arange(len(labels))
    names = [f"c{i}" for i in range(12)]
    return split_by_class(images, labels, names, {"train": names[:6], "validation": names[6:9], "test": names[9:]})


def test_the_published_lists_cover_their_sets_once():
    for lists, counts in ((MINI_IMAGENET, (64, 16, 20)), (CIFAR_FS, (64, 16, 20)), (FC100, (60, 20, 20))):
        assert tuple(map(len, lists.values())) == counts
        names = [name for part in lists.values() for name in part]
        assert len(set(names)) == 100
    for lists in (CIFAR_FS, FC100):
        assert {name for part in lists.values() for name in part} == set(DATA_SETS["cifar100"].classes)


def test_an_episode_has_distinct_classes_of_its_split_and_distinct_images(splits):
    for split, part in splits.parts().items():
        own = {int(name[1:]) for name in part.classes}
        for number in range(50):
            rows = episode_rows(part, 0, split, number, 3, 7)
            assert rows.shape == (3, 7)
            assert len(np.unique(rows)) == 21  # support and query share no image
            labels = part.images[rows][:, :, 0, 0, 0]
            assert (labels == labels[:, :1]).all()
            assert len(set(labels[:, 0])) == 3
            assert set(labels[:, 0]) <= own


def test_an_episode_depends_on_seed_stream_and_number_alone(splits):
    part = splits.train

    def draw(*key):
        return episode_rows(part, *key, 3, 5)

    np.testing.assert_array_equal(draw(0, "train", 4), draw(0, "train", 4))
    others = [draw(*key) for key in ((0, "train", 4), (1, "train", 4), (0, "test", 4), (0, "train", 5))]
    assert len({rows.tobytes() for rows in others}) == 4


def test_every_class_takes_every_label_equally_often(splits):
    part = splits.train
    counts = np.zeros((6, 3), int)
    for number in range(1200):
        labels = part.images[episode_rows(part, 0, "train", number, 3, 1)][:, 0, 0, 0, 0]
        counts[labels, np.arange(3)] += 1
    np.testing.assert_allclose(counts, 200, atol=60)  # four standard deviations


def test_a_step_has_its_episodes_class_by_class(splits):
    batch = training_episodes(splits.train, 3, tasks=2, n_way=3, images_per_class=4, augmentation="none")
    images = next(iter(tf.data.Dataset.range(5, 6).map(batch)))
    assert images.shape == (2, 3, 4, 2, 2, 3)
    for task in range(2):
        rows = episode_rows(splits.train, 3, "train", 5 * 2 + task, 3, 4)
        np.testing.assert_array_equal(images[task], splits.train.images[rows])
    augmented = training_episodes(splits.train, 3, 2, 3, 4, augmentation="flip")(tf.constant(5, tf.int64))
    assert augmented.shape == images.shape
    assert np.abs(augmented - images).max() > 0


def test_the_whole_split_as_one_set(splits):
    whole = splits.test.image_set()
    assert len(whole) == len(splits.test) == 16 + 17 + 18
    chosen = np.array([50, 0, 20, 20])
    part = whole.take(chosen)
    assert part.images.shape == (4, *whole.images.shape[1:])
    np.testing.assert_array_equal(part.images[:, 0, 0, 0] - 9, whole.labels[chosen])


def test_facts_name_the_classes_and_notice_a_pixel(splits):
    facts = splits.facts()
    assert facts["test_classes"] == ["c9", "c10", "c11"]
    changed = splits.train.images.copy()
    changed[splits.validation.rows[1][2], 1, 1, 2] ^= 1
    labels = np.zeros(len(changed), int)
    for part in splits.parts().values():
        for name, rows in zip(part.classes, part.rows, strict=True):
            labels[rows] = int(name[1:])
    lists = {split: part.classes for split, part in splits.parts().items()}
    other = split_by_class(changed, labels, [f"c{i}" for i in range(12)], lists).facts()
    assert {name for name in facts if facts[name] != other[name]} == {"data_checksum"}


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        (
            {"train": ["cat"], "validation": ["dog"], "test": ["cta"]},
            r"`test` names the class `cta`.* Did you mean `cat`",
        ),
        ({"train": ["cat"], "validation": ["dog"], "test": ["cat"]}, "`cat` stands in the split `train` and in `test`"),
    ],
)
def test_a_wrong_list_of_classes_is_refused(lists, said):
    with pytest.raises(UserError, match=said):
        split_by_class(np.zeros((2, 1, 1, 3), np.uint8), np.arange(2), ["cat", "dog"], lists)


def test_too_few_classes_are_refused():
    check_classes("validation", 3, 3, "episode.n_way")
    with pytest.raises(UserError, match=r"has 3 classes, and `episode\.n_way` is 5\. Next: --set episode\.n_way=3, or"):
        check_classes("validation", 3, 5, "episode.n_way")
    with pytest.raises(UserError, match=r"has 1 class, and `method\.training_n_way` is 5\. Next: more classes"):
        check_classes("train", 1, 5, "method.training_n_way")


def test_too_few_images_are_refused():
    sizes = {"cat": 20, "dog": 13}
    check_images("test", sizes, 5, 8)
    with pytest.raises(UserError, match=r"`dog` of the split `test` has 13 images, .* takes 14 .*episode\.n_query=8"):
        check_images("test", sizes, 5, 9)
    with pytest.raises(UserError, match=r"takes 14 .* or a smaller --set episode\.k_shot=N"):
        check_images("test", sizes, 13, 1)


def test_the_digits_are_split_by_class():
    splits = few_shot_sets.load_class_splits("digits", "")
    assert {name: part.classes for name, part in splits.parts().items()} == {
        "train": tuple("01234"),
        "test": tuple("56789"),
    }
    assert len(splits.train) + len(splits.test) == sum(DATA_SETS["digits"].counts.values())
    digits = load_digits()
    five = digits.train.images[digits.train.labels == 5]
    np.testing.assert_array_equal(splits.test.images[splits.test.rows[0]][: len(five)], five)


def test_cifar_fs_and_fc100_are_the_whole_of_cifar100(monkeypatch):
    """Of each class five training images and one test image, marked by their class."""

    def load_cifar(name, root):
        parts = []
        for count in (5, 1):
            labels = np.random.default_rng(count).permutation(np.repeat(np.arange(100, dtype=np.int32), count))
            parts.append(ImageSet(np.full((len(labels), 1, 1, 3), labels[:, None, None, None], np.uint8), labels))
        return Splits(parts[0], None, parts[1], DATA_SETS[name].classes)

    monkeypatch.setattr(few_shot_sets, "load_cifar", load_cifar)
    for name in ("cifar_fs", "fc100"):
        splits = few_shot_sets.load_class_splits(name, "")
        assert sum(map(len, splits.parts().values())) == 600
        for part in splits.parts().values():
            for name_of_class, rows in zip(part.classes, part.rows, strict=True):
                label = DATA_SETS["cifar100"].classes.index(name_of_class)
                np.testing.assert_array_equal(part.images[rows], np.full((6, 1, 1, 3), label))


def test_classes_and_images_are_counted_without_reading_images(monkeypatch, tmp_path):
    splits = few_shot_sets.load_class_splits("digits", "")
    counts = {name: (len(part.classes), len(part)) for name, part in splits.parts().items()}
    assert few_shot_sets.count_class_splits("digits", "") == counts
    for name in ("cifar_fs", "fc100", "mini_imagenet"):
        with pytest.raises(DataMissing, match=r"Next.*: \./dataset_setup\.sh "):
            few_shot_sets.count_class_splits(name, tmp_path)
    monkeypatch.setattr(few_shot_sets, "check_files_exist", lambda name, root: None)
    counts = {"train": (64, 38_400), "validation": (16, 9_600), "test": (20, 12_000)}
    assert few_shot_sets.count_class_splits("cifar_fs", "") == counts
    counts = {"train": (60, 36_000), "validation": (20, 12_000), "test": (20, 12_000)}
    assert few_shot_sets.count_class_splits("fc100", "") == counts


@pytest.mark.parametrize("function", [few_shot_sets.load_class_splits, few_shot_sets.count_class_splits])
def test_an_unknown_set_is_refused(function):
    with pytest.raises(UserError, match=r"'mini-imagenet'; .* Did you mean `mini_imagenet`\?"):
        function("mini-imagenet", "")
