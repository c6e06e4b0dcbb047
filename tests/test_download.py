"""dataset_setup.sh downloading, from a server on this machine that answers each request as the test has it."""

import fcntl
import os
import socket

import pytest
from file_server import failing, first, hang_up, reset, sending, serving, stall, whole, without_length, wrong_span
from tiny_sets import (
    ARCHIVE,
    CONTENT,
    HTML,
    OTHER,
    OTHER_CONTENT,
    TINY,
    assert_complete,
    closed_port,
    md5,
    member,
    read,
    run,
    tar_of,
    with_archive,
    write,
)

from neural_similarity.data import download, registry
from neural_similarity.data.places import REPOSITORY

HALF = len(ARCHIVE) // 2
NEXT = "./dataset_setup.sh tiny10"


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def tiny_sets(monkeypatch, tmp_path, server):
    tiny = with_archive(TINY, url=server.url("tiny.tar.gz"))
    other = with_archive(OTHER, url=server.url("other.tar.gz"))
    monkeypatch.setattr(registry, "DATA_SETS", {"tiny10": tiny, "other": other})
    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", str(tmp_path / "root"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "WAITS_S", (0, 0, 0))


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.fixture
def partial(root):
    return root / "tiny.tar.gz.part"


def test_a_set_is_downloaded_and_only_its_files_are_left(capsys, server, root):
    code, out, err = run(capsys, "tiny10")
    assert code == 0
    assert_complete(root)
    assert server.requests == [None]
    assert out.startswith(f"tiny10: downloading {server.url('tiny.tar.gz')}\n")
    assert out.endswith(f"tiny10: complete in {root / 'tiny-bin'}\nNext, in {REPOSITORY}: python train.py\n")
    assert err.startswith("tiny.tar.gz: 100 %  0.0 of 0.0 MB")


def test_without_names_every_set_is_downloaded(capsys, server, root):
    assert run(capsys)[0] == 0
    assert read(root / "tiny-bin") == CONTENT
    assert read(root / "other-bin") == OTHER_CONTENT
    assert len(server.requests) == 2


def test_what_is_there_is_not_asked_for(capsys, server, root):
    assert run(capsys, "tiny10")[0] == 0
    before = {path.name: path.stat().st_mtime_ns for path in (root / "tiny-bin").iterdir()}
    assert run(capsys, "tiny10")[0] == 0
    assert len(server.requests) == 1
    assert {path.name: path.stat().st_mtime_ns for path in (root / "tiny-bin").iterdir()} == before


def test_a_damaged_file_is_replaced_and_a_right_one_kept(capsys, server, root):
    write(root / "tiny-bin", {**CONTENT, "b.bin": b"half"})
    inode = (root / "tiny-bin" / "a.bin").stat().st_ino
    assert run(capsys, "tiny10")[0] == 0
    assert_complete(root)
    assert (root / "tiny-bin" / "a.bin").stat().st_ino == inode


def test_an_archive_in_the_root_is_enough(capsys, server, root):
    write(root, {"tiny.tar.gz": ARCHIVE})
    assert run(capsys, "tiny10")[0] == 0
    assert server.requests == []


def test_a_wrong_archive_in_the_root_is_left_alone(capsys, server, root):
    write(root, {"tiny.tar.gz": ARCHIVE[:HALF]})
    code, out, _ = run(capsys, "tiny10")
    assert code == 0
    assert read(root / "tiny-bin") == CONTENT
    assert read(root) == {"tiny.tar.gz": ARCHIVE[:HALF]}
    assert f"{root / 'tiny.tar.gz'}: expected MD5 {md5(ARCHIVE)}, got {md5(ARCHIVE[:HALF])}. It is not used." in out


def test_a_source_is_never_completed_by_a_download(capsys, server, tmp_path):
    write(tmp_path / "mine", {"a.bin": CONTENT["a.bin"]})
    assert run(capsys, "tiny10", "--from", tmp_path / "mine")[0] == 2
    assert server.requests == []


@pytest.mark.parametrize("start", [1, HALF, len(ARCHIVE) - 1])
def test_a_partial_file_is_continued(capsys, server, root, partial, start):
    write(root, {partial.name: ARCHIVE[:start]})
    code, out, _ = run(capsys, "tiny10")
    assert code == 0
    assert_complete(root)
    assert server.requests == [f"bytes={start}-"]
    assert f"downloading {server.url('tiny.tar.gz')}, going on after {start:,} bytes\n" in out


def test_a_whole_partial_file_is_unpacked_without_a_request(capsys, server, root, partial):
    write(root, {partial.name: ARCHIVE})
    assert run(capsys, "tiny10")[0] == 0
    assert_complete(root)
    assert server.requests == []


@pytest.mark.parametrize("answer", [whole, without_length, wrong_span, failing(416)])
def test_a_server_that_does_not_go_on_sends_the_whole_file(capsys, server, root, partial, answer):
    write(root, {partial.name: ARCHIVE[:HALF]})
    server.answers = [answer]
    code, out, _ = run(capsys, "tiny10")
    assert code == 0
    assert_complete(root)
    assert "the pieces do not make the archive" not in out
    assert server.requests in ([f"bytes={HALF}-"], [f"bytes={HALF}-", None])


@pytest.mark.parametrize("stale", [b"x" * HALF, b"x" * len(ARCHIVE), b"x" * 2 * len(ARCHIVE)])
def test_a_stale_partial_file_gives_way(capsys, server, root, partial, stale):
    write(root, {partial.name: stale})
    code, out, _ = run(capsys, "tiny10")
    assert code == 0
    assert_complete(root)
    assert server.requests == [f"bytes={len(stale)}-", None]
    assert ("the pieces do not make the archive" in out) == (len(stale) < len(ARCHIVE))


def test_a_wrong_file_is_started_anew_only_once(capsys, server, root, partial):
    server.files["/tiny.tar.gz"] = HTML
    write(root, {partial.name: b"x"})
    code, _, err = run(capsys, "tiny10")
    assert code == 2
    assert f"got {md5(HTML)} " in err
    assert server.requests == ["bytes=1-", None]
    assert read(root) == {}


@pytest.mark.parametrize(("breaks", "came"), [(first(10), 10), (reset, 0), (hang_up, 0)])
def test_a_connection_that_breaks_off_is_taken_up_again(capsys, server, root, breaks, came):
    server.answers = [first(HALF), breaks]
    code, _, err = run(capsys, "tiny10")
    assert code == 0
    assert_complete(root)
    assert server.requests == [None, f"bytes={HALF}-", f"bytes={HALF + came}-"]
    assert f"broke off after {HALF:,} of {len(ARCHIVE):,} bytes: closed by the other side; trying again" in err
    assert err.count("trying again") == 2


def test_a_server_without_range_starts_over_each_time(capsys, server, root):
    server.answers = [first(HALF, whole), first(10, whole), whole]
    assert run(capsys, "tiny10")[0] == 0
    assert_complete(root)
    assert server.requests == [None, f"bytes={HALF}-", "bytes=10-"]


def test_a_connection_that_always_breaks_off_ends_in_one_message(capsys, server, root, partial):
    server.answers = [first(50), first(25), first(0), first(0), first(0)]
    code, _, err = run(capsys, "tiny10")
    assert code == 2
    assert server.requests == [None, "bytes=50-", "bytes=75-", "bytes=75-", "bytes=75-"]
    assert read(root) == {partial.name: ARCHIVE[:75]}
    assert not (root / "tiny-bin").exists()
    assert err.count("dataset_setup.sh: ") == 1
    assert (
        f"dataset_setup.sh: tiny10: {server.url('tiny.tar.gz')}: failed 4 times in a row, the last time: "
        f"closed by the other side. 75 of {len(ARCHIVE):,} bytes are in {partial}.\n"
        f"  Next, later: {NEXT} (goes on with what is there)\n"
        f"  Or get tiny.tar.gz (MD5 {md5(ARCHIVE)}) from https://example.org/tiny.html by hand; then, DIR being the "
        f"folder with it: {NEXT} --from DIR\n"
    ) in err
    assert run(capsys, "tiny10")[0] == 0
    assert_complete(root)
    assert server.requests[5:] == ["bytes=75-"]


def test_a_connection_that_brings_a_little_each_time_gets_there(server, capsys, root):
    server.answers = [first(19)] * 10
    assert run(capsys, "tiny10")[0] == 0
    assert_complete(root)
    assert len(server.requests) == 11


def test_a_server_that_starts_over_and_breaks_off_at_other_places_is_given_up(server, capsys, root):
    server.answers = [first(60, whole), first(50, whole), first(60, whole), first(50, whole)] * 3
    assert run(capsys, "tiny10")[0] == 2
    assert len(server.requests) == 4


def test_a_busy_server_is_asked_again(server, capsys, root):
    server.answers = [first(HALF), failing(503), failing(429)]
    code, _, err = run(capsys, "tiny10")
    assert code == 0
    assert_complete(root)
    assert "HTTP status 503 (Service Unavailable); trying again" in err
    server.answers = []


def test_a_server_that_stays_busy(server, capsys, root):
    server.answers = [failing(503)] * 4
    code, _, err = run(capsys, "tiny10")
    assert code == 2
    assert f"{server.url('tiny.tar.gz')}: failed 4 times in a row, the last time: HTTP status 503" in err
    assert read(root) == {}


def test_a_server_that_says_nothing_times_out(capsys, monkeypatch, server, root, partial):
    monkeypatch.setattr(download, "TIMEOUT_S", 0.05)
    monkeypatch.setattr(download, "WAITS_S", (0,))
    server.answers = [stall, stall]
    code, _, err = run(capsys, "tiny10")
    assert code == 2
    assert "failed 2 times in a row, the last time: timed out." in err
    assert f"{HALF:,} of {len(ARCHIVE):,} bytes are in {partial}." in err


def test_a_server_that_is_not_there(capsys, monkeypatch, root):
    url = f"http://127.0.0.1:{closed_port()}/tiny.tar.gz"
    monkeypatch.setitem(registry.DATA_SETS, "tiny10", with_archive(TINY, url=url))
    code, _, err = run(capsys, "tiny10")
    assert code == 2
    assert f"tiny10: {url}: no connection: Connection refused.\n  Next, later: {NEXT}\n  Or get tiny.tar.gz " in err
    assert err.rstrip().endswith(f"{NEXT} --from DIR")
    assert "trying again" not in err
    assert read(root) == {}


def test_a_name_that_cannot_be_resolved_keeps_what_is_there(capsys, monkeypatch, root, partial):
    def unknown(*arguments, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    write(root, {partial.name: ARCHIVE[:HALF]})
    code, _, err = run(capsys, "tiny10")
    assert code == 2
    assert f"no connection: Name or service not known.\n  Next, later: {NEXT} (goes on with what is there)\n" in err
    assert read(root) == {partial.name: ARCHIVE[:HALF]}


def test_a_network_that_goes_away_for_a_moment(capsys, monkeypatch, server, root):
    connect = socket.create_connection
    calls = []

    def away_the_second_time(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(101, "Network is unreachable")
        return connect(*arguments, **options)

    monkeypatch.setattr(socket, "create_connection", away_the_second_time)
    server.answers = [first(HALF)]
    code, _, err = run(capsys, "tiny10")
    assert code == 0
    assert_complete(root)
    assert f"{HALF:,} of {len(ARCHIVE):,} bytes: Network is unreachable; trying again" in err


@pytest.mark.parametrize(("status", "words"), [(404, "Not Found"), (403, "Forbidden"), (204, "No Content")])
def test_another_status(capsys, server, root, status, words):
    server.answers = [failing(status)]
    code, _, err = run(capsys, "tiny10")
    assert code == 2
    assert f"{server.url('tiny.tar.gz')}: expected the file, got HTTP status {status} ({words}).\n" in err
    assert "from https://example.org/tiny.html by hand" in err
    assert server.requests == [None]
    assert read(root) == {}


def test_one_set_that_fails_does_not_stop_the_next(capsys, server, root):
    server.answers = [failing(404)]
    code, out, _ = run(capsys)
    assert code == 2
    assert read(root / "other-bin") == OTHER_CONTENT
    assert "Next" not in out


def test_a_web_page_is_named_and_deleted(capsys, server, root):
    server.answers = [sending(HTML)]
    code, _, err = run(capsys, "tiny10")
    assert code == 2
    assert (
        f"dataset_setup.sh: tiny10: {server.url('tiny.tar.gz')}: expected MD5 {md5(ARCHIVE)}, got {md5(HTML)} (starts "
        f"with `<!DOCTYPE`: a web page, not an archive). It was deleted.\n  Next, later: {NEXT}\n"
    ) in err
    assert read(root) == {}
    assert not (root / "tiny-bin").exists()


@pytest.mark.parametrize("wrong", [b"x" * len(ARCHIVE), ARCHIVE[:HALF], b""])
def test_wrong_bytes_are_deleted(capsys, server, root, wrong):
    server.answers = [sending(wrong)]
    code, _, err = run(capsys, "tiny10")
    assert code == 2
    assert f"expected MD5 {md5(ARCHIVE)}, got {md5(wrong)}. It was deleted." in err
    assert server.requests == [None]
    assert read(root) == {}


def test_a_refused_archive_is_kept_for_unpacking_by_hand(capsys, monkeypatch, server, root, partial):
    archive = tar_of("tiny-bin", CONTENT, member("../a.bin"))
    server.files["/tiny.tar.gz"] = archive
    entry = with_archive(registry.DATA_SETS["tiny10"], md5=md5(archive))
    monkeypatch.setitem(registry.DATA_SETS, "tiny10", entry)
    code, _, err = run(capsys, "tiny10")
    assert code == 2
    assert f"{partial}: expected files in tiny-bin/ alone, but its member '../a.bin' leads out of the folder." in err
    assert read(root) == {partial.name: archive}
    assert not (root / "tiny-bin").exists()
    assert not (root.parent / "a.bin").exists()


def test_a_second_process_says_so_and_leaves_the_first_alone(capsys, server, root, partial):
    write(root, {partial.name: ARCHIVE[:HALF]})
    with partial.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        code, _, err = run(capsys, "tiny10")
    assert code == 2
    assert err == (
        f"dataset_setup.sh: tiny10: another process is downloading it to {partial}. Next, when that has ended: {NEXT}\n"
    )
    assert server.requests == []
    assert read(root) == {partial.name: ARCHIVE[:HALF]}


@pytest.mark.parametrize("replaced", [False, True])
def test_a_partial_file_that_the_other_process_has_just_removed_is_not_used(monkeypatch, partial, replaced):
    """Without a second look the lock would be on a file that nobody else can see."""
    lock = fcntl.flock
    calls = []

    def remove_the_first(file, kind):
        calls.append(file)
        lock(file, kind)
        if len(calls) == 1:
            partial.unlink()
            if replaced:
                partial.touch()

    partial.parent.mkdir()
    monkeypatch.setattr(fcntl, "flock", remove_the_first)
    with download.alone(partial) as file:
        assert len(calls) == 2
        assert os.path.samestat(os.fstat(file.fileno()), partial.stat())
    assert not partial.exists()


def test_what_another_process_finished_meanwhile_is_not_downloaded_again(capsys, monkeypatch, server, root):
    lock = download._lock

    def finished_meanwhile(path):
        write(root / "tiny-bin", CONTENT)
        return lock(path)

    monkeypatch.setattr(download, "_lock", finished_meanwhile)
    assert run(capsys, "tiny10")[0] == 0
    assert server.requests == []
    assert_complete(root)


def test_a_full_disk_is_told_as_such_and_the_partial_file_kept(capsys, monkeypatch, server, root, partial):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    write(root, {partial.name: ARCHIVE[:HALF]})
    monkeypatch.setattr(download, "_receive", full)
    code, _, err = run(capsys, "tiny10")
    assert code == 2
    assert f"tiny10: {root / 'tiny-bin'}: No space left on device. Check permissions and free space" in err
    assert read(root) == {partial.name: ARCHIVE[:HALF]}
    assert len(server.requests) == 1


@pytest.mark.parametrize("interrupted", ["receiving", "unpacking"])
def test_an_interruption_keeps_what_came(capsys, monkeypatch, server, root, partial, interrupted):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if interrupted == "receiving":
            server.answers = [first(HALF)]
            patch.setattr(download.time, "sleep", interrupt)  # after half of it
        else:
            patch.setattr(os, "fsync", interrupt)
        code, _, err = run(capsys, "tiny10")
    assert code == 130
    assert err.endswith(f"dataset_setup.sh: tiny10: interrupted; what came is kept. Next, to go on: {NEXT}\n")
    assert read(root) == {partial.name: ARCHIVE[:HALF] if interrupted == "receiving" else ARCHIVE}
    assert read(root / "tiny-bin") == {}
    assert run(capsys, "tiny10")[0] == 0
    assert_complete(root)
    assert server.requests == ([None, f"bytes={HALF}-"] if interrupted == "receiving" else [None])
