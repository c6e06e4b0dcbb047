"""Seeded abuse of what reads files of a user's: each input is accepted with a meaning or refused in one message."""

import collections
import dataclasses
import random

import numpy as np
import pytest
import yaml
from PIL import Image

from neural_similarity.config import REPOSITORY, experiment_files, load
from neural_similarity.data import cifar, registry
from neural_similarity.data.image_files import read_image
from neural_similarity.errors import UserError

CONFIGS = experiment_files()
MUTATIONS = 1_000
ODD_VALUES = (
    *(0, 1, -1, 3, 2**31 - 1, 2**31, 10**400, 0.5, -0.5, 1e-30, 1e300, float("nan"), float("inf"), True, False, None),
    *(
        "",
        " ",
        "0.1",
        "true",
        "~",
        "auto",
        "sgd",
        "adam",
        "digits",
        "cifar10",
        "static",
        "none",
        "identity",
        "ones",
        "\0",
        "ä" * 300,
    ),
    *([], [0], [1, 2, 3], [3, 2, 1], [[1]], {}, {"name": "sgd"}, {"kind": "none"}, [None, "x"]),
)
ODD_TEXT = (
    *("\t", "\0", "\ufeff", "\ud7ff", "é", "- ", ": ", "? ", "{", "}", "[", "]", '"', "'", "#", "%"),
    *("&a ", "*a", "!!map ", "|\n", "---\n", "...\n", "<<: "),
)


def attempt(read, *arguments):
    """(what it returns, None), or (None, the message it refuses with)."""
    try:
        return read(*arguments), None
    except UserError as error:
        return None, str(error)


# Configs


def paths_of(document):
    """Every section and every key in a section."""
    for section, content in document.items():
        yield (section,)
        yield from ((section, key) for key in (content if isinstance(content, dict) else ()))


def at(document, path):
    for key in path:
        document = document[key]
    return document


def changed_document(document, generator):
    """One change of structure: (what was done, its path, the value that was put there)."""
    *parents, last = path = generator.choice(list(paths_of(document)))
    holder = at(document, parents)
    what = generator.choice(("replace", "replace", "replace", "delete", "rename", "move", "swap"))
    value = None
    if what == "replace":
        value = holder[last] = generator.choice(ODD_VALUES)
    elif what == "delete":
        del holder[last]
    elif what == "rename":
        position = generator.randrange(len(last) + 1)
        holder[last[:position] + generator.choice("aeixz_") + last[position:]] = holder.pop(last)
    elif what == "move":
        target = document[generator.choice([s for s in document if isinstance(document[s], dict)])]
        target[f"{last}_" if last in target else last] = holder.pop(last)
    elif what == "swap":
        other = generator.choice(list(holder))
        holder[last], holder[other] = holder[other], holder[last]
    return what, path, value


def changed_text(text, generator):
    """One change of the characters, without regard to what they mean."""
    position = generator.randrange(len(text))
    end = position + generator.randrange(1, 30)
    what = generator.choice(("cut", "insert", "repeat", "shorten", "lines", "flip"))
    if what == "cut":
        text = text[:position] + text[end:]
    elif what == "insert":
        text = text[:position] + generator.choice(ODD_TEXT) + text[position:]
    elif what == "repeat":
        text = text[:end] + text[position:]
    elif what == "shorten":
        text = text[:position]
    elif what == "lines":
        lines = text.splitlines(keepends=True)
        generator.shuffle(lines)
        text = "".join(lines)
    else:
        flipped = chr(ord(text[position]) ^ 1 << generator.randrange(7))
        text = text[:position] + flipped + text[position + 1 :]
    return what, text


def outcome(path):
    """The loaded config, or None where it was refused in one message."""
    config, message = attempt(lambda: load(path, environment={}))
    if config is None:
        assert message.strip()
        assert len(message) < 5_000
        assert "Traceback" not in message
        assert all(character.isprintable() or character == "\n" for character in message)
        return None
    assert (REPOSITORY / config.owner() / "train.py").is_file()
    assert config.schedule.scaled_train_steps > 0
    return config


def test_configs_with_another_structure(tmp_path):
    """Nothing that is accepted means anything else than what the file says."""
    generator, table = random.Random(0), collections.Counter()
    for _ in range(MUTATIONS):
        original = generator.choice(CONFIGS)
        document = load(original, environment={}).to_dict()
        what, path, value = changed_document(document, generator)
        (tmp_path / "x.yaml").write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
        config = outcome(tmp_path / "x.yaml")
        table[what, "refused" if config is None else "accepted"] += 1
        if config is not None:
            if config.data.name == "folder":
                document["data"].setdefault("image_size", 32)  # the one default
            assert config.to_dict() == document, (original, what, path, value)
    print(*sorted(table.items()), sep="\n")
    assert table["replace", "accepted"] > MUTATIONS / 100
    assert not table["rename", "accepted"]


def test_configs_with_other_characters(tmp_path):
    """What is accepted reads back as itself, and YAML's own reader finds the same sections and keys in the file."""
    generator, table = random.Random(1), collections.Counter()
    for _ in range(MUTATIONS):
        original = generator.choice(CONFIGS)
        what, text = changed_text(original.read_text(encoding="utf-8"), generator)
        (tmp_path / "x.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
        config = outcome(tmp_path / "x.yaml")
        table[what, "refused" if config is None else "accepted"] += 1
        if config is not None:
            found = yaml.safe_load(text)
            assert set(paths_of(found)) == set(paths_of(config.to_dict())), (original, what)
            (tmp_path / "again.yaml").write_text(yaml.safe_dump(config.to_dict()))
            assert load(tmp_path / "again.yaml", environment={}) == config
    print(*sorted(table.items()), sep="\n")
    assert min(sum(n for (_, end), n in table.items() if end == e) for e in ("accepted", "refused")) > MUTATIONS / 10


def test_settings_with_other_characters():
    """`--set` goes through the same checks."""
    generator, table = random.Random(2), collections.Counter()
    original = load(CONFIGS[0], environment={}).to_dict()
    paths = [".".join(path) for path in paths_of(original)]
    for _ in range(MUTATIONS):
        text = f"{generator.choice(paths)}={generator.choice((*ODD_VALUES, 0.25, 'flattened_eye', [4, 5, 6]))}"
        what = generator.choice(("value", "characters"))
        if what == "characters":
            text = changed_text(text, generator)[1]
        config, message = attempt(load, CONFIGS[0], [text], {})
        table[what, "refused" if config is None else "accepted"] += 1
        assert config or "--set" in message
        if config:
            path, _, value = text.partition("=")
            *parents, last = path.strip().split(".")
            found = config.to_dict()
            texts = isinstance(at(found, parents)[last], str) and value != "auto"
            expected = value if texts else yaml.safe_load(value)
            if isinstance(at(found, parents)[last], float):
                expected = float(expected)  # 1e-30 is a text to YAML 1.1
            assert at(found, parents)[last] == expected, text
            at(found, parents)[last] = at(original, parents)[last]
            assert found == original, text  # and nothing else has changed
    print(*sorted(table.items()), sep="\n")
    assert 20 < table["value", "accepted"] + table["characters", "accepted"] < MUTATIONS / 2


# Data


@pytest.fixture(params=["cifar10", "cifar100"])
def small_cifar(request, tmp_path, monkeypatch):
    """A set of ten training images and two test images: (its name, how to read it, one of its training files)."""
    entry = dataclasses.replace(registry.DATA_SETS[request.param], counts={"train": 10, "test": 2})
    monkeypatch.setitem(registry.DATA_SETS, request.param, entry)
    rng = np.random.default_rng(0)
    (tmp_path / entry.folder).mkdir()
    train, test = cifar.split_files(request.param)
    label_classes = cifar.LABEL_CLASSES[request.param]
    for name in (*train, test):
        count = 2 if name == test else 10 // len(train)
        records = rng.integers(0, 256, (count, 3072 + len(label_classes)), np.uint8)
        for byte, classes in enumerate(label_classes):
            records[:, byte] %= classes
        records.tofile(tmp_path / entry.folder / name)
    return request.param, lambda: cifar.load_cifar(request.param, tmp_path).train, tmp_path / entry.folder / train[-1]


def test_cifar_files_with_other_bytes(small_cifar):
    """A byte more or less, or a label that is none, is refused; another byte changes its own pixel or label alone."""
    name, read, path = small_cifar
    labels = 1 if name == "cifar10" else 2
    generator, table = random.Random(0), collections.Counter()
    original = read()
    whole = path.read_bytes()
    first = len(original.labels) - len(whole) // (3072 + labels)  # of this file's images
    for _ in range(MUTATIONS // 2):
        what = generator.choice(("flip", "flip a label", "cut", "append"))
        changed = bytearray(whole)
        position = generator.randrange(labels if what == "flip a label" else len(whole))
        if what.startswith("flip"):
            changed[position] ^= generator.randrange(1, 256)
        elif what == "cut":
            del changed[position:]
        else:
            changed += generator.randbytes(generator.choice((1, 3072 + labels, generator.randrange(1, 10_000))))
        path.write_bytes(changed)
        found, message = attempt(read)
        table[what, "accepted" if found else "refused"] += 1
        if found is None:
            assert str(path) in message
            assert f"dataset_setup.sh {name}" in message
            continue
        record, byte = divmod(position, 3072 + labels)
        images, classes = original.images.copy(), original.labels.copy()
        if byte >= labels:
            channel, pixel = divmod(byte - labels, 1024)
            images[first + record, pixel // 32, pixel % 32, channel] = changed[position]
        elif byte == labels - 1:  # a coarse class is checked and not used
            classes[first + record] = changed[position]
        assert len(changed) == len(whole)
        np.testing.assert_array_equal(found.images, images)
        np.testing.assert_array_equal(found.labels, classes)
    print(name, *sorted(table.items()), sep="\n")
    assert not table["cut", "accepted"] + table["append", "accepted"]
    assert table["flip a label", "refused"] > table["flip a label", "accepted"] > 0


def test_image_files_with_other_bytes(tmp_path):
    """A PNG or JPEG with bytes flipped, cut or added is refused by name, or read as an image of the right shape."""
    generator, table = random.Random(0), collections.Counter()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    for ending in ("png", "jpg"):
        path = tmp_path / f"x.{ending}"
        Image.fromarray(pixels).save(path)
        whole = path.read_bytes()
        for _ in range(MUTATIONS // 2):
            what = generator.choice(("flip", "cut", "append"))
            changed = bytearray(whole)
            if what == "flip":
                changed[generator.randrange(len(whole))] ^= generator.randrange(1, 256)
            elif what == "cut":
                del changed[generator.randrange(len(whole)) :]
            else:
                changed += generator.randbytes(generator.randrange(1, 1_000))
            path.write_bytes(changed)
            image, message = attempt(read_image, path, 8)
            table[ending, what, "refused" if image is None else "accepted"] += 1
            if image is None:
                assert message.startswith(f"{path}: ")
                assert "cannot be read as an image (" in message or "expected at most 120,000,000 pixels" in message
            else:
                assert (image.shape, image.dtype) == ((8, 8, 3), np.uint8)
    print(*sorted(table.items()), sep="\n")
    assert table["png", "flip", "refused"] > 9 * table["png", "flip", "accepted"]
    assert not table["jpg", "cut", "accepted"]
