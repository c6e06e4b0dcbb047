"""A `.npz` file from anywhere is read whole or refused before it can do harm."""

import io
import os
import zipfile

import numpy as np
import pytest

from neural_similarity.arrays import ArraysError, headers_of, read_npz

ARRAYS = {"model/a": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.int64(7), "state": np.zeros(3, np.uint8)}


@pytest.fixture
def path(tmp_path):
    np.savez(tmp_path / "x.npz", **ARRAYS)
    return tmp_path / "x.npz"


def write(path, *members, compression=zipfile.ZIP_STORED):
    """A zip file of (name, bytes) members."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def npy(shape, dtype="<f4", content=b""):
    """The bytes of a `.npy` file with this header, whatever its content."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"shape": shape, "fortran_order": False, "descr": dtype})
    return stream.getvalue() + content


def refused(path, expected=None):
    with pytest.raises(ArraysError) as caught:
        read_npz(path, expected)
    return str(caught.value)


def test_what_savez_writes_is_read(path):
    for found in (read_npz(path), read_npz(path, {n: (a.shape, a.dtype) for n, a in ARRAYS.items()})):
        assert found.keys() == ARRAYS.keys()
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
    assert headers_of(path)["model/a"] == ((2, 3), np.float32)


def test_a_compressed_file_is_read_where_its_arrays_are_expected(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(10_000, np.float32))
    assert read_npz(tmp_path / "x.npz", {"a": ((10_000,), "float32")})["a"].shape == (10_000,)
    assert "its arrays would take 40,000 bytes, more than the " in refused(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"a": np.ones(2, np.complex64)}, "`a` holds complex64, and not plain numbers"),
        ({"a": np.array(["x", "y"])}, "`a` holds <U1"),
        ({"a": np.array([b"x"])}, "`a` holds |S1"),
        ({"a": np.ones(2, bool)}, "`a` holds bool"),
        ({"a": np.zeros(2, "datetime64[s]")}, "`a` holds datetime64[s]"),
        ({"a": np.zeros(2, [("b", "f4")])}, "`a` holds [('b', '<f4')]"),
        ({"a": np.array([{}], dtype=object)}, "`a` holds object"),
        ({"a": np.array([1, np.nan])}, "`a` has numbers that are not finite"),
        ({"a": np.array(-np.inf, np.float16)}, "`a` has numbers that are not finite"),
        ({"a" * 999: np.array(np.nan)}, "`" + "a" * 80 + "…` has numbers"),
    ],
)
def test_what_is_no_plain_number(tmp_path, arrays, expected):
    np.savez(tmp_path / "x.npz", **arrays)
    assert refused(tmp_path / "x.npz").startswith(expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"n": ((), "int32")}, "`n` must be int32 of the shape []; got int64 []"),
        ({"model/a": ((3, 2), "float32")}, "`model/a` must be float32 of the shape [3, 2]; got float32 [2, 3]"),
        ({"model/b": ((), "float32")}, "`model/b` is missing"),
        ({"n": None}, "`n` does not belong in it"),
    ],
)
def test_other_arrays_than_expected(path, change, expected):
    layout = {name: (array.shape, array.dtype) for name, array in ARRAYS.items()} | change
    assert refused(path, {name: entry for name, entry in layout.items() if entry}) == expected


def test_headers_that_do_not_fit_the_content(tmp_path):
    path = tmp_path / "x.npz"
    assert "of 4,000,000,000,000 bytes, and holds 8" in refused(
        write(path, ("a.npy", npy((10**12,), content=bytes(8))))
    )
    assert "`a` is damaged: " in refused(write(path, ("a.npy", npy((-2, -1), content=bytes(8)))))
    assert "`a` is damaged: " in refused(write(path, ("a.npy", npy((True,), content=bytes(4)))))
    assert "`a` is damaged: " in refused(write(path, ("a.npy", b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535)))
    assert "`a` is damaged: " in refused(write(path, ("a.npy", b"")))
    assert "`readme.txt` is no array" in refused(write(path, ("readme.txt", b"x")))
    with pytest.warns(UserWarning, match="Duplicate name"):
        write(path, *[("a.npy", npy((1,), content=bytes(4)))] * 2)
    assert "`a.npy` is no array, or is there twice" in refused(path)


def test_a_bomb_is_refused_by_its_headers(tmp_path):
    """64 MB in 64 KB, and its directory claims to be small."""
    path = write(tmp_path / "x.npz", ("a.npy", npy((2**24,), content=bytes(2**26))), compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**5
    assert "its arrays would take 67,108,864 bytes" in refused(path)
    assert "must be float32 of the shape [3]" in refused(path, {"a": ((3,), "float32")})
    size = len(npy((3,), content=bytes(12)))
    content = write(path, ("a.npy", npy((3,), content=bytes(2**26))), compression=zipfile.ZIP_DEFLATED).read_bytes()
    lying = content.replace((len(npy((3,))) + 2**26).to_bytes(4, "little"), size.to_bytes(4, "little"))
    assert lying != content
    path.write_bytes(lying)
    assert "`a` is damaged: Bad CRC-32" in refused(path)


@pytest.mark.parametrize("position", [0.2, 0.5, 0.9])
def test_damage_is_noticed(path, position):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(position * len(whole))])
    assert "not a whole .npz file: " in refused(path)
    path.write_bytes(b"")
    assert "not a whole .npz file: " in refused(path)


def test_a_wrong_checksum_is_noticed(path):
    path.write_bytes(path.read_bytes().replace(np.float32(5).tobytes(), np.float32(6).tobytes()))
    assert refused(path) == "`model/a` is damaged: Bad CRC-32 for file 'model/a.npy'"


def test_what_is_no_file_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe") == "a pipe, not a file"
    assert refused(tmp_path) == "a folder, not a file"
    assert refused("/dev/zero") == "a device, not a file"
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "nothing")
