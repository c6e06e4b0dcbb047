"""Several clones of the repository: which of them a command runs, and an environment that belongs to another place."""

import os
import shutil
import subprocess
import sys
import types

import pytest
from commands import exit_code, run_tool
from digits_runs import run_main

from neural_similarity.command import check_clone
from neural_similarity.config import REPOSITORY
from neural_similarity.errors import UserError
from neural_similarity.reporting import reproduce


@pytest.fixture
def clone(tmp_path):
    """What another clone is known by."""
    folder = tmp_path / "a clone"
    for name in ("neural_similarity/__init__.py", "nsl_image_recog/static/train.py", "configs/x.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def started(path, monkeypatch):
    """Makes it look as if Python had been called with this file."""
    monkeypatch.setitem(sys.modules, "__main__", types.SimpleNamespace(__file__=str(path)))


def test_a_train_py_of_another_clone_is_refused(clone, monkeypatch, capsys):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    script = clone / "nsl_image_recog/static/train.py"
    started(script, monkeypatch)
    assert run_main(["--dry-run"]) == 2
    assert capsys.readouterr().err == (
        f"{script}: of the clone {clone}, but Python imports the package of another one, {REPOSITORY}. "
        f"Next: cd '{clone}' && make install && source .venv/bin/activate\n"
    )


@pytest.mark.parametrize("inside", [".", "configs", "nsl_image_recog/static"])
def test_the_tools_are_refused_inside_another_clone(inside, clone, monkeypatch, capsys):
    monkeypatch.chdir(clone / inside)
    assert run_tool("tables") == 2
    assert exit_code(reproduce.main) == 2
    assert capsys.readouterr().err.count(f"of the clone {clone}, but") == 2


def test_a_package_that_pythonpath_names_is_told(clone, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"/nowhere{os.pathsep}{REPOSITORY}")
    with pytest.raises(UserError, match=r"which PYTHONPATH names. Next: unset PYTHONPATH && cd "):
        check_clone(clone)


def test_a_link_to_the_clone_is_the_same_clone(tmp_path, monkeypatch):
    link = tmp_path / "link"
    link.symlink_to(REPOSITORY)
    script = tmp_path / "train.py"
    script.symlink_to(REPOSITORY / "nsl_image_recog/static/train.py")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/neural_similarity").symlink_to(REPOSITORY / "neural_similarity")
    for place in (link, link / "nsl_image_recog/static/train.py", script, tmp_path / "other/train.py", REPOSITORY):
        check_clone(place)
    monkeypatch.chdir(REPOSITORY.parent)
    check_clone(REPOSITORY.name)


def test_outside_of_every_clone_all_is_well(tmp_path, monkeypatch, capsys):
    check_clone(tmp_path / "train.py")
    for path in (tmp_path / "train.py", tmp_path / "notebook.py", ""):
        started(path, monkeypatch)
        assert run_main(["--help"]) == 0
    monkeypatch.setitem(sys.modules, "__main__", types.SimpleNamespace())  # a notebook's has no file
    assert run_main(["--help"]) == 0


def test_a_notebook_inside_another_clone_may_use_this_one(clone, monkeypatch, capsys):
    started(clone / "notebooks/ipykernel_launcher.py", monkeypatch)
    monkeypatch.chdir(clone)
    assert run_main(["--help"]) == 0


def test_every_train_py_is_checked(tmp_path):
    """As programs, in a folder that looks like another clone."""
    (tmp_path / "neural_similarity").mkdir()
    (tmp_path / "neural_similarity/__init__.py").touch()
    scripts = sorted([*REPOSITORY.glob("nsl_image_recog/*/train.py"), REPOSITORY / "sa_spherenet/train.py"])
    assert len(scripts) == 6
    for script in scripts:
        copy = tmp_path / script.relative_to(REPOSITORY)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(script, copy)
        done = subprocess.run(
            [sys.executable, copy, "--dry-run"],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith(f"{copy}: of the clone {tmp_path}, but ")


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("at_home", [True, False])
def test_make_sets_up_an_environment_that_was_moved_anew(at_home, tmp_path):
    """`make -n` says what make would do."""
    clone, stamps = tmp_path / "a clone", (".created", ".installed", ".installed-test")
    (clone / ".venv/bin").mkdir(parents=True)
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, clone)
    place = clone if at_home else tmp_path / "old place"
    (clone / ".venv/bin/activate").write_text(f'VIRTUAL_ENV="{place}/.venv"\nexport VIRTUAL_ENV\n')
    for stamp in stamps:
        (clone / ".venv" / stamp).touch()
    done = subprocess.run(["make", "-n", "install"], cwd=clone, capture_output=True, text=True, check=True)
    assert ("-m venv --clear .venv" in done.stdout) == (not at_home)
    assert ("pip install" in done.stdout) == (not at_home)
