"""Checkpoints are whole or not there."""

import keras
import numpy as np
import pytest

from neural_similarity.errors import UserError
from neural_similarity.training import checkpoints
from neural_similarity.training.checkpoints import Checkpoints, collect, restore


def test_save_and_load(tmp_path):
    store = Checkpoints(tmp_path / "checkpoints", keep=2)
    for step in (5, 10, 15):
        store.save(step, {"model/a": np.full(3, step, np.float32)}, {"pending": [{"loss": 0.1}]})
    assert store.steps() == [10, 15]
    arrays, state = store.load(15)
    assert (list(arrays), state) == (["model/a"], {"pending": [{"loss": 0.1}], "step": 15})
    np.testing.assert_array_equal(arrays["model/a"], np.full(3, 15, np.float32))
    assert sorted(path.name for path in store.folder.iterdir()) == ["step-000010.npz", "step-000015.npz"]


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    store = Checkpoints(tmp_path)
    store.save(1, {"model/a": np.ones(3)}, {})

    def full(file, **arrays):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.np, "savez", full)
    with pytest.raises(UserError, match=r"No space left.*step 1 is whole.*--resume"):
        store.save(2, {"model/a": np.ones(3)}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001.npz"]
    assert store.load(1)[1] == {"step": 1}


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b.replace(b"\x3f", b"\x40")])
def test_damage_is_noticed(tmp_path, damage):
    store = Checkpoints(tmp_path)
    store.save(1, {"model/a": np.ones(300, np.float32)}, {})
    store.path(1).write_bytes(damage(store.path(1).read_bytes()))
    with pytest.raises(UserError, match=r"step-000001.npz: damaged .*Delete it"):
        store.load(1)


def test_pickles_are_not_opened(tmp_path):
    store = Checkpoints(tmp_path)
    np.savez(store.path(1), state=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="damaged"):
        store.load(1)


def test_collect_and_restore_by_name():
    one, other, wider = (keras.layers.Dense(2, name="d") for _ in range(3))
    for layer, width in ((one, 3), (other, 3), (wider, 4)):
        layer.build((None, width))
    arrays = collect(model=one.variables, optimizer=[])
    assert set(arrays) == {"model/d/kernel", "model/d/bias"}
    restore({**arrays, "optimizer/x": np.zeros(1)}, model=other.variables)
    np.testing.assert_array_equal(one.kernel, other.kernel)
    with pytest.raises(UserError, match=r"another network: model/d/kernel differs"):
        restore(arrays, model=wider.variables)
    with pytest.raises(UserError, match="another network"):
        restore({"model/d/kernel": arrays["model/d/kernel"]}, model=one.variables)
