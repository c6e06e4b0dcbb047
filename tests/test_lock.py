"""The lock of a run folder, and what happens when the folder goes away while a run trains in it."""

import errno
import shutil

import pytest
from digits_runs import digits, refusal, run_main
from run_checks import assert_equal_runs

from neural_similarity.errors import UserError
from neural_similarity.training import lock, loop
from neural_similarity.training.lock import locked


def test_only_a_held_lock_means_another_process(tmp_path, monkeypatch, caplog):
    with locked(tmp_path), pytest.raises(UserError, match="another process trains here"), locked(tmp_path):
        pass
    for number in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EIO):

        def flock(file, flags, number=number):
            raise OSError(number, "whatever")

        caplog.clear()
        monkeypatch.setattr(lock.fcntl, "flock", flock)
        with locked(tmp_path) as check:
            check()
        assert "cannot be locked (" in caplog.text


def test_a_second_process_is_noticed_where_nothing_can_be_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(lock.fcntl, "flock", lambda file, flags: None)
    with locked(tmp_path) as check_first, locked(tmp_path) as check_second:
        check_second()
        with pytest.raises(UserError, match="moved, deleted or replaced"):
            check_first()


def lock_removed(folder):
    (folder / "lock").unlink()


def folder_moved(folder):
    folder.rename(folder.with_name("moved"))


def folder_deleted(folder):
    shutil.rmtree(folder)


def folder_replaced(folder):
    shutil.copytree(folder, folder.with_name("copy"))
    folder.rename(folder.with_name("moved"))
    folder.with_name("copy").rename(folder)
    with locked(folder):  # another process
        pass


@pytest.mark.parametrize("happens", [lock_removed, folder_moved, folder_deleted, folder_replaced])
def test_whatever_happens_to_the_folder_is_noticed(happens, tmp_path):
    folder = tmp_path / "r"
    folder.mkdir()
    with locked(folder) as check:
        check()
        happens(folder)
        with pytest.raises(UserError, match="was moved, deleted or replaced while the run trained"):
            check()


def contents(folder):
    """The bytes of every file of a folder, by name; {} if there is no such folder."""
    files = (path for path in folder.rglob("*") if path.is_file() and "tensorboard" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("happens", [pytest.param(folder_moved, marks=pytest.mark.slow), folder_replaced])
def test_a_run_whose_folder_goes_away_stops_and_writes_nothing(happens, finished_run, tmp_path, monkeypatch, capsys):
    folder, left = tmp_path / "r", {}
    batches = loop.batches

    def interrupted(batch, first, last):
        for number, made in enumerate(batches(batch, first, last), start=first + 1):
            if number == 14:
                happens(folder)
                left.update(contents(folder))
            yield made

    with monkeypatch.context() as patch:
        patch.setattr(loop, "batches", interrupted)
        assert "was moved, deleted or replaced" in refusal(capsys, digits(folder))
    assert contents(folder) == left
    moved = folder.with_name("moved")
    assert run_main(digits(moved, "--resume")) == 0
    assert_equal_runs(moved, finished_run)
