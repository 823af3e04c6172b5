"""The contract's methods on a real file: what goes in comes out, here and in plain h5py."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, cast

import h5py
import numpy as np
import pytest

from laila.codec import decode, encode
from laila.component.backend import checked_blob
from laila.errors import CorruptEntryError, PoolClosedError, PoolError, SettingsError
from laila.pool.hdf5 import HDF5Pool
from laila.pool.hdf5.layout import entry_name
from laila.pool.hdf5.poolfile import BYTES_PACK_LIMIT, PACK_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from laila.contract import Blob

    MakeBlob = Callable[..., Blob]

N = 5000  # enough elements of any dtype for a dataset of its own
STEM = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"

ARRAYS = {
    "float64": np.linspace(-1, 1, N),
    "big-endian int": np.arange(N, dtype=">i4"),
    "uint8 cube": np.arange(30 * 40 * 50, dtype="u1").reshape(30, 40, 50),
    "fortran": np.asfortranarray(np.arange(60.0 * 70).reshape(60, 70)),
    "fortran cube": np.asfortranarray(np.arange(20 * 30 * 40, dtype=">i2").reshape(20, 30, 40)),
    "float16": np.arange(2 * N, dtype="f2"),
    "longdouble": np.arange(N, dtype="g"),
    "complex64": (np.arange(N) * (1 + 2j)).astype("c8"),
    "bool": np.arange(4 * N) % 3 == 0,
    "bytes": np.array([b"ab", b"c", b""] * N),
    "unicode": np.array(["äb", "c", ""] * N),
    "datetime": np.arange(N).astype("M8[ns]"),
    "timedelta": np.arange(N).astype("m8[ms]"),
}


def stored(pool: HDF5Pool, key: str) -> Blob:
    found = pool._read(key)
    assert found is not None
    return checked_blob(key, found)


@pytest.mark.parametrize("name", ARRAYS)
def test_array_is_native_and_exact(pool: HDF5Pool, make_blob: MakeBlob, name: str) -> None:
    array = ARRAYS[name]
    blob = make_blob(STEM, array, nickname="a name")
    pool._write(STEM, blob)
    assert bytes(stored(pool, STEM)) == bytes(blob)
    with h5py.File(pool.path, "r") as opened:
        dataset = opened[f"entries/{STEM}"]
        assert dataset.shape == array.shape
        assert dataset[()].dtype == array.dtype
        assert (dataset[()] == array).all()
        assert dataset.attrs["global_id"].decode() == STEM
        assert dataset.attrs["nickname"].decode() == "a name"
        assert dataset.attrs["created"] == 1.5


def test_payload_through_the_codec(pool: HDF5Pool) -> None:
    array = np.asfortranarray(np.random.default_rng(1).normal(size=(300, 200)))
    payload = {"w": array, 3: (b"x" * 70_000, array[:1]), "empty": np.zeros((0, 3)), "scalar": np.array(2.5)}
    pool._write(STEM, encode(payload, key=STEM))
    back = cast("dict[object, object]", decode(stored(pool, STEM)))
    assert list(back) == list(payload)
    weights = back["w"]
    assert isinstance(weights, np.ndarray)
    assert weights.flags.f_contiguous
    assert (weights == array).all()
    assert cast("tuple[bytes, object]", back[3])[0] == b"x" * 70_000
    with h5py.File(pool.path, "r") as opened:
        group = opened[f"entries/{STEM}"]
        assert (group["0"][()] == array).all()
        assert {dataset.shape for dataset in group.values()} >= {(300, 200), (70_000,), (0, 3), ()}


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("|O", (N,)),
        ("nonsense", (N,)),
        ("<U0", (N,)),
        ("<f8", (N + 1,)),
        ("<f8", (3, 3)),
        ("<f8", (0, N)),
        ("<f8", (*[1] * 40, N)),
        ("<f8", (2**31, 2**31)),
    ],
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_hdf5_cannot_say_is_bytes(
    pool: HDF5Pool, make_blob: MakeBlob, dtype: str, shape: tuple[int, ...], order: str
) -> None:
    blob = make_blob("k", np.arange(float(N)))
    buffer = blob.buffers[0]  # made to claim what a damaged or hostile blob might
    buffer.dtype, buffer.shape, buffer.order = dtype, shape, order
    pool._write("k", blob)
    pool._write("l", make_blob("l", np.ones(N)))
    assert bytes(stored(pool, "k")) == bytes(blob)
    with h5py.File(pool.path, "r") as opened:
        dataset = opened["entries/k"]
        assert dataset[()].tobytes() == np.arange(float(N)).tobytes()
        assert (dataset.dtype, dataset.shape) == (np.uint8, (8 * N,))
        assert dataset.attrs["dtype"].decode() == dtype
        assert dataset.attrs["shape"].decode() == str(shape)


@pytest.mark.parametrize(
    "key",
    [
        "a/b",
        ".",
        "..",
        "a\0b",
        "%2F",
        "ü" * 256,
        "x" * 512,
        " ",
        "a\nb",
        "entries",
        "/",
        "\N{FAMILY}",
        "-0",
        "a-01",
    ],
)
@pytest.mark.parametrize("size", [10, 3 * PACK_LIMIT, 2 * BYTES_PACK_LIMIT])
def test_any_key(pool: HDF5Pool, make_blob: MakeBlob, key: str, size: int) -> None:
    blob = make_blob(key, b"x" * size)
    pool._write(key, blob)
    pool._write(key + "?" if len(key) < 500 else "?", make_blob("other", b"y" * size))
    assert bytes(stored(pool, key)) == bytes(blob)
    assert pool._delete(key)
    assert not pool._exists(key)
    assert len(list(pool._keys())) == 1


def test_link_names_are_told_apart() -> None:
    keys = ["a/b", "a%2Fb", "a", ".", "..", "%2E", "a\0", "ä", "a."]
    assert len({entry_name(key) for key in keys}) == len(keys)


def test_small_blobs_are_packed_and_large_ones_native(pool: HDF5Pool, make_blob: MakeBlob) -> None:
    pool._write_many([(f"small{n}", make_blob(f"small{n}", np.arange(10.0))) for n in range(100)])
    pool._write("large", make_blob("large", np.zeros(PACK_LIMIT // 8)))
    packed, native = (make_blob(f"bytes{n}", b"x" * n) for n in (BYTES_PACK_LIMIT - 1000, BYTES_PACK_LIMIT))
    pool._write_many([(packed.key, packed), (native.key, native)])
    with h5py.File(pool.path, "r") as opened:
        assert list(opened["entries"]) == [native.key, "large"]
    for blob in (packed, native):
        assert bytes(stored(pool, blob.key)) == bytes(blob)
    assert bytes(stored(pool, "small7")) == bytes(make_blob("small7", np.arange(10.0)))


@pytest.mark.parametrize("size", [10, 3 * PACK_LIMIT, 2 * BYTES_PACK_LIMIT])
def test_replace_create_delete_empty(pool: HDF5Pool, make_blob: MakeBlob, size: int) -> None:
    first, second = make_blob("k", b"1" * size), make_blob("k", b"2" * (size + 1))
    assert pool._read("k") is None
    assert pool._read_head("k") is None
    assert pool._create("k", first)
    assert not pool._create("k", second)
    assert bytes(stored(pool, "k")) == bytes(first)
    pool._write("k", second)
    assert bytes(stored(pool, "k")) == bytes(second)
    head = pool.read_head("k")
    assert head is not None
    assert head.digest == second.digest
    assert pool._delete("k") is True
    assert pool._delete("k") is False
    assert pool._create("k", first)
    pool._empty()
    assert list(pool._keys()) == []
    with h5py.File(pool.path, "r") as opened:
        assert list(opened["entries"]) == []


def test_batches(pool: HDF5Pool, make_blob: MakeBlob) -> None:
    blobs = [make_blob(f"k{n}", b"x" * (n * 2000)) for n in range(30)]
    assert pool._create_many([(b.key, b) for b in [*blobs, blobs[0]]]) == [True] * 30 + [False]
    assert pool._create_many([(blobs[3].key, blobs[3]), ("new", make_blob("new"))]) == [False, True]
    pool._write_many([("twice", make_blob("twice", b"1")), ("twice", make_blob("twice", b"2"))])
    assert bytes(stored(pool, "twice")) == bytes(make_blob("twice", b"2"))
    read = pool._read_many(["k3", "missing", "k29", "k3"])
    assert [None if found is None else bytes(checked_blob("", found)) for found in [read[1]]] == [None]
    assert bytes(checked_blob("k29", cast("bytes", read[2]))) == bytes(blobs[29])
    assert pool._delete_many(["k3", "missing", "k3", "k4"]) == [True, False, False, True]
    assert sorted(pool._keys()) == sorted([f"k{n}" for n in range(30) if n not in (3, 4)] + ["new", "twice"])
    pool._write_many([])
    assert pool._create_many([]) == []
    assert pool._delete_many([]) == []


def test_evolutions(pool: HDF5Pool, make_blob: MakeBlob) -> None:
    keys = [f"{STEM}-{n}" for n in (0, 2, 10, 9)]
    pool._write_many([(key, make_blob(key)) for key in [*keys, f"{STEM}-01", f"{STEM}-x", STEM]])
    assert pool._evolutions(STEM) == [0, 2, 9, 10]
    assert pool._newest(STEM) == f"{STEM}-10"
    pool._delete(f"{STEM}-10")
    pool._create(f"{STEM}-3", make_blob(f"{STEM}-3"))
    assert pool._evolutions(STEM) == [0, 2, 3, 9]
    assert pool._newest("nothing") is None
    with HDF5Pool(pool.path) as again:
        assert again._newest(STEM) == f"{STEM}-9"


def test_everything_is_there_after_reopening(tmp_path: Path, make_blob: MakeBlob) -> None:
    blobs = [make_blob(f"k{n}", np.full(n * 40, n)) for n in range(100)]
    with HDF5Pool(tmp_path / "p.h5") as pool:
        for blob in blobs:
            pool._write(blob.key, blob)
    for read_only in (False, True):
        with HDF5Pool(tmp_path / "p.h5", read_only=read_only) as pool:
            assert sorted(pool._keys()) == sorted(blob.key for blob in blobs)
            assert all(bytes(stored(pool, blob.key)) == bytes(blob) for blob in blobs)


def test_large_read_is_a_view(pool: HDF5Pool, make_blob: MakeBlob) -> None:
    array = np.arange(1 << 18, dtype="f8")
    pool._write("k", make_blob("k", array))
    view = stored(pool, "k").buffers[0].data
    pool._delete("k")
    pool.compact()
    pool.close()
    # What was read stays good, whatever becomes of the entry, the file and the pool.
    assert (np.frombuffer(view, "f8") == array).all()


def test_damage_is_told(pool: HDF5Pool, make_blob: MakeBlob) -> None:
    pool._write("k", make_blob("k", np.zeros(N)))
    with h5py.File(pool.path, "r") as opened:
        offset = opened["entries/k"].id.get_offset()
    with open(pool.path, "r+b") as file:
        file.seek(offset + 100)
        file.write(b"\x01")
    with pytest.raises(CorruptEntryError, match="checksum"):
        stored(pool, "k")


def test_mapping_side_and_transformations(tmp_path: Path) -> None:
    with HDF5Pool(tmp_path / "p.h5", transformations=["zlib"]) as pool:
        pool[STEM] = encode({"w": np.zeros(N)}, key=STEM)
        assert STEM in pool
        assert len(pool[STEM].buffers) == 1
        del pool[STEM]
        with pytest.raises(KeyError):
            pool[STEM]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("hdf5://{}/a.h5", "a.h5"),
        ("hdf5:{}/a.h5", "a.h5"),
        ("hdf5:b.h5", "b.h5"),
        ("hdf5://{}/a%3Fb%20.h5", "a?b .h5"),
    ],
)
def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with HDF5Pool.from_url(url.format(tmp_path) + "?durable=process&lock=error", nickname="n") as pool:
        assert pool.path == str(tmp_path / name)
        assert pool.durability == "process"
        assert pool.nickname == "n"
    assert (tmp_path / name).exists()


@pytest.mark.parametrize(
    "url", ["hdf5://host/a.h5", "file:///a.h5", "hdf5:///tmp/a.h5#x", "hdf5:///a.h5?speed=1"]
)
def test_bad_urls(url: str) -> None:
    with pytest.raises(SettingsError):
        HDF5Pool.from_url(url)


def test_default_files(tmp_path: Path) -> None:
    script = (
        "from laila.pool.hdf5 import HDF5Pool\n"
        "for name in (None, 'my/data', '..'):\n"
        "    with HDF5Pool(nickname=name) as pool: print(pool.path)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "LAILA_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == [
        str(tmp_path / "home" / "pools" / name) for name in ("laila.h5", "my%2Fdata.h5", "%2E%2E.h5")
    ]


def test_reading_needs_no_h5py(tmp_path: Path, make_blob: MakeBlob) -> None:
    with HDF5Pool(tmp_path / "p.h5") as pool:
        pool._write("k", make_blob("k", np.zeros(N)))
    script = (
        "import sys; from laila.pool.hdf5 import HDF5Pool\n"
        f"with HDF5Pool({str(tmp_path / 'p.h5')!r}) as pool: pool['k']\n"
        "assert 'h5py' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_options_rebuild_the_pool(tmp_path: Path) -> None:
    with HDF5Pool(tmp_path / "p.h5", nickname="n", durable="process", lock_timeout=3) as pool:
        options = pool.options()
    with HDF5Pool(**options) as again:  # type: ignore[arg-type]
        assert again.options() == options
        assert again.settings.lock_timeout == 3


def test_bad_options(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="durable"):
        HDF5Pool(tmp_path / "p.h5", durable="maybe")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="lock_timeout"):
        HDF5Pool(tmp_path / "p.h5", lock_timeout=-1)
    with pytest.raises(PoolError, match="does not exist"):
        HDF5Pool(tmp_path / "p.h5", read_only=True)
    with pytest.raises(PoolError, match=r"nowhere is not there\. Make it"):
        HDF5Pool(tmp_path / "nowhere" / "p.h5")
    assert os.listdir(tmp_path) == []


def test_closed_and_read_only(tmp_path: Path, make_blob: MakeBlob) -> None:
    pool = HDF5Pool(tmp_path / "p.h5")
    pool.close()
    pool.close()
    with pytest.raises(PoolClosedError):
        pool._read("k")
    with pytest.raises(PoolClosedError):
        pool._write("k", make_blob("k"))
    with HDF5Pool(tmp_path / "p.h5", read_only=True) as reader, pytest.raises(PoolError, match="read_only"):
        reader._write("k", make_blob("k"))


def test_closed_file_has_no_slack(tmp_path: Path, make_blob: MakeBlob) -> None:
    with HDF5Pool(tmp_path / "p.h5") as pool:
        pool._write("k", make_blob("k"))
        during = os.path.getsize(pool.path)
    with h5py.File(pool.path, "r") as opened:
        assert opened.id.get_filesize() == os.path.getsize(pool.path) < during


def test_a_relative_path_is_written_down_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with HDF5Pool("here.h5") as pool:
        assert pool.options()["path"] == str(tmp_path / "here.h5")
    with HDF5Pool() as pool:
        assert "path" not in pool.options()  # the default file is each machine's own
