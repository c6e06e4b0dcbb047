"""docs/adding_an_experiment.md, done by its own words: its code blocks in a copy of the repository, its commands."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from neural_similarity.config import REPOSITORY

PAGE = (REPOSITORY / "docs/adding_an_experiment.md").read_text(encoding="utf-8")


def blocks(language):
    """The code blocks of a language: (the path in its first line, the rest), or for commands their lines."""
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)
    return [re.fullmatch(r"# (\S+)\n(.*)", text, re.S).groups() for text in found]


def apply(text, diff):
    """Replaces what each piece of a diff, from `@@` to `@@`, takes away by what it puts there."""
    for piece in diff.split("@@\n"):
        lines = piece.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] in " -")
        after = "".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the repository's own files, with the page's blocks put into it."""
    clone = tmp_path_factory.mktemp("clone")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True).stdout
    for name in filter(None, tracked.decode().split("\0")):
        if (REPOSITORY / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, clone / name)
    for path, text in blocks("python") + blocks("yaml"):
        assert not (clone / path).exists(), path
        (clone / path).parent.mkdir(parents=True, exist_ok=True)
        (clone / path).write_text(text, encoding="utf-8")
    for path, diff in blocks("diff"):
        (clone / path).write_text(apply((clone / path).read_text(encoding="utf-8"), diff), encoding="utf-8")
    return clone


def test_the_pages_commands_work(clone):
    (commands,) = re.findall(r"```bash\n(.*?)```", PAGE, re.S)
    printed = []
    for command in commands.strip().splitlines():
        words = command.split()
        assert words[0] == "python"
        done = subprocess.run(
            [sys.executable, *words[1:]],
            cwd=clone,
            env={**os.environ, "PYTHONPATH": str(clone), "NEURAL_SIMILARITY_DATA": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        printed.append(done.stdout)
    dry, trained, tables, _ = printed
    assert re.search(r"^parameters: 33,834$", dry, re.M)
    assert f"data: missing. cifar10: 6 of 6 files are not in {clone}/data/" in dry
    assert re.search(r"^test accuracy: \d+\.\d\d %$", trained, re.M)
    assert "run folder: runs/cifar10/small_cnn/s0-" in trained
    (folder,) = (clone / "runs/cifar10/small_cnn").iterdir()
    assert '"experiment": "nsl_image_recog/small_cnn"' in (folder / "result.json").read_text()
    assert "nsl_image_recog/small_cnn/train.py" in (clone / "README.md").read_text()
    assert "README.md: written" in tables


OTHERS = ("sa_spherenet/train.py", "reproduce_tables.py")


def test_outside_of_the_environment_a_train_py_says_what_to_do(tmp_path):
    """-S leaves out site-packages and -E the environment, as in a Python in which the project is not installed."""
    for path in [*REPOSITORY.glob("nsl_image_recog/*/train.py"), *(REPOSITORY / name for name in OTHERS)]:
        done = subprocess.run(
            [sys.executable, "-S", "-E", path], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert done.returncode == 1
        missing = "pydantic" if path.name == "reproduce_tables.py" else "neural_similarity"  # it lies beside that
        assert done.stderr == (
            f"No module named '{missing}'. In the repository: make install, then source .venv/bin/activate\n"
        )
