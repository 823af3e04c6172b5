"""Files that are not ours, files that are damaged, disks that are full, space that is given back."""

from __future__ import annotations

import errno
import os
import random
import resource
import subprocess
import sys
from typing import TYPE_CHECKING, Literal

import h5py
import numpy as np
import pytest

from laila.component.backend import checked_blob
from laila.errors import CorruptEntryError, PoolError, PoolFormatError
from laila.pool.hdf5 import HDF5Pool, store
from laila.pool.hdf5.layout import superblock_end
from laila.pool.hdf5.poolfile import PoolFile
from laila.pool.hdf5.storage import FileStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from laila.contract import Blob

    MakeBlob = Callable[..., Blob]


# -- files of others ---------------------------------------------------------------------------------------


def h5_file(path: Path, **options: object) -> None:
    with h5py.File(path, "w", **options) as file:
        file["mine"] = np.arange(10)


@pytest.mark.parametrize("kind", ["text", "short", "HDF5", "HDF5 with user block", "newer"])
@pytest.mark.parametrize("read_only", [False, True])
def test_foreign_file_is_left_alone(tmp_path: Path, kind: str, read_only: bool) -> None:
    path = tmp_path / "file.h5"
    if kind == "HDF5":
        h5_file(path)
    elif kind == "HDF5 with user block":
        h5_file(path, userblock_size=4096)
    elif kind == "newer":
        HDF5Pool(path).close()
        raw = path.read_bytes()
        path.write_bytes(raw[:8] + b"\x09" + raw[9:])
        (tmp_path / "file.h5.lock").unlink()
    else:
        path.write_bytes(b"x" if kind == "short" else b"some text, no pool\n" * 1000)
    before = path.read_bytes(), path.stat().st_mtime_ns
    with pytest.raises(PoolFormatError, match="version" if kind == "newer" else "left as it is"):
        HDF5Pool(path, read_only=read_only)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert os.listdir(tmp_path) == ["file.h5"]


def test_directory_is_no_pool(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match="directory"):
        HDF5Pool(tmp_path)


def test_empty_file_becomes_a_pool(tmp_path: Path, make_blob: MakeBlob) -> None:
    (tmp_path / "p.h5").touch()
    with HDF5Pool(tmp_path / "p.h5") as pool:
        pool._write("k", make_blob("k"))


def test_file_cut_short_is_told_at_opening(tmp_path: Path, make_blob: MakeBlob) -> None:
    path = tmp_path / "p.h5"
    with HDF5Pool(path) as pool:
        pool._write("k", make_blob("k", np.zeros(5000)))
    whole = path.read_bytes()
    for size in (len(whole) - 1, len(whole) // 2, 4096 + 20, 4096, 200, 50):
        path.write_bytes(whole[:size])
        with pytest.raises((PoolFormatError, CorruptEntryError)):
            HDF5Pool(path)
        assert path.read_bytes() == whole[:size]


def test_damaged_header_and_index_are_told(tmp_path: Path, make_blob: MakeBlob) -> None:
    path = tmp_path / "p.h5"
    with HDF5Pool(path) as pool:
        pool._write("k", make_blob("k"))
        index = pool._store.current().header.index[0]
    whole = bytearray(path.read_bytes())
    for position in (50, index + 34):
        damaged = whole.copy()
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises((PoolFormatError, CorruptEntryError), match="damaged"):
            HDF5Pool(path)


def test_what_others_add_with_h5py_stays(tmp_path: Path, make_blob: MakeBlob) -> None:
    path = tmp_path / "p.h5"
    with HDF5Pool(path) as pool:
        pool._write("k", make_blob("k", np.zeros(5000)))
        with h5py.File(path, "r+") as file:
            file["mine"] = np.arange(100_000)
            file.attrs["mine"] = "too"
        pool._write("k2", make_blob("k2", np.ones(5000)))
        pool.compact()
        assert pool["k"].buffers
    with h5py.File(path, "r") as file:
        assert (file["mine"][()] == np.arange(100_000)).all()
        assert file.attrs["mine"] == "too"
        assert set(file["entries"]) == {"k", "k2"}


def test_what_others_delete_with_h5py_is_told(pool: HDF5Pool, make_blob: MakeBlob) -> None:
    pool._write("k", make_blob("k", np.zeros(5000)))
    with h5py.File(pool.path, "r+") as file:
        del file["entries/k"]
        file["entries/l"] = 1
    with pytest.raises(PoolError, match="another program"):
        pool._write("l", make_blob("l", np.zeros(5000)))
    with pytest.raises(PoolError, match="another program"):
        pool.compact()
    assert list(pool._keys()) == ["k"]
    assert sorted(os.listdir(os.path.dirname(pool.path))) == ["pool.h5", "pool.h5.lock"]
    assert pool._delete("k")
    pool._write("small", make_blob("small"))


# -- full disks --------------------------------------------------------------------------------------------


class FullDisk(FileStorage):
    """Refuses the write with number ``fails_at``, and those after it."""

    fails_at = 1 << 60

    def write(self, data: object, offset: int) -> None:
        self.fails_at -= 1
        if self.fails_at < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write(data, offset)  # type: ignore[arg-type]


def test_any_write_may_be_refused(tmp_path: Path, make_blob: MakeBlob) -> None:
    """Whichever write fails: the transaction has not happened, or recovery finishes it."""
    path = tmp_path / "p.h5"
    HDF5Pool(path).close()
    disk = FullDisk(os.open(path, os.O_RDWR), durable=False)
    file = PoolFile(disk, str(path))
    file.refresh()
    refused = finished_later = 0
    for number in range(40):
        small, large = make_blob("small", b"%d" % number), make_blob("large", np.full(5000, number))
        before = set(file.index.entries.values())
        transaction = file.begin()
        disk.fails_at = number % 20
        failure = None
        try:
            transaction.put("small", small)
            transaction.put("large", large)
            transaction.commit()
        except OSError as error:
            failure = error
        if failure is not None:
            assert failure.errno == errno.ENOSPC
            refused += 1
            committed = transaction.committed
            transaction.rollback()
            disk.fails_at = 1 << 60
            assert set(file.index.entries.values()) == before
            assert file.needs_recovery() == committed
            if committed:
                finished_later += 1
                file.recover()
            file.refresh()
            assert (set(file.index.entries.values()) != before) == committed
        disk.fails_at = 1 << 60
        with h5py.File(path, "r") as opened:
            assert len(opened["entries"]) == len([e for e in file.index.entries.values() if len(e) == 4])
    assert refused > 10
    assert finished_later > 1


def fill_up(path: Path, make_blob: MakeBlob) -> None:
    """Write until it is refused; everything written before stays, and there is room again after deleting."""
    with HDF5Pool(path) as pool:
        written: list[Blob] = []

        def write_on() -> None:
            for number in range(10_000):
                data = random.Random(number).randbytes(50_000 if number % 2 else 500)
                blob = make_blob(f"k{number}", np.frombuffer(data, "u1"))
                pool._write(blob.key, blob)
                written.append(blob)

        with pytest.raises(PoolError, match="nothing was changed") as caught:
            write_on()
        assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)
        assert len(written) > 5
        for again in (pool, HDF5Pool(path)):
            assert sorted(again._keys()) == sorted(blob.key for blob in written)
            for blob in written:
                found = again._read(blob.key)
                assert found is not None
                assert bytes(checked_blob(blob.key, found)) == bytes(blob)
        pool._write("small", make_blob("small"))
    with h5py.File(path, "r") as opened:
        assert len(opened["entries"]) == len([b for b in written if b.buffers and b.nbytes > 20_000])


def test_full_disk(tmp_path: Path, make_blob: MakeBlob) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", tmp_path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system can only be mounted by root")
    try:
        fill_up(tmp_path / "p.h5", make_blob)
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


@pytest.fixture
def limit_of_2_mib() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("limit_of_2_mib")
def test_limit_of_file_size(tmp_path: Path, make_blob: MakeBlob) -> None:
    fill_up(tmp_path / "p.h5", make_blob)


def test_no_room_for_a_new_file(tmp_path: Path) -> None:
    script = (
        "import resource, sys\n"
        "from laila.errors import PoolError\n"
        "from laila.pool.hdf5 import HDF5Pool\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: HDF5Pool(sys.argv[1])\n"
        "except PoolError as error: print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "p.h5"], capture_output=True, text=True, check=True
    )
    assert "raise the limit" in run.stdout
    assert not (tmp_path / "p.h5").exists()
    assert not (tmp_path / "p.h5.creating").exists()


# -- compaction --------------------------------------------------------------------------------------------


def committed(pool: HDF5Pool) -> int:
    """How long the file is, without the lead that an open one has."""
    return superblock_end(pool._store.current().storage, pool.path)


def test_compaction_gives_space_back(pool: HDF5Pool, make_blob: MakeBlob) -> None:
    blobs = [make_blob(f"k{n}", np.full((50, 100), n), nickname=f"n{n}") for n in range(20)]
    blobs += [
        make_blob(f"m{n}", np.full(3000, n), np.asfortranarray(np.full((30, 40), n)), b"") for n in range(5)
    ]
    blobs += [make_blob(f"s{n}", b"%d" % n) for n in range(300)]
    for _ in range(3):
        pool._write_many([(blob.key, blob) for blob in blobs])
    pool._delete_many([f"k{n}" for n in range(0, 20, 2)])
    kept = {
        blob.key: bytes(blob) for blob in blobs if not (blob.key[0] == "k" and int(blob.key[1:]) % 2 == 0)
    }
    before = committed(pool)
    gained = pool.compact()
    assert gained > before * 0.6
    assert committed(pool) == before - gained
    for reader in (pool, HDF5Pool(pool.path)):
        assert set(reader._keys()) == set(kept)
        for key, raw in kept.items():
            found = reader._read(key)
            assert found is not None
            assert bytes(checked_blob(key, found)) == raw
    with h5py.File(pool.path, "r") as opened:
        assert len(opened["laila/deleted"]) == 0
        assert opened["entries/k1"].attrs["nickname"].decode() == "n1"
        assert opened["entries/m1/1"].shape == (30, 40)
    pool._write("after", make_blob("after", np.zeros(5000)))
    assert pool._exists("after")


def test_compaction_keeps_damaged_entries_for_what_can_be_saved(pool: HDF5Pool, make_blob: MakeBlob) -> None:
    pool._write("k", make_blob("k", np.zeros(5000)))
    offset = pool._store.current().index.entries["k"][3][0][0]  # type: ignore[misc]
    with open(pool.path, "r+b") as file:
        file.seek(offset)
        file.write(b"\x01")
    pool.compact()
    with pytest.raises(CorruptEntryError):
        checked_blob("k", pool._read("k") or b"")


def test_waste_is_compacted_by_itself(
    tmp_path: Path, make_blob: MakeBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_COMPACT_FROM", 1 << 20)
    largest = {}
    modes: tuple[Literal["auto", "manual"], ...] = ("auto", "manual")
    for mode in modes:
        with HDF5Pool(tmp_path / f"{mode}.h5", compact=mode, durable="process") as pool:
            sizes = []
            for number in range(60):
                pool._write("k", make_blob("k", np.full(20_000, number)))
                sizes.append(committed(pool))
            largest[mode] = max(sizes)
    assert largest["manual"] > 9_000_000
    assert largest["auto"] < 3_000_000


def test_failing_automatic_compaction_does_not_fail_the_write(
    tmp_path: Path, make_blob: MakeBlob, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store, "_COMPACT_FROM", 1 << 20)
    (tmp_path / "p.h5.compacting").mkdir()  # in the way: not even unlinking helps
    with HDF5Pool(tmp_path / "p.h5") as pool:
        for number in range(20):
            pool._write("k", make_blob("k", np.full(20_000, number)))
        assert bytes(checked_blob("k", pool._read("k") or b"")) == bytes(make_blob("k", np.full(20_000, 19)))
    assert "automatic compaction" in caplog.text
