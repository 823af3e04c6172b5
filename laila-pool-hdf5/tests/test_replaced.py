"""Files that are copied, replaced or compacted while they are open, and file systems without locks."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laila.codec import decode, encode
from laila.errors import PoolError
from laila.pool.hdf5 import HDF5Pool

WRITER = """
import random, sys
import numpy as np
from laila.codec import encode
from laila.pool.hdf5 import HDF5Pool
pool = HDF5Pool(sys.argv[1], durable="process")
rng = random.Random(1)
keys = []
while True:
    some = [f"key {len(keys) + i}" for i in range(rng.choice([1, 3, 10]))]
    made = [(key, np.full(rng.choice([10, 3000, 20000]), len(keys))) for key in some]
    pool._write_many([(key, encode(array, key=key)) for key, array in made])
    keys += some
    pool._delete_many([rng.choice(keys)])
    print(len(keys), flush=True)
"""


def is_whole(pool: HDF5Pool) -> bool:
    contents: list[Any] = [decode(pool[key]) for key in pool]
    return all(len(set(np.ravel(content).tolist())) == 1 for content in contents)


def test_a_copy_of_a_busy_file_is_whole_and_can_be_written_to(tmp_path: Path) -> None:
    copies = []
    command = [sys.executable, "-c", WRITER, str(tmp_path / "busy.h5")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for number in range(4):
            for _ in range(24):
                writer.stdout.readline()
            copies.append(tmp_path / f"copy{number}.h5")
            shutil.copyfile(tmp_path / "busy.h5", copies[-1])
        writer.kill()
    counts = []
    for copy in copies:
        with HDF5Pool(copy, read_only=True) as pool:
            counts.append(len(list(pool.keys())))
            assert is_whole(pool)
        with HDF5Pool(copy) as pool:
            pool._write_many([(f"new {i}", encode(np.full(20_000, i), key=f"new {i}")) for i in range(20)])
            pool._delete("key 1")
            assert is_whole(pool)
            assert len(list(pool.keys())) >= counts[-1] + 19
            pool.compact()
            assert is_whole(pool)
    assert counts == sorted(counts)
    assert counts[0] > 20


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_takes_the_place_of_another_is_what_is_read(tmp_path: Path, read_only: bool) -> None:
    for name in ("old", "new"):
        with HDF5Pool(tmp_path / f"{name}.h5") as pool:
            pool._write("k", encode(name, key="k"))
    with HDF5Pool(tmp_path / "old.h5", read_only=read_only) as pool:
        assert decode(pool["k"]) == "old"
        os.rename(tmp_path / "new.h5", tmp_path / "old.h5")
        assert decode(pool["k"]) == "new"
        os.unlink(tmp_path / "old.h5")
        with pytest.raises(PoolError, match="was removed"):
            pool._read("k")


def test_compaction_keeps_owner_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "p.h5"
    with HDF5Pool(path) as pool, HDF5Pool(path, read_only=True) as other:
        pool._write("k", encode(b"x" * 300_000, key="k"))
        path.chmod(0o600)
        if not os.getuid():
            os.chown(path, 12345, 54321)
        before = path.stat()
        for _ in range(2):
            pool.compact()
            after = path.stat()
            assert (after.st_mode, after.st_uid, after.st_gid) == (
                before.st_mode,
                before.st_uid,
                before.st_gid,
            )
            pool._write("new", encode(1, key="new"))
            assert decode(other["new"]) == 1


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def no_locks(fd: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    with HDF5Pool(tmp_path / "there.h5") as pool:
        pool._write("k", encode(1, key="k"))
    monkeypatch.setattr(fcntl, "flock", no_locks)
    for name, read_only in (("there", False), ("there", True), ("new", False)):
        with pytest.raises(PoolError, match=r"the file system has no locks.*lock='none'") as caught:
            HDF5Pool(tmp_path / f"{name}.h5", read_only=read_only)
        assert caught.value.errno == number
    assert not (tmp_path / "new.h5").exists()
    with HDF5Pool(tmp_path / "there.h5", lock="none") as pool:
        pool._write("new", encode(2, key="new"))
        pool.compact()
        assert decode(pool["k"]) == 1
    with HDF5Pool(tmp_path / "there.h5", lock="none", read_only=True) as pool:
        assert decode(pool["new"]) == 2


@pytest.mark.parametrize("restored", ["another pool", "an older copy", "a longer copy"])
def test_a_file_that_is_written_over_is_read_anew(restored: str, tmp_path: Path) -> None:
    """`cp backup.h5 pool.h5` keeps the file and changes what is in it, under those who have it open."""
    path, other = tmp_path / "pool.h5", tmp_path / "backup.h5"

    def write(pool: HDF5Pool, key: str, nbytes: int = 10) -> None:
        pool._write(key, encode(key * nbytes, key=key))

    with HDF5Pool(path) as pool, HDF5Pool(path, read_only=True) as reader:
        write(pool, "old")
        if restored != "another pool":
            shutil.copyfile(path, other)
        with HDF5Pool(other) as there:
            write(there, "backed up", 50_000)
            for number in range(9 if restored == "a longer copy" else 0):
                write(there, f"more {number}", 9_000)
        for number in range(4):
            write(pool, f"lost {number}", 20_000)
        assert len(list(reader.keys())) == 5
        shutil.copyfile(other, path)
        for each in (reader, pool):
            keys = set(each.keys())
            assert "backed up" in keys
            assert not any(key.startswith("lost") for key in keys)
            assert decode(each["backed up"]) == "backed up" * 50_000
        write(pool, "new")
        assert decode(reader["new"]) == "new" * 10
        assert decode(reader["backed up"]) == "backed up" * 50_000
    with HDF5Pool(path) as pool:
        assert {"backed up", "new"} <= set(pool.keys())


def test_a_file_with_two_names_is_not_written_to(tmp_path: Path) -> None:
    path, link = tmp_path / "pool.h5", tmp_path / "link.h5"
    with HDF5Pool(path) as pool:
        pool._write("a", encode(1, key="a"))
        os.link(path, link)
        with HDF5Pool(link) as other:
            for each in (pool, other):
                with pytest.raises(PoolError, match="hard links"):
                    each._write("b", encode(2, key="b"))
                assert decode(each["a"]) == 1
        os.unlink(link)
        pool._write("b", encode(2, key="b"))
