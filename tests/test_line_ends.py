"""A checkout with the line ends of Windows."""

import shutil
import subprocess

import pytest

from neural_similarity import config as configs
from neural_similarity.config import REPOSITORY, experiment_files


def git(folder, *words):
    settings = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "core.autocrlf=true")
    subprocess.run(["git", *settings, "-C", folder, *words], check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_scripts_keep_their_line_ends(tmp_path):
    names = ["dataset_setup.sh", "Makefile", ".ci/run", "configs/cifar10/static_dns.yaml", ".gitattributes"]
    pictures = sorted(path.relative_to(REPOSITORY) for path in REPOSITORY.glob("docs/*.png"))
    arrays = [path.relative_to(REPOSITORY) for path in REPOSITORY.glob("tests/golden/static_dns.npz")]
    for name in [*names, *pictures, *arrays]:
        (tmp_path / "origin" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / "origin" / name)
    git(tmp_path, "init", "origin")
    git(tmp_path / "origin", "add", ".")
    git(tmp_path / "origin", "commit", "-m", "x")
    git(tmp_path, "clone", "origin", "checkout")
    for name in [*names, *pictures, *arrays]:
        assert (tmp_path / "checkout" / name).read_bytes() == (REPOSITORY / name).read_bytes(), name


def test_a_config_with_line_ends_of_windows_is_the_same(tmp_path):
    for path in experiment_files():
        other = tmp_path / "x.yaml"
        for ends in (b"\r\n", b"\r"):
            other.write_bytes(path.read_bytes().replace(b"\n", ends))
            config, same = (configs.load(file, environment={}) for file in (path, other))
            assert config == same
            assert config.config_hash() == same.config_hash()
