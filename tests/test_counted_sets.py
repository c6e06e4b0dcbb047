"""A set of another form than CIFAR's, through the real set-up: trees of JPEGs and a list, in two archives, of which no
checksum is known. So its files are counted.
"""

import dataclasses
import gzip
import tarfile

import pytest
from file_server import first, sending, serving
from pictures import pixels, save
from tiny_sets import HTML, TINY, md5, member, read, run, tar_of, tree, write

from neural_similarity.data import origin, registry

BIRDS = dataclasses.replace(
    TINY,
    name="birds",
    title="Tiny birds",
    page="https://example.org/birds.html",
    folder="birds",
    released_folder=None,
    archives=(
        registry.Archive(
            name="photos.tar.gz",
            url="https://nowhere.invalid/photos.tar.gz",
            md5=None,
            file_counts={"images/*/*.jpg": 6},
            line_counts={"images.txt": 6},
        ),
        registry.Archive(
            name="parts.tgz",
            url="https://nowhere.invalid/parts.tgz",
            md5=None,
            file_counts={"parts/*.jpg": 2},
        ),
    ),
    next_command="python birds.py",
)
COUNTED = (
    "only counted, as no checksum is known: `images/*/*.jpg` (6 files), `images.txt` (6 lines), `parts/*.jpg` (2 files)"
)


@pytest.fixture(scope="module")
def jpeg(tmp_path_factory):
    """The bytes of a JPEG."""
    return save(tmp_path_factory.mktemp("jpeg") / "a.jpg", pixels(8, 8)).read_bytes()


@pytest.fixture
def photos(jpeg):
    """The files that the first archive brings."""
    names = [f"images/{name}/{i}.jpg" for name in ("owl", "robin", "wren") for i in range(2)]
    return dict.fromkeys(names, jpeg) | {"images.txt": "\n".join(names).encode()}


@pytest.fixture
def parts(jpeg):
    """The files that the second archive brings."""
    return {"parts/0.jpg": jpeg, "parts/1.jpg": jpeg}


@pytest.fixture(autouse=True)
def server(monkeypatch, tmp_path, photos, parts):
    """A server of both archives. Each holds files that the set does not need, too."""
    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", str(tmp_path / "root"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        archives = tuple(dataclasses.replace(a, url=server.url(a.name)) for a in BIRDS.archives)
        monkeypatch.setattr(registry, "DATA_SETS", {"birds": dataclasses.replace(BIRDS, archives=archives)})
        server.files = {
            "/photos.tar.gz": tar_of("birds", {**photos, "images/owl/note.txt": b"about", "images/list.jpg": b"deep"}),
            "/parts.tgz": tar_of("birds", parts),
        }
        yield server


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    return folder


def write_tree(folder, content):
    for name, content_of_one in content.items():
        path = folder / name
        write(path.parent, {path.name: content_of_one})


def test_the_set_is_downloaded_and_said_to_be_only_counted(capsys, server, root, photos, parts):
    code, out, _ = run(capsys, "birds")
    assert code == 0
    assert tree(root) == {f"birds/{name}": content for name, content in (photos | parts).items()}
    assert f"birds: complete in {root / 'birds'}; {COUNTED}\n" in out
    assert f"birds: images/*/*.jpg unpacked from {root / 'photos.tar.gz.part'}\n" in out
    assert run(capsys, "birds")[0] == 0
    assert server.requests == [None, None]  # the second call asks for nothing


@pytest.mark.parametrize(
    ("damage", "archive"),
    [
        (lambda folder: (folder / "images" / "owl" / "1.jpg").unlink(), "photos.tar.gz"),
        (lambda folder: (folder / "images" / "owl" / "1.jpg").write_bytes(b""), "photos.tar.gz"),
        (lambda folder: (folder / "images.txt").write_text("images/owl/0.jpg\n" * 5), "photos.tar.gz"),
        (lambda folder: (folder / "images.txt").write_text("images/owl/0.jpg\n" * 7), "photos.tar.gz"),
        (lambda folder: (folder / "images.txt").unlink(), "photos.tar.gz"),
        (lambda folder: (folder / "parts" / "0.jpg").unlink(), "parts.tgz"),
    ],
)
def test_what_is_missing_is_put_back_from_its_own_archive(capsys, server, root, photos, parts, damage, archive):
    assert run(capsys, "birds")[0] == 0
    damage(root / "birds")
    code, out, _ = run(capsys, "birds")
    assert code == 0
    assert tree(root / "birds") == photos | parts
    assert out.count("downloading") == 1
    assert f"downloading {server.url(archive)}\n" in out


def test_the_end_of_the_last_line_may_lack(capsys, root, photos):
    """The list of the fixture has none; this one has."""
    assert run(capsys, "birds")[0] == 0
    (root / "birds" / "images.txt").write_bytes(photos["images.txt"] + b"\n")
    _, out, _ = run(capsys, "birds")
    assert "downloading" not in out


def test_a_web_page_in_place_of_the_archive(capsys, server, root):
    server.answers = [sending(HTML)]
    code, _, err = run(capsys, "birds")
    assert code == 2
    assert (
        f"dataset_setup.sh: birds: {server.url('photos.tar.gz')}: expected a whole .tar.gz archive, and it cannot be "
        "read as one (Not a gzipped file (b'\\n<')) (starts with `<!DOCTYPE`: a web page, not an archive). It was "
        "deleted.\n  Next, later: ./dataset_setup.sh birds\n  Or get photos.tar.gz from https://example.org/birds.html "
        "by hand; then, DIR being the folder with it: ./dataset_setup.sh birds --from DIR\n"
    ) in err
    assert tree(root) == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images/owl/1.jpg": None}, "expected 6 files of birds/images/*/*.jpg, found 5 files"),
        ({"images/owl/1.jpg": b""}, "expected 6 files of birds/images/*/*.jpg, found 5 files"),
        ({"images/owl/2.jpg": b"more"}, "expected 6 files of birds/images/*/*.jpg, found 7 files"),
        ({"images.txt": b"one\ntwo\n"}, "expected 6 lines of birds/images.txt, found 2 lines"),
        ({"images.txt": None}, "expected 6 lines of birds/images.txt, found none"),
    ],
)
def test_an_archive_with_other_counts(capsys, server, root, photos, change, words):
    content = {name: c for name, c in (photos | change).items() if c is not None}
    server.files["/photos.tar.gz"] = tar_of("birds", content)
    code, _, err = run(capsys, "birds")
    assert code == 2
    assert f"birds: {server.url('photos.tar.gz')}: {words}. It was deleted.\n" in err
    assert tree(root) == {}


def test_two_faults_are_both_named(capsys, server):
    server.files["/photos.tar.gz"] = tar_of("elsewhere", {"images.txt": b"one"})
    _, _, err = run(capsys, "birds")
    assert (
        "expected 6 files of birds/images/*/*.jpg, found none; expected 6 lines of birds/images.txt, found none. "
    ) in err


@pytest.mark.parametrize("lost", [1, 8, 20, 100])
def test_an_archive_that_lacks_its_end(capsys, server, root, lost):
    """Up to 8 bytes are gzip's checksum and length: without a reading to the very end nobody would notice."""
    server.files["/photos.tar.gz"] = server.files["/photos.tar.gz"][:-lost]
    code, _, err = run(capsys, "birds")
    assert code == 2
    assert "expected a whole .tar.gz archive, and it cannot be read as one (" in err
    assert tree(root) == {}


def test_an_archive_with_one_other_byte(capsys, server, root):
    """Uncompressed, so that nothing but gzip's checksum can tell."""
    content = bytearray(gzip.compress(gzip.decompress(server.files["/photos.tar.gz"]), compresslevel=0))
    position = content.index(b"\xff\xd8\xff") + 100  # in a JPEG
    content[position] ^= 1
    server.files["/photos.tar.gz"] = bytes(content)
    code, _, err = run(capsys, "birds")
    assert code == 2
    assert "cannot be read as one (CRC check failed" in err
    assert tree(root) == {}


@pytest.mark.parametrize(
    ("stranger", "what"),
    [
        (member("birds/images/owl/../../../../2.jpg"), "leads out of the folder"),
        (member("/tmp/2.jpg"), "leads out of the folder"),
        (member("birds/images/owl/2.jpg", tarfile.SYMTYPE, "/etc/passwd"), "is a link to '/etc/passwd'"),
    ],
)
def test_an_archive_with_a_member_that_leads_elsewhere_is_refused(capsys, server, root, photos, stranger, what):
    archive = server.files["/photos.tar.gz"] = tar_of("birds", photos, stranger)
    code, _, err = run(capsys, "birds")
    assert code == 2
    partial = root / "photos.tar.gz.part"
    assert f"{partial}: expected files in birds/ alone, but its member {stranger.name!r} {what}." in err
    assert read(root.parent) == {}
    assert tree(root) == {partial.name: archive}


def test_a_broken_download_goes_on(capsys, monkeypatch, server, root, photos, parts):
    half = len(server.files["/photos.tar.gz"]) // 2
    monkeypatch.setattr("neural_similarity.data.download.WAITS_S", (0,))
    server.answers = [first(half), first(0), first(0)]
    assert run(capsys, "birds")[0] == 2
    assert read(root).keys() == {"photos.tar.gz.part"}
    assert run(capsys, "birds")[0] == 0
    assert tree(root / "birds") == photos | parts
    assert server.requests[-2:] == [f"bytes={half}-", None]  # the second is for the other archive


def test_an_interruption_of_the_unpacking_is_no_whole_set(capsys, monkeypatch, server, root, photos, parts):
    def interrupt_the_fourth(descriptor):
        synced.append(descriptor)
        if len(synced) == 4:
            raise KeyboardInterrupt

    synced = []
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", interrupt_the_fourth)
        assert run(capsys, "birds")[0] == 130
    assert len(tree(root / "birds")) == 3  # whole files
    code, out, _ = run(capsys, "birds")
    assert code == 0
    assert tree(root / "birds") == photos | parts
    assert f"downloading {server.url('photos.tar.gz')}" not in out  # it was whole


def test_strangers_among_the_files_are_not_taken_for_the_sets(capsys, server, root):
    write_tree(root / "birds", {f"images/owl/{i}.jpg": b"mine" for i in range(7)})
    code, _, err = run(capsys, "birds")
    assert code == 2
    assert err == (
        f"dataset_setup.sh: birds: {root / 'birds'}/images/*/*.jpg: expected 6 files, found 7. Next: move "
        f"{root / 'birds'} away, then: ./dataset_setup.sh birds\n"
    )
    assert server.requests == []


def test_a_stranger_beside_the_unpacked_files_is_found_too(capsys, root):
    write_tree(root / "birds", {"images/eagle/0.jpg": b"mine"})
    code, _, err = run(capsys, "birds")
    assert code == 2
    assert "expected 6 files, found 7. Next: move " in err


@pytest.mark.parametrize("place", [".", "birds", "data/birds"])
def test_unpacked_files_are_copied(capsys, server, root, source, photos, parts, place):
    write_tree(source / place, photos | parts | {"images/owl/note.txt": b"about"})
    code, out, err = run(capsys, "birds", "--from", source)
    assert (code, err) == (0, "")
    assert tree(root / "birds") == photos | parts
    assert f"birds: images/*/*.jpg copied from {source / place}\n" in out
    assert server.requests == []


def test_archives_of_a_folder_are_unpacked(capsys, server, root, source, photos, parts):
    write(source, {name.strip("/"): content for name, content in server.files.items()})
    assert run(capsys, "birds", "--from", source)[0] == 0
    assert tree(root / "birds") == photos | parts


def test_half_a_tree_in_the_source_is_refused(capsys, root, source, photos, parts):
    half = {name: content for name, content in photos.items() if "wren" not in name}
    write_tree(source, half | parts)
    code, _, err = run(capsys, "birds", "--from", source)
    assert code == 2
    assert f"birds: {source}/images/*/*.jpg: expected 6 files, got 4 files.\n" in err
    assert f"Put good copies of them, or of photos.tar.gz from https://example.org/birds.html, in {source}, " in err
    assert tree(root / "birds").keys() == {"images.txt"}


def test_an_archive_with_an_md5_may_hold_counted_files(capsys, monkeypatch, server, root, photos, parts):
    """Then the MD5 decides whether it is the right archive, and a later call counts."""
    photo_archive, part_archive = registry.DATA_SETS["birds"].archives
    right = md5(server.files["/photos.tar.gz"])
    for archive_md5 in ("0" * 32, right):
        archives = (dataclasses.replace(photo_archive, md5=archive_md5), part_archive)
        entry = dataclasses.replace(registry.DATA_SETS["birds"], archives=archives)
        monkeypatch.setitem(registry.DATA_SETS, "birds", entry)
        code, _, err = run(capsys, "birds")
        if archive_md5 == right:
            assert code == 0
            assert tree(root / "birds").keys() == {*photos, *parts, origin.NAME}
            assert origin.read_note(root / "birds") == "unpacked from the official photos.tar.gz"
        else:
            assert code == 2
            assert f"expected MD5 {archive_md5}, got {right}. It was deleted." in err
            assert tree(root) == {}
    (root / "birds" / "images" / "owl" / "0.jpg").unlink()
    code, out, _ = run(capsys, "birds")
    assert code == 0
    assert f"images/*/*.jpg unpacked from {root / 'photos.tar.gz.part'}" in out


def test_an_archive_that_holds_less_than_the_registry_says(capsys, monkeypatch, server, root):
    """Its MD5 is right, so the registry is wrong: that is said, and nothing is downloaded in vain again."""
    archive = dataclasses.replace(
        registry.DATA_SETS["birds"].archives[0],
        md5=md5(server.files["/photos.tar.gz"]),
        file_counts={"images/*/*.jpg": 60},
    )
    entry = dataclasses.replace(registry.DATA_SETS["birds"], archives=(archive,))
    monkeypatch.setitem(registry.DATA_SETS, "birds", entry)
    for _ in range(2):
        code, _, err = run(capsys, "birds")
        assert code == 2
        assert "photos.tar.gz.part is the archive expected, but does not hold the right images/*/*.jpg in birds/" in err
    assert server.requests == [None]
