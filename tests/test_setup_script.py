"""dataset_setup.sh as a program: with the real registry, and downloading a tiny set."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
from file_server import serving, stall
from tiny_sets import ARCHIVE, SETUP_FILES, TINY, assert_complete, closed_port, read, run, with_archive

from neural_similarity.data import registry
from neural_similarity.data.places import REPOSITORY

NEXT = "./dataset_setup.sh tiny10"


# The real registry


def script(folder, *arguments, **environment):
    """dataset_setup.sh as a program, with the real registry."""
    return subprocess.run(
        [REPOSITORY / "dataset_setup.sh", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_script_from_another_folder_and_without_a_network(tmp_path):
    """The real registry; the proxy, which is not there, stands for a network that is not there."""
    away = {"https_proxy": f"http://127.0.0.1:{closed_port()}", "no_proxy": "", "PYTHONSAFEPATH": "1"}
    done = script(tmp_path, "--root", "empty", **away)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for number in ("10", "100"):
        url = f"https://www.cs.toronto.edu/~kriz/cifar-{number}-binary.tar.gz"
        assert f"dataset_setup.sh: cifar{number}: {url}: no connection: Connection refused." in done.stderr
        assert f"Next, later: ./dataset_setup.sh cifar{number} --root {tmp_path}/empty\n" in done.stderr
        assert f"./dataset_setup.sh cifar{number} --from DIR --root {tmp_path}/empty\n" in done.stderr
    assert "cifar-10-binary.tar.gz (MD5 c32a1d4ab5d03f1284b67883e8d87530)" in done.stderr
    assert "cifar-100-binary.tar.gz (MD5 03b5dce01913d631647c71ecec9e9cb8)" in done.stderr
    assert done.stderr.count("from https://www.cs.toronto.edu/~kriz/cifar.html by hand") == 2
    assert read(tmp_path / "empty") == {}


def test_script_refuses_unknown_sets_and_options(tmp_path):
    done = script(tmp_path, "cifar-100")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean: ./dataset_setup.sh cifar100" in done.stderr
    done = script(tmp_path, "cifar10", "--form", "x")
    assert done.returncode == 2
    assert "usage: ./dataset_setup.sh" in done.stderr
    assert "--form" in done.stderr


def test_script_says_when_there_is_no_python(tmp_path):
    shutil.copy(REPOSITORY / "dataset_setup.sh", tmp_path)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for program in ("bash", "dirname"):
        (bin_folder / program).symlink_to(shutil.which(program))
    done = subprocess.run(
        [bin_folder / "bash", tmp_path / "dataset_setup.sh"],
        env={"PATH": str(bin_folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "no Python 3.10 or later" in done.stderr


def test_setup_needs_the_standard_library_only(tmp_path):
    """-S hides every installed package, -E the search path, and the copies stand alone: what a fresh clone has."""
    for path in SETUP_FILES:
        shutil.copy(path, tmp_path)
    done = subprocess.run(
        [sys.executable, "-E", "-s", "-S", tmp_path / "setup.py", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "cifar10, cifar100" in done.stdout


# Downloading


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server of tiny10, which is the only set of the registry."""
    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", str(tmp_path / "root"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        entry = with_archive(TINY, url=server.url("tiny.tar.gz"))
        monkeypatch.setattr(registry, "DATA_SETS", {"tiny10": entry})
        yield server


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.fixture
def start_script(tmp_path):
    """Starts dataset_setup.sh, in a copy whose registry holds tiny10 in place of the real sets."""
    data = tmp_path / "clone" / "neural_similarity" / "data"
    data.mkdir(parents=True)
    shutil.copy(REPOSITORY / "dataset_setup.sh", tmp_path / "clone")
    for path in SETUP_FILES:
        shutil.copy(path, data)
    with (data / "registry.py").open("a") as file:  # a data class prints itself as the code that makes it
        file.write(f"\nDATA_SETS = {{'tiny10': {registry.DATA_SETS['tiny10']!r}}}\n")
    started = []

    def start(*arguments):
        command = [tmp_path / "clone" / "dataset_setup.sh", *arguments]
        # Where the tests run in the background SIGINT may be ignored, and a child inherits that.
        handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        signal.signal(signal.SIGINT, handler)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_script_downloads(server, root, start_script):
    process = start_script()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert_complete(root)
    assert server.requests == [None]
    assert f"tiny10: complete in {root / 'tiny-bin'}\n" in out
    assert err.startswith("tiny.tar.gz: 100 %")


def test_script_is_interrupted_and_goes_on(server, root, start_script):
    half = len(ARCHIVE) // 2
    server.answers = [stall]
    process = start_script("tiny10")
    assert process.stderr.readline().startswith("tiny.tar.gz:")  # half of it has come
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.endswith(f"tiny10: interrupted; what came is kept. Next, to go on: {NEXT}\n")
    assert read(root) == {"tiny.tar.gz.part": ARCHIVE[:half]}
    process = start_script("tiny10")
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert_complete(root)
    assert server.requests == [None, f"bytes={half}-"]


def test_two_scripts_at_once(capsys, server, root, start_script):
    server.answers = [stall]
    process = start_script("tiny10")
    assert server.asked.wait(30)
    code, _, err = run(capsys, "tiny10")
    assert code == 2
    assert "tiny10: another process is downloading it" in err
    server.go_on.set()
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert_complete(root)
    assert server.requests == [None]
