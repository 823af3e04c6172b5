"""A folder of bounded size: what was used least recently goes, and nothing else."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import laila
from laila.errors import PoolError, SettingsError
from laila.pool.files import FilesystemPool

MIB = 1 << 20


def fill(pool: FilesystemPool, count: int, start: int = 0) -> list[str]:
    """File entries of 100 KB, each used a second after the one before."""
    keys = []
    for number in range(start, start + count):
        entry = laila.constant(np.full(12_500, float(number)))
        pool[entry.global_id] = entry
        if os.path.exists(path := pool.file_of(entry.global_id)):
            os.utime(path, (1_000_000 + number, os.stat(path).st_mtime))
        keys.append(entry.global_id)
    return keys


def size_of(pool: FilesystemPool) -> int:
    return sum(path.stat().st_size for path in Path(pool.path, "entries").rglob("*.laila"))


@pytest.fixture
def pool(tmp_path: Path) -> FilesystemPool:
    return FilesystemPool(tmp_path / "cache", max_bytes=2 * MIB, durable="process")


def test_what_was_used_least_recently_goes(pool: FilesystemPool) -> None:
    keys = fill(pool, 19)
    assert len(pool) == 19
    assert pool[keys[0]] is not None  # a use
    fill(pool, 10, start=100)
    assert size_of(pool) <= 2 * MIB
    assert pool.evictions == 29 - len(pool)
    assert keys[0] in pool
    assert keys[1] not in pool
    gone = [key not in pool for key in keys[1:]]
    assert gone == sorted(gone, reverse=True)


def test_reading_leaves_the_time_of_writing(pool: FilesystemPool) -> None:
    (key,) = fill(pool, 1)
    path = pool.file_of(key)
    os.utime(path, (1_000, 2_000))
    assert pool[key] is not None
    assert os.stat(path).st_mtime == 2_000
    assert os.stat(path).st_atime > 1_000_000_000
    os.utime(path, (1_000, 2_000))
    assert pool[key] is not None  # within a minute it is not written down again
    assert os.stat(path).st_mtime == 2_000


def test_files_of_others_and_unfinished_files_stay(pool: FilesystemPool) -> None:
    fill(pool, 1)
    folder = next(Path(pool.path, "entries").iterdir())
    for path in (folder / "notes.txt", Path(pool.path, "tmp", "other.tmp")):
        path.write_bytes(bytes(MIB))
        os.utime(path, (0, 0))
    fill(pool, 60, start=1)
    assert (folder / "notes.txt").exists()
    assert Path(pool.path, "tmp", "other.tmp").exists()


def test_a_chain_reads_what_its_cache_let_go_of(tmp_path: Path, pool: FilesystemPool) -> None:
    store = FilesystemPool(tmp_path / "store", durable="process")
    chain = laila.tiers(pool, store)
    blobs = []
    for number in range(40):
        entry = laila.constant(np.full(12_500, float(number)))
        store[entry.global_id] = entry
        blobs.append(store[entry.global_id])
    assert all(outcome.value == "same" for outcome in chain.store(blobs))  # type: ignore[union-attr]
    assert len(store) == 40
    assert size_of(pool) <= 2 * MIB
    found = chain.load([blob.key for blob in blobs])
    assert [blob.key for blob in found] == [blob.key for blob in blobs]  # type: ignore[union-attr]
    assert size_of(pool) <= 2 * MIB


def test_alone_it_warns(pool: FilesystemPool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "laila.pool"):
        fill(pool, 60)
    assert len([record for record in caplog.records if "no tier" in record.getMessage()]) == 1


def test_what_is_too_large_or_no_bound_is_refused(tmp_path: Path, pool: FilesystemPool) -> None:
    with pytest.raises(PoolError, match="at most"):
        pool["a"] = bytes(3 * MIB)
    for wrong in (0, -1, MIB - 1):
        with pytest.raises(SettingsError):
            FilesystemPool(tmp_path / "x", max_bytes=wrong)
    assert not (tmp_path / "x").exists()
    again = FilesystemPool.from_url(f"file:{tmp_path}/cache?max_bytes=2097152")
    assert again.options()["max_bytes"] == 2 * MIB


WRITER = """
import sys
import numpy as np, laila
from laila.pool.files import FilesystemPool
pool = FilesystemPool(sys.argv[1], max_bytes=2 << 20, durable="process")
for number in range(80):
    entry = laila.constant(np.full(12_500, float(number)))
    pool[entry.global_id] = entry
    assert pool[entry.global_id] is not None  # what was just written is there
print(pool.evictions)
"""


def test_processes_share_the_bound(tmp_path: Path) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "cache")], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in running:
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 0
        assert int(output) > 0
    pool = FilesystemPool(tmp_path / "cache")
    assert size_of(pool) <= 2 * MIB * 1.1 + 2 * 100_000
    assert laila.verify(pool).wait().whole
