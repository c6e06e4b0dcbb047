"""dataset_setup.sh, with a registry of tiny sets in place of the real one; the wrapper itself as a program.

Nothing here is downloaded; test_download.py does that.
"""

import dataclasses
import errno
import os
import tarfile

import pytest
from tiny_sets import (
    ARCHIVE,
    CONTENT,
    HTML,
    OTHER,
    OTHER_CONTENT,
    TINY,
    md5,
    member,
    read,
    run,
    tar_of,
    with_archive,
    write,
)

from neural_similarity.data import download, registry, setup
from neural_similarity.data.places import REPOSITORY, default_root


@pytest.fixture(autouse=True)
def tiny_sets(monkeypatch, tmp_path):
    """The default root is tmp_path/root; whatever wants to download fails."""
    monkeypatch.setattr(registry, "DATA_SETS", {"tiny10": TINY, "other": OTHER})
    monkeypatch.setattr(download, "fetch", lambda url, file, most_bytes: pytest.fail(f"{url} is asked for"))
    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", str(tmp_path / "root"))


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("place", [".", "tiny-bin", "tiny", "data/tiny", "data/tiny-bin"])
def test_files_are_found_in_every_usual_layout(capsys, root, source, place):
    write(source / place, CONTENT)
    code, out, err = run(capsys, "tiny10", "--from", source)
    assert (code, err) == (0, "")
    assert read(root / "tiny-bin") == CONTENT
    assert f"tiny10: complete in {root / 'tiny-bin'}" in out
    assert out.splitlines()[-1] == f"Next, in {REPOSITORY}: python train.py"


def test_files_are_unpacked_from_the_archive(capsys, root, source):
    (source / "tiny.tar.gz").write_bytes(ARCHIVE)
    code, out, _ = run(capsys, "tiny10", "--from", source)
    assert code == 0
    assert read(root / "tiny-bin") == CONTENT  # and no readme
    assert read(source).keys() == {"tiny.tar.gz"}
    assert f"a.bin unpacked from {source / 'tiny.tar.gz'}" in out


def test_the_archive_fills_what_the_files_lack(capsys, root, source):
    write(source, {"a.bin": CONTENT["a.bin"], "b.bin": b"damaged", "tiny.tar.gz": ARCHIVE})
    code, out, _ = run(capsys, "tiny10", "--from", source)
    assert code == 0
    assert read(root / "tiny-bin") == CONTENT
    assert "a.bin copied" in out
    assert "b.bin unpacked" in out


def test_a_right_copy_is_found_behind_a_wrong_one(capsys, root, source):
    write(source, {"a.bin": b"damaged", "b.bin": b"damaged"})
    write(source / "data" / "tiny", CONTENT)
    assert run(capsys, "tiny10", "--from", source)[0] == 0
    assert read(root / "tiny-bin") == CONTENT


def test_without_names_all_sets_are_put_in_place(capsys, root, source):
    write(source, {**CONTENT, **OTHER_CONTENT})
    code, out, _ = run(capsys, "--from", source)
    assert code == 0
    assert read(root / "tiny-bin") == CONTENT
    assert read(root / "other-bin") == OTHER_CONTENT
    assert "python train.py" in out
    assert "python other.py" in out


def test_one_failing_set_does_not_stop_the_next(capsys, root, source):
    write(source, OTHER_CONTENT)
    code, out, err = run(capsys, "--from", source)
    assert code == 2
    assert read(root / "other-bin") == OTHER_CONTENT
    assert "tiny10: 2 of 2 files not found" in err
    assert "Next" not in out


def test_files_that_are_right_are_kept(capsys, root, source):
    write(source, CONTENT)
    run(capsys, "tiny10", "--from", source)
    before = {path.name: path.stat().st_mtime_ns for path in (root / "tiny-bin").iterdir()}
    inodes = {path.name: path.stat().st_ino for path in (root / "tiny-bin").iterdir()}
    for arguments in (["tiny10", "--from", source], ["tiny10"]):
        code, out, _ = run(capsys, *arguments)
        assert code == 0
        assert out.startswith(f"tiny10: complete in {root / 'tiny-bin'}\n")
    assert {path.name: path.stat().st_mtime_ns for path in (root / "tiny-bin").iterdir()} == before
    assert {path.name: path.stat().st_ino for path in (root / "tiny-bin").iterdir()} == inodes


def test_only_what_is_missing_is_copied_and_what_is_wrong_is_replaced(capsys, root, source):
    write(root / "tiny-bin", {"a.bin": CONTENT["a.bin"], "b.bin": b"half"})
    write(source, CONTENT)
    code, out, _ = run(capsys, "tiny10", "--from", source)
    assert code == 0
    assert read(root / "tiny-bin") == CONTENT
    assert "a.bin" not in out
    assert "b.bin copied" in out


def test_a_file_with_another_md5_is_never_put_in_place(capsys, root, source):
    write(source, {"a.bin": CONTENT["a.bin"], "b.bin": b"damaged"})
    code, out, err = run(capsys, "tiny10", "--from", source)
    assert code == 2
    assert read(root / "tiny-bin") == {"a.bin": CONTENT["a.bin"]}
    assert f"{source / 'b.bin'}: expected MD5 {md5(CONTENT['b.bin'])}, got {md5(b'damaged')}." in err
    assert "web page" not in err
    assert "not found" not in err
    assert err.rstrip().endswith(f"./dataset_setup.sh tiny10 --from {source}")
    assert "complete" not in out


def test_a_failed_replacement_leaves_the_old_file(capsys, root, source):
    write(root / "tiny-bin", {**CONTENT, "b.bin": b"old"})
    write(source, {"b.bin": b"damaged"})
    assert run(capsys, "tiny10", "--from", source)[0] == 2
    assert read(root / "tiny-bin") == {**CONTENT, "b.bin": b"old"}


def test_a_saved_web_page_is_named(capsys, root, source):
    write(source, {"a.bin": HTML, "b.bin": CONTENT["b.bin"]})
    code, _, err = run(capsys, "tiny10", "--from", source)
    assert code == 2
    assert f"got {md5(HTML)} (starts with `<!DOCTYPE`: a web page, not data)." in err
    (source / "a.bin").unlink()
    (source / "tiny.tar.gz").write_bytes(HTML)
    code, _, err = run(capsys, "tiny10", "--from", source)
    assert code == 2
    assert f"{source / 'tiny.tar.gz'}: expected MD5 {md5(ARCHIVE)}, got {md5(HTML)} " in err
    assert "(starts with `<!DOCTYPE`: a web page, not an archive)" in err
    assert "Delete it, get it again from https://example.org/tiny.html" in err
    assert err.rstrip().endswith(f"./dataset_setup.sh tiny10 --from {source}")
    assert read(root / "tiny-bin") == {"b.bin": CONTENT["b.bin"]}


def test_a_truncated_archive_is_refused(capsys, root, source):
    (source / "tiny.tar.gz").write_bytes(ARCHIVE[:-20])
    code, _, err = run(capsys, "tiny10", "--from", source)
    assert code == 2
    assert f"expected MD5 {md5(ARCHIVE)}, got {md5(ARCHIVE[:-20])}." in err
    assert read(root / "tiny-bin") == {}


def test_every_missing_file_and_every_place_is_named(capsys, root, source):
    code, out, err = run(capsys, "tiny10", "--from", source)
    assert code == 2
    assert "tiny10: 2 of 2 files not found: a.bin, b.bin." in err
    for place in ("", "/tiny-bin", "/tiny", "/data/tiny", "/data/tiny-bin"):
        assert f"{source}{place}," in err
    assert f"the archive {source / 'tiny.tar.gz'}" in err
    assert f"(MD5 {md5(ARCHIVE)}) from https://example.org/tiny.html" in err
    assert err.rstrip().endswith(f"./dataset_setup.sh tiny10 --from {source}")
    assert out == ""
    assert not root.exists()


def test_without_a_source_the_archive_in_the_root_is_used_and_kept(capsys, root):
    write(root / "tiny-bin", {"a.bin": HTML})
    write(root, {"tiny.tar.gz": ARCHIVE})
    code, out, err = run(capsys, "tiny10")
    assert (code, err) == (0, "")
    assert read(root / "tiny-bin") == CONTENT
    assert read(root) == {"tiny.tar.gz": ARCHIVE}
    assert f"a.bin unpacked from {root / 'tiny.tar.gz'}" in out


@pytest.mark.parametrize(
    ("stranger", "what"),
    [
        (member("tiny-bin/../../a.bin"), "leads out of the folder"),
        (member("../a.bin"), "leads out of the folder"),
        (member("/tmp/a.bin"), "leads out of the folder"),
        (member("tiny-bin/a.bin", tarfile.SYMTYPE, "/etc/passwd"), "is a link to '/etc/passwd'"),
        (member("tiny-bin/b.bin", tarfile.LNKTYPE, "tiny-bin/a.bin"), "is a link to 'tiny-bin/a.bin'"),
    ],
)
def test_an_archive_with_a_member_that_leads_elsewhere_is_refused(capsys, monkeypatch, root, stranger, what):
    archive = tar_of("tiny-bin", CONTENT, stranger)
    monkeypatch.setitem(registry.DATA_SETS, "tiny10", with_archive(TINY, md5=md5(archive)))
    write(root, {"tiny.tar.gz": archive})
    code, out, err = run(capsys, "tiny10")
    assert (code, out) == (2, "")
    assert f"expected files in tiny-bin/ alone, but its member {stranger.name!r} {what}. Nothing was unpacked." in err
    assert len(err.splitlines()) == 1
    assert err.rstrip().endswith("./dataset_setup.sh tiny10 --from DIR")
    assert sorted(path.name for path in root.parent.rglob("*")) == ["root", "tiny.tar.gz"]


def test_files_outside_the_folder_are_not_taken_for_the_sets(capsys, monkeypatch, root):
    archive = tar_of("elsewhere", CONTENT)
    monkeypatch.setitem(registry.DATA_SETS, "tiny10", with_archive(TINY, md5=md5(archive)))
    write(root, {"tiny.tar.gz": archive})
    code, _, err = run(capsys, "tiny10")
    assert code == 2
    assert (
        f"{root / 'tiny.tar.gz'} is the archive expected, but does not hold the right a.bin, b.bin in tiny-bin/." in err
    )
    assert read(root / "tiny-bin") == {}


def test_a_source_that_is_no_folder(capsys, tmp_path, source):
    code, _, err = run(capsys, "tiny10", "--from", tmp_path / "nowhere")
    assert code == 2
    assert f"there is no folder {tmp_path / 'nowhere'}" in err
    assert err.rstrip().endswith("--from DIR")
    (source / "tiny.tar.gz").write_bytes(ARCHIVE)
    code, _, err = run(capsys, "--from", source / "tiny.tar.gz")
    assert code == 2
    assert err.rstrip().endswith(f"is a file; name the folder that it is in: --from {source}")


def test_an_unknown_set_is_refused_before_anything_is_copied(capsys, root, source):
    write(source, CONTENT)
    code, _, err = run(capsys, "tiny10", "tiny-1O", "--from", source)
    assert code == 2
    assert "Unknown data set `tiny-1O`; known: tiny10, other. Did you mean: ./dataset_setup.sh tiny10" in err
    assert not root.exists()
    code, _, err = run(capsys, "imagenet")
    assert code == 2
    assert "Did you mean" not in err
    assert "./dataset_setup.sh --help" in err


def test_a_folder_that_cannot_be_made(capsys, root, source):
    write(source, CONTENT)
    root.write_text("a file where the folder should be")
    code, _, err = run(capsys, "tiny10", "--from", source)
    assert code == 2
    assert f"tiny10: {root / 'tiny-bin'}: Not a directory. Check permissions and free space" in err
    assert f"then: ./dataset_setup.sh tiny10 --from {source} " in err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_failed_write_leaves_nothing_behind(capsys, monkeypatch, root, source, number):
    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    write(source, CONTENT)
    monkeypatch.setattr(os, "fsync", fail)
    code, _, err = run(capsys, "tiny10", "--from", source)
    assert code == 2
    assert err.startswith(f"dataset_setup.sh: tiny10: {root / 'tiny-bin'}: {os.strerror(number)}. ")
    assert read(root / "tiny-bin") == {}


def test_an_unreadable_source(capsys, monkeypatch, source):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(setup.Path, "is_dir", refuse)
    code, _, err = run(capsys, "tiny10", "--from", source)
    assert code == 2
    assert f"--from: {source}: Permission denied. Name a folder that you may read" in err


def test_an_interruption_leaves_whole_files_only(capsys, monkeypatch, root, source):
    synced = []

    def interrupt_the_second(descriptor):
        synced.append(descriptor)
        if len(synced) == 2:
            raise KeyboardInterrupt

    write(source, CONTENT)
    monkeypatch.setattr(os, "fsync", interrupt_the_second)
    code, _, err = run(capsys, "tiny10", "--from", source)
    assert code == 130
    assert "tiny10: interrupted" in err
    assert read(root / "tiny-bin") == {"a.bin": CONTENT["a.bin"]}


def test_the_root_may_be_the_source(capsys, root):
    write(root / "tiny-bin", {"a.bin": CONTENT["a.bin"]})
    write(root, {"tiny.tar.gz": ARCHIVE})
    assert run(capsys, "tiny10", "--from", root)[0] == 0
    assert read(root / "tiny-bin") == CONTENT


def test_others_may_read_the_files(capsys, root, source):
    write(source, CONTENT)
    old = os.umask(0o022)
    try:
        run(capsys, "tiny10", "--from", source)
    finally:
        os.umask(old)
    assert (root / "tiny-bin" / "a.bin").stat().st_mode & 0o777 == 0o644


def test_root_beats_the_environment_and_is_passed_on(capsys, monkeypatch, tmp_path, root, source):
    write(source, CONTENT)
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "--root", "here", "tiny10", "--from", "mine")
    assert code == 0
    assert read(tmp_path / "here" / "tiny-bin") == CONTENT
    assert not root.exists()
    assert out.rstrip().endswith(f"python train.py --set data.root={tmp_path / 'here'}")


def test_the_next_command_keeps_the_root_and_is_quoted(capsys, tmp_path, source):
    _, _, err = run(capsys, "tiny10", "--from", source, "--root", tmp_path / "my data")
    assert err.rstrip().endswith(f"./dataset_setup.sh tiny10 --from {source} --root '{tmp_path}/my data'")


def test_default_root(monkeypatch, tmp_path):
    repository = REPOSITORY
    monkeypatch.chdir(tmp_path)
    assert default_root({}) == repository / "data"
    assert default_root({"NEURAL_SIMILARITY_DATA": ""}) == repository / "data"
    assert default_root({"NEURAL_SIMILARITY_DATA": "sets/mine"}) == repository / "sets" / "mine"
    assert default_root({"NEURAL_SIMILARITY_DATA": str(tmp_path)}) == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_root({"NEURAL_SIMILARITY_DATA": "~/sets"}) == tmp_path / "sets"


def test_a_set_with_the_images_of_another_sets_that_up(capsys, monkeypatch, root, source):
    fields = {field.name: getattr(TINY, field.name) for field in dataclasses.fields(registry.DataSet)}
    regrouped = registry.RegroupedSet(**fields | {"name": "tiny_fs"}, images_of="tiny10", next_command="python fs.py")
    monkeypatch.setitem(registry.DATA_SETS, "tiny_fs", regrouped)
    write(source, CONTENT)
    code, out, err = run(capsys, "tiny_fs", "--from", source)
    assert (code, err) == (0, "")
    assert "tiny_fs: its images are those of tiny10, which is set up\n" in out
    assert read(root / "tiny-bin") == CONTENT
    assert out.endswith(f"Next, in {REPOSITORY}: python fs.py\n")
    monkeypatch.setitem(registry.DATA_SETS, "tiny10", dataclasses.replace(TINY, folder="elsewhere"))
    (source / "a.bin").unlink()
    assert "./dataset_setup.sh tiny10 --from" in run(capsys, "tiny_fs", "--from", source)[2]


def test_without_names_what_is_downloaded_is_set_up(monkeypatch):
    monkeypatch.undo()
    assert list(setup.downloaded_sets()) == ["cifar10", "cifar100"]
