"""The registry of data sets, and what is made from it."""

import re

import pytest

from configs import STATIC, message
from neural_similarity import data
from neural_similarity.data import checks, few_shot_sets, registry, retrieval_sets, setup
from neural_similarity.data.class_lists import CIFAR_FS, FC100, MINI_IMAGENET
from neural_similarity.errors import UserError
from neural_similarity.reporting.data_sets import data_sets
from neural_similarity.reporting.markdown import as_markdown

DOWNLOADED = [entry for entry in registry.DATA_SETS.values() if isinstance(entry, registry.DownloadedSet)]


def test_the_order_is_that_of_lists_for_people():
    assert list(registry.DATA_SETS) == [
        *("cifar10", "cifar100", "mnist", "fashion_mnist"),
        *("cifar_fs", "fc100", "mini_imagenet", "cub200", "cars196", "sop", "cifar100_unseen"),
        *("digits", "digits_unseen", "folder"),
    ]
    assert [entry.name for entry in registry.DATA_SETS.values()] == list(registry.DATA_SETS)


@pytest.mark.parametrize("entry", DOWNLOADED, ids=lambda entry: entry.name)
def test_a_set_that_is_downloaded_can_be_checked(entry):
    """Every archive asks for files, nothing is asked for twice, and checksums and addresses look like such."""
    for archive in entry.archives:
        keys = checks.keys(archive)
        assert keys
        assert len(set(keys)) == len(keys)
        for md5 in (*filter(None, [archive.md5]), *archive.file_md5.values()):
            assert re.fullmatch("[0-9a-f]{32}", md5)
        assert archive.url.startswith("https://")
        assert archive.url.endswith(f"/{archive.name}")
        assert all(count > 0 for count in (*archive.file_counts.values(), *archive.line_counts.values()))


@pytest.mark.parametrize("entry", registry.DATA_SETS.values(), ids=lambda entry: entry.name)
def test_classes_are_told_apart(entry):
    if entry.classes is not None:
        assert len(set(entry.classes)) == len(entry.classes) > 1


@pytest.mark.parametrize(
    ("name", "lists"), [("cifar_fs", CIFAR_FS), ("fc100", FC100), ("mini_imagenet", MINI_IMAGENET)]
)
def test_sets_whose_splits_have_different_classes(name, lists):
    entry = registry.DATA_SETS[name]
    assert entry.class_splits
    assert entry.counts == {split: 600 * len(names) for split, names in lists.items()}
    assert sum(entry.counts.values()) == 60_000
    assert set(entry.classes) == {class_name for names in lists.values() for class_name in names}
    if name != "mini_imagenet":
        assert set(entry.classes) == set(registry.DATA_SETS[entry.images_of].classes)


def test_the_sets_of_metric_learning():
    """Published counts of images; the classes of training and of test are different ones."""
    counts = {
        "cub200": (100, 100, 5_864, 5_924),
        "cars196": (98, 98, 8_054, 8_131),
        "sop": (11_318, 11_316, 59_551, 60_502),
        "cifar100_unseen": (50, 50, 30_000, 30_000),
        "digits_unseen": (5, 5, 901, 896),
    }
    for name, expected in counts.items():
        entry = registry.DATA_SETS[name]
        assert (*entry.class_counts.values(), *entry.counts.values()) == expected
        assert entry.class_splits
    assert (*counts, "folder") == retrieval_sets.RETRIEVAL_SETS


def test_every_family_takes_its_own_sets_only():
    for name, entry in registry.DATA_SETS.items():
        if "image_recognition" not in entry.families:
            said = message(STATIC, f"data.name={name}")
            assert f'must be one of `cifar10`, `cifar100`, `digits`, `folder`; got "{name}"' in said
        if entry.class_splits:
            other = f"'{name}', a set for {entry.serves()}, .* fashion_mnist, digits, folder"
            with pytest.raises(UserError, match=other):
                data.load(name)
        if "few_shot" not in entry.families:
            said = message("configs/cifar_fs/5shot_protonet.yaml", f"data.name={name}")
            assert f'`mini_imagenet`, `digits`, `folder`; got "{name}"' in said
            with pytest.raises(UserError, match=rf"`data.name` is '{name}'; expected a set .* mini_imagenet, digits\."):
                few_shot_sets.load_class_splits(name, "")
        if "metric_learning" not in entry.families:
            with pytest.raises(UserError, match=f"'{name}'; expected a set for metric learning: cub200, cars196, sop"):
                retrieval_sets.load_retrieval_set(name, "")


def test_the_set_up_knows_the_sets_that_are_downloaded(capsys):
    with pytest.raises(SystemExit):
        setup.main(["--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "cifar10, cifar100; without a name: all of them. mnist is set up only if you name it. " in words
    assert "cub200 is set up only if you name it. cifar_fs" in words
    assert "cifar_fs takes its images from cifar100. fc100 takes " in words
    for name in ("mini_imagenet", "cars196", "sop"):
        assert f"{name} is built from images that you have, and needs --from." in words


@pytest.mark.parametrize(("name", "words"), [("digits", "contained in"), ("folder", "in a folder of yours")])
def test_the_set_up_says_which_sets_need_none(capsys, name, words):
    assert setup.main([name]) == 2
    assert f"`{name}` needs no set-up: its images are {words}" in capsys.readouterr().err


def test_the_table_shows_what_the_registry_says(monkeypatch):
    counted = registry.Archive(
        name="birds.tar.gz",
        url="https://example.org/birds.tar.gz",
        md5=None,
        file_counts={"images/*/*.jpg": 1_200},
        line_counts={"images.txt": 1_200},
    )
    birds = registry.DownloadedSet(
        name="birds",
        title="Birds",
        image_size=None,
        classes=None,
        counts={"train": 1_000, "test": 200},
        origin="downloaded from its publisher",
        page="https://example.org/birds",
        licence="CC0",
        folder="birds",
        archives=(counted,),
        released_folder=None,
        space_mb=1,
        next_command="",
    )
    monkeypatch.setattr(registry, "DATA_SETS", {"birds": birds})
    assert as_markdown(data_sets()).splitlines()[-1] == (
        "| `birds` | [Birds](https://example.org/birds) | 1,000 train, 200 test | `data.image_size` | its folders | "
        "downloaded from its publisher: [birds.tar.gz](https://example.org/birds.tar.gz) | only counted, as no "
        "checksum is known: `images/*/*.jpg` (1,200 files), `images.txt` (1,200 lines) | CC0 |"
    )
