"""A checkpoint is there as a whole or not at all, whatever happens to the disk or to its bytes."""

import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest

from neural_similarity.config import REPOSITORY
from neural_similarity.errors import UserError
from neural_similarity.training import checkpoints
from neural_similarity.training.checkpoints import Checkpoints, State, collect, restore

ROW = {"step": 5, "split": "train", "loss": 2, "accuracy": 0.5}


def test_save_and_load(tmp_path):
    store = Checkpoints(tmp_path / "checkpoints", run="abc", keep=2)
    for step in (5, 10, 15):
        store.save(step, {"model/a": np.full(3, step, np.float32)}, [{"loss": 0.1}], [ROW])
    assert store.steps() == [10, 15]
    arrays, state = store.load(15)
    assert list(arrays) == ["model/a"]
    assert state == State(step=15, run="abc", pending=[{"loss": 0.1}], rows=[ROW])
    np.testing.assert_array_equal(arrays["model/a"], np.full(3, 15, np.float32))
    assert sorted(path.name for path in store.folder.iterdir()) == ["step-000010.npz", "step-000015.npz"]


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    store = Checkpoints(tmp_path)
    store.save(1, {"model/a": np.ones(3)})

    def full(file, **arrays):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.np, "savez", full)
    with pytest.raises(UserError, match=r"No space left.*step 1 is still whole.*--resume"):
        store.save(2, {"model/a": np.ones(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001.npz"]
    assert store.load(1)[1].step == 1


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b.replace(b"\x3f", b"\x40")])
def test_damage_is_noticed(tmp_path, damage):
    store = Checkpoints(tmp_path)
    store.save(1, {"model/a": np.ones(300, np.float32)})
    store.path(1).write_bytes(damage(store.path(1).read_bytes()))
    with pytest.raises(UserError, match=r"step-000001.npz: damaged \("):
        store.load(1)


def test_every_flipped_byte_is_noticed_or_does_no_harm(tmp_path):
    """Each array in the zip file has a CRC-32. What it does not cover (dates, permissions) is no part of the arrays."""
    store = Checkpoints(tmp_path)
    arrays = {"model/a": np.arange(7, dtype=np.float32), "model/b": np.float64(2.5), "optimizer/n": np.int64(3)}
    store.save(1, arrays)
    whole = store.path(1).read_bytes()
    noticed = 0
    for position in range(len(whole)):
        for mask in (0xFF, 0x01):
            store.path(1).write_bytes(whole[:position] + bytes([whole[position] ^ mask]) + whole[position + 1 :])
            try:
                found, state = store.load(1)
            except UserError:
                noticed += 1
                continue
            assert (state, found.keys()) == (State(step=1, rows=[]), arrays.keys())
            for name, array in arrays.items():
                assert (found[name].dtype, found[name].tobytes()) == (array.dtype, array.tobytes())
    assert noticed > len(whole)  # more than half of the flips, of which there are two per byte


def test_every_shortened_file_is_noticed(tmp_path):
    store = Checkpoints(tmp_path)
    store.save(1, {"model/a": np.arange(7, dtype=np.float32)})
    whole = store.path(1).read_bytes()
    for size in range(len(whole)):
        store.path(1).write_bytes(whole[:size])
        with pytest.raises(UserError, match="damaged"):
            store.load(1)


def test_a_damaged_newest_one_gives_way_to_the_one_before(tmp_path, caplog):
    store = Checkpoints(tmp_path, keep=2)
    assert store.load_newest() is None
    for step in (10, 20):
        store.save(step, {"model/a": np.full(3, step)})
    store.path(20).write_bytes(store.path(20).read_bytes()[:-1])
    arrays, state = store.load_newest()
    assert state.step == 10
    np.testing.assert_array_equal(arrays["model/a"], [10, 10, 10])
    assert [record.getMessage().split(": ")[0] for record in caplog.records] == [str(store.path(20))]
    assert "damaged" in caplog.text
    assert "Going on from the checkpoint before it, of step 10." in caplog.text
    assert store.steps() == [10, 20]  # without `set_aside` nothing is changed

    assert store.load_newest(rename_damaged=True)[1].step == 10
    assert store.steps() == [10]
    assert (tmp_path / "step-000020.npz.damaged").exists()
    for step in (13, 16):
        store.save(step, {"model/a": np.full(3, step)})
    assert store.steps() == [13, 16]
    for step in (13, 16):
        store.path(step).write_bytes(b"")
    caplog.clear()
    with pytest.raises(UserError, match=r"step-000016\.npz: damaged .* So is every other checkpoint here\."):
        store.load_newest(rename_damaged=True)
    assert store.steps() == [13, 16]
    assert not caplog.records


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    store = Checkpoints(tmp_path)
    store.save(1, {"model/a": np.ones(3)})

    def fail(problem):
        def read(*args, **kwargs):
            raise problem

        return read

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "read_npz", fail(MemoryError()))
        with pytest.raises(MemoryError):
            store.load_newest()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "read_npz", fail(PermissionError(13, "Permission denied")))
        with pytest.raises(PermissionError):
            store.load_newest(rename_damaged=True)
    assert store.load_newest()[1].step == 1


def test_what_a_killed_save_left_goes_with_the_next(tmp_path):
    store = Checkpoints(tmp_path)
    (tmp_path / "step-000003.unfinished").write_bytes(b"half")
    store.save(5, {"model/a": np.ones(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["step-000005.npz"]


FULL_DISK = """
import resource, signal, sys
import numpy as np
from neural_similarity.errors import UserError
from neural_similarity.training.checkpoints import Checkpoints
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
arrays = {"model/a": np.ones(50_000, np.float32)}
for room_bytes in sys.argv[2:]:
    store = Checkpoints(f"{sys.argv[1]}/{room_bytes}")
    store.save(1, arrays)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(room_bytes), resource.RLIM_INFINITY))
    try:
        store.save(2, arrays)
    except UserError as error:
        message = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(message)
"""


def test_a_disk_without_room_leaves_the_one_before(tmp_path):
    """The operating system itself refuses the write, here because of a limit on the size of files."""
    rooms = ["0", "5000", "200000"]
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path), *rooms]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True)
    for room_bytes, message in zip(rooms, done.stdout.splitlines(), strict=True):
        folder = tmp_path / room_bytes
        assert message == (
            f"{folder}/step-000002.npz: cannot write the checkpoint (File too large). "
            "The checkpoint of step 1 is still whole. Mend that, then go on with --resume."
        )
        assert [path.name for path in folder.iterdir()] == ["step-000001.npz"]
        assert Checkpoints(folder).load(1)[0]["model/a"].sum() == 50_000


class Mischief:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_pickles_are_not_opened(tmp_path):
    store = Checkpoints(tmp_path)
    state = np.frombuffer(b'{"step": 1}', np.uint8)
    np.savez(store.path(1), **{"model/a": np.array([Mischief(tmp_path / "harm")], dtype=object), "state": state})
    with pytest.raises(UserError, match=r"damaged .*`model/a` holds object"):
        store.load(1)
    assert not (tmp_path / "harm").exists()
    store.path(1).write_bytes(pickle.dumps(Mischief(tmp_path / "harm")))
    with pytest.raises(UserError, match=r"damaged .*not a zip file"):
        store.load(1)
    assert not (tmp_path / "harm").exists()
    pickle.loads(store.path(1).read_bytes())  # to see that it would have done harm
    assert (tmp_path / "harm").exists()


def test_collect_and_restore_by_name():
    one, other, wider = (keras.layers.Dense(2, name="d") for _ in range(3))
    for layer, width in ((one, 3), (other, 3), (wider, 4)):
        layer.build((None, width))
    arrays = collect(model=one.variables, optimizer=[])
    assert set(arrays) == {"model/d/kernel", "model/d/bias"}
    restore({**arrays, "optimizer/x": np.zeros(1)}, "x.npz", model=other.variables)
    np.testing.assert_array_equal(one.kernel, other.kernel)
    with pytest.raises(
        UserError, match=r"x.npz: of another network .* model/d/kernel is float32 \(3, 2\); expected float32 \(4, 2\)"
    ):
        restore(arrays, "x.npz", model=wider.variables)
    with pytest.raises(UserError, match="another network"):
        restore({"model/d/kernel": arrays["model/d/kernel"]}, "x.npz", model=one.variables)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a.astype(np.float64), r"of another network than the run's config: model/d/kernel is"),
        (lambda a: a.astype(np.int8), r"of another network than the run's config: model/d/kernel is"),
        (lambda a: a * 1j, r"of another network than the run's config: model/d/kernel is"),
        (lambda a: a.astype(str), r"of another network than the run's config: model/d/kernel is"),
    ],
)
def test_arrays_of_another_kind_are_refused_before_anything_is_changed(change, said):
    layer = keras.layers.Dense(2, name="d", bias_initializer="ones")
    layer.build((None, 3))
    kernel = np.asarray(layer.kernel)
    arrays = {"model/d/bias": np.zeros(2, np.float32), "model/d/kernel": change(kernel)}
    with pytest.raises(UserError, match=said):
        restore(arrays, "x.npz", model=layer.variables)
    np.testing.assert_array_equal(layer.kernel, kernel)
    np.testing.assert_array_equal(layer.bias, [1, 1])
