"""dataset_setup.sh and files that are, or claim to be, larger than the set: refused before the disk fills."""

import gzip
import math
import tarfile
import time

import pytest
from file_server import sending, serving, without_length
from tiny_sets import ARCHIVE, CONTENT, TINY, md5, read, run, with_archive, write

from neural_similarity.data import cifar, registry

TERABYTE = 10**12
LARGE = "1,000,000,000,000 bytes, more than the 1 MB that the whole set needs"
COUNTED = {"md5": None, "file_md5": {}, "file_counts": {"images/*.jpg": 2}}


def header(name, size, kind=tarfile.REGTYPE):
    """The header of a member that claims a size."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def sparse(name, size):
    """A member of 512 bytes and, without taking any room in the archive, of zeros up to a size."""

    def number(value):
        return b"\x80" + value.to_bytes(11, "big")

    block = bytearray(header(name, 512, tarfile.GNUTYPE_SPARSE))
    block[386:434] = number(0) + number(512) + number(size) + number(0)  # pieces: (where, length)
    block[482:495] = b"\0" + number(size)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(512)


def archive_of(*blocks):
    return gzip.compress(b"".join(blocks) + bytes(1024))


@pytest.fixture(autouse=True)
def root(monkeypatch, tmp_path):
    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", str(tmp_path / "root"))
    return tmp_path / "root"


@pytest.fixture
def use(monkeypatch):
    """Makes a set the only one of the registry: tiny10 with changes in its archive."""
    return lambda **changes: monkeypatch.setattr(registry, "DATA_SETS", {"tiny10": with_archive(TINY, **changes)})


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "its MD5 is known"])
@pytest.mark.parametrize(
    ("content", "changes", "reason"),
    [
        (archive_of(header("tiny-bin/a.bin", TERABYTE)), {}, LARGE),
        (archive_of(header("elsewhere/x", TERABYTE)), {}, LARGE),
        (archive_of(header("x", TERABYTE, tarfile.GNUTYPE_LONGNAME)), {}, "a header of 1,000,000,000,000 bytes"),
        (archive_of(header("x", TERABYTE, tarfile.GNUTYPE_LONGLINK)), {}, "a header of 1,000,000,000,000 bytes"),
        (archive_of(header("x", TERABYTE, tarfile.XHDTYPE)), {}, "a header of 1,000,000,000,000 bytes"),
        (archive_of(header("x", TERABYTE, tarfile.XGLTYPE)), {}, "a header of 1,000,000,000,000 bytes"),
        (archive_of(header("tiny-bin/a.bin", -512)), {}, "a negative size"),
        (archive_of(sparse("tiny-bin/a.bin", TERABYTE)), {}, LARGE),
        (archive_of(*(sparse(f"tiny-bin/images/{i}.jpg", 700_000) for i in "ab")), COUNTED, "1,400,000 bytes, more"),
        (archive_of(header("x", 900_000), bytes(10**7)), {}, ""),  # the rest is behind the archive's end
    ],
)
def test_an_archive_that_claims_more_than_the_set_has(capsys, tmp_path, root, use, content, changes, reason, known):
    use(**{**changes, "md5": md5(content) if known else None})
    write(tmp_path / "mine", {"tiny.tar.gz": content})
    began = time.monotonic()
    code, _, err = run(capsys, "tiny10", "--from", tmp_path / "mine")
    assert time.monotonic() - began < 2
    assert code == 2
    assert reason in err
    assert not root.exists() or read(root / "tiny-bin") == {}


def test_a_bomb_is_not_unpacked_to_its_end(capsys, tmp_path, use):
    use(md5=None)
    write(tmp_path / "mine", {"tiny.tar.gz": gzip.compress(gzip.decompress(ARCHIVE) + bytes(10**7))})
    _, _, err = run(capsys, "tiny10", "--from", tmp_path / "mine")
    assert "cannot be read as one (it unpacks to more than 1,000,000 bytes" in err


@pytest.mark.parametrize("name", ["a.bin", "tiny.tar.gz"])
@pytest.mark.parametrize("to_root", [False, True])
def test_a_file_of_a_terabyte_is_not_read(capsys, tmp_path, root, use, name, to_root):
    use(file_bytes={name: len(content) for name, content in CONTENT.items()})
    place = (root / "tiny-bin" if name == "a.bin" else root) if to_root else tmp_path / "mine"
    write(place, {"b.bin": CONTENT["b.bin"]})
    with (place / name).open("wb") as file:
        file.truncate(TERABYTE)  # sparse: it takes no room
    (tmp_path / "mine").mkdir(exist_ok=True)
    began = time.monotonic()
    code, out, err = run(capsys, "tiny10", "--from", root if to_root else tmp_path / "mine")
    assert time.monotonic() - began < 2
    assert code == 2
    assert "1,000,000,000,000 bytes" in out + err


def test_a_known_size_is_looked_at_first(capsys, tmp_path, root, use):
    use(file_bytes={name: len(content) for name, content in CONTENT.items()})
    write(tmp_path / "mine", {**CONTENT, "a.bin": CONTENT["a.bin"] + b"x"})
    _, _, err = run(capsys, "tiny10", "--from", tmp_path / "mine")
    assert f"{tmp_path / 'mine' / 'a.bin'}: expected MD5 {md5(CONTENT['a.bin'])}, got 5,001 bytes.\n" in err
    assert read(root / "tiny-bin") == {"b.bin": CONTENT["b.bin"]}


def test_counted_files_are_not_copied_if_they_are_too_large_together(capsys, tmp_path, root, use):
    use(**COUNTED)
    write(tmp_path / "mine" / "images", {f"{i}.jpg": bytes(700_000) for i in range(2)})
    _, _, err = run(capsys, "tiny10", "--from", tmp_path / "mine")
    assert "images/*.jpg: expected 2 files, got 1,400,000 bytes, more than the 1 MB that the whole set needs." in err
    assert not root.exists()


@pytest.mark.parametrize("answer", [sending(bytes(3 * 10**6)), without_length])
def test_a_server_that_sends_more_than_the_set(capsys, monkeypatch, root, use, answer):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        use(url=server.url("tiny.tar.gz"))
        server.files["/tiny.tar.gz"] = bytes(3 * 10**6)
        server.answers = [answer]
        code, _, err = run(capsys, "tiny10")
    assert code == 2
    assert "tiny.tar.gz: expected at most 1,000,000 bytes, and the server sends more." in err
    assert read(root) == {}


def test_the_sizes_of_the_registry_are_those_of_the_records():
    for name, label_classes in cifar.LABEL_CLASSES.items():
        entry = registry.DATA_SETS[name]
        (archive,) = entry.archives
        train, test = cifar.split_files(name)
        size = len(label_classes) + math.prod(cifar.IMAGE_SHAPE)
        expected = dict.fromkeys(train, entry.counts["train"] // len(train) * size) | {
            test: entry.counts["test"] * size
        }
        assert archive.file_bytes == expected
