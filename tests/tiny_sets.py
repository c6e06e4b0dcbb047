"""Tiny data sets in place of the registry's; everything else, messages included, is the real thing."""

import dataclasses
import hashlib
import io
import socket
import tarfile

from neural_similarity.data import (
    checks,
    class_lists,
    download,
    install,
    origin,
    places,
    registry,
    setup,
    streams,
    unpack,
)

# The files that dataset_setup.sh needs.
_SETUP = (setup, registry, class_lists, places, streams, install, checks, origin, unpack, download)
SETUP_FILES = [module.__file__ for module in _SETUP]
CONTENT = {"a.bin": b"first" * 1000, "b.bin": b"second" * 1000}
OTHER_CONTENT = {"c.bin": b"third"}
HTML = b"\n<!DOCTYPE html><html><body>404</body></html>"


def md5(content):
    return hashlib.md5(content).hexdigest()


def tar_of(folder, content, *members):
    """A .tar.gz of a readme and of these files in the folder, then of the members, which are TarInfo."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content_of_one in {"readme.html": b"about", **content}.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content_of_one)
            archive.addfile(member, io.BytesIO(content_of_one))
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return buffer.getvalue()


def member(name, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def closed_port():
    """A port of this machine that nobody listens on."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


ARCHIVE = tar_of("tiny-bin", CONTENT)
OTHER_ARCHIVE = tar_of("other-bin", OTHER_CONTENT)
TINY = registry.DownloadedSet(
    name="tiny10",
    title="Tiny-10",
    image_size=32,
    classes=("a", "b"),
    counts={"train": 1, "test": 1},
    origin="made up",
    page="https://example.org/tiny.html",
    licence="none",
    folder="tiny-bin",
    archives=(
        registry.Archive(
            name="tiny.tar.gz",
            url="https://nowhere.invalid/tiny.tar.gz",
            md5=md5(ARCHIVE),
            file_md5={name: md5(content) for name, content in CONTENT.items()},
        ),
    ),
    released_folder="tiny",
    space_mb=1,
    next_command="python train.py",
)
OTHER = dataclasses.replace(
    TINY,
    name="other",
    folder="other-bin",
    archives=(
        registry.Archive(
            name="other.tar.gz",
            url="https://nowhere.invalid/other.tar.gz",
            md5=md5(OTHER_ARCHIVE),
            file_md5={name: md5(content) for name, content in OTHER_CONTENT.items()},
        ),
    ),
    released_folder="other",
    next_command="python other.py",
)


def with_archive(entry, **changes):
    """The set with changes in its only archive."""
    (archive,) = entry.archives
    return dataclasses.replace(entry, archives=(dataclasses.replace(archive, **changes),))


def write(folder, content):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content_of_one in content.items():
        (folder / name).write_bytes(content_of_one)


def read(folder):
    """All files of a folder, hidden ones too: a forgotten temporary file shows."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} if folder.exists() else {}


def run(capsys, *arguments):
    code = setup.main(list(map(str, arguments)))
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def assert_complete(root):
    """tiny10's files and nothing else: neither an archive nor a partial one."""
    assert read(root / "tiny-bin") == CONTENT
    assert [path.name for path in root.iterdir()] == ["tiny-bin"]


def tree(folder):
    """All files below a folder, hidden ones too, by their path in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
