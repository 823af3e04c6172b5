"""`max_bytes`: how much is kept, what goes first, and that processes share it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from laila.contract import Blob
from laila.errors import SettingsError
from laila.pool.sqlite import SQLitePool

MakeBlob = Callable[..., Blob]
MIB = 1 << 20


def in_use(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        numbers = [
            connection.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "freelist_count")
        ]
        return int(numbers[0] - numbers[1]) * 4096


@pytest.mark.parametrize("size", [500, 30_000, 700_000, 1_500_000])
def test_no_more_is_in_use_than_it_says(size: int, file: Path, make_blob: MakeBlob) -> None:
    with SQLitePool(file, durable="process", max_bytes=4 * MIB) as pool:
        for turn in range(6):
            keys = [f"{turn} {n}" for n in range(MIB // size + 2)]
            pool._create_many([(key, make_blob(key, size)) for key in keys])
        assert in_use(file) <= 4 * MIB
        held = len(pool)
        assert held >= (4 * MIB - 400_000) // (size + 800) - 1, "and not much less"
        assert pool.evictions > 0
    assert file.stat().st_size <= 6 * MIB


def test_what_was_used_last_stays(file: Path, make_blob: MakeBlob) -> None:
    with SQLitePool(file, durable="process", max_bytes=4 * MIB) as pool:
        for n in range(60):
            pool._write(f"{n:02}", make_blob(f"{n:02}", 200_000))
            assert pool._read("00") is not None
            if n > 4:
                assert pool._read_ranges("05" if n > 5 else "00", [(0, 10)]) is not None
        held = list(pool._keys())
        assert {"00", "05", "59"} <= set(held)
        assert held[2:] == [f"{n:02}" for n in range(62 - len(held), 60)]
        pool._write("00", make_blob("00", 100))
        assert pool._delete("59")


def test_what_was_read_before_it_was_closed_stays(file: Path, make_blob: MakeBlob) -> None:
    with SQLitePool(file, durable="process", max_bytes=2 * MIB) as pool:
        pool._write_many([(f"{n}", make_blob(f"{n}", 400_000)) for n in range(4)])
        pool._read("0")
    with SQLitePool(file, durable="process", max_bytes=2 * MIB) as pool:
        pool._write("new", make_blob("new", 700_000))
        assert "0" in list(pool._keys())
        assert "1" not in list(pool._keys())


def test_entries_of_a_pool_without_a_bound_go_first(file: Path, make_blob: MakeBlob) -> None:
    with SQLitePool(file, durable="process") as pool:
        pool._write_many([(f"old {n}", make_blob(f"old {n}", 400_000)) for n in range(20)])
    with SQLitePool(file, durable="process", max_bytes=2 * MIB) as pool:
        pool._write("new", make_blob("new", 400_000))
        assert "new" in list(pool._keys())
        assert in_use(file) <= 2 * MIB


def test_what_is_there_makes_no_room_for_itself(file: Path, make_blob: MakeBlob) -> None:
    with SQLitePool(file, durable="process", max_bytes=2 * MIB) as pool:
        blob = make_blob("a", 900_000)
        pool._write_many([("a", blob), ("b", make_blob("b", 900_000))])
        assert pool._create("a", blob) is False
        assert list(pool._keys()) == ["a", "b"]


def test_a_cache_that_loses_the_only_copy_says_so_once(
    file: Path, make_blob: MakeBlob, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), SQLitePool(file, durable="process", max_bytes=MIB) as pool:
        for n in range(6):
            pool._write(f"{n}", make_blob(f"{n}", 500_000))
    assert caplog.text.count("lets go of entries") == 1


def test_a_bound_that_is_too_small_and_an_entry_that_is_too_large(file: Path, make_blob: MakeBlob) -> None:
    with pytest.raises(SettingsError, match="max_bytes"):
        SQLitePool(file, max_bytes=1000)
    assert not file.exists()
    with SQLitePool.from_url(f"sqlite://{file}?max_bytes=2000000") as pool:
        most = pool.max_blob_bytes
        assert most is not None
        assert 1_700_000 < most < 2_000_000
        pool._write("k", make_blob("k", most - 1000))
        assert in_use(file) <= 2_000_000
        assert list(pool._keys()) == ["k"]


def test_processes_share_the_bound(
    file: Path,
    make_blob: MakeBlob,
    fork: Callable[[Callable[[], object]], int],
    exit_code: Callable[[int], int],
) -> None:
    SQLitePool(file, durable="process").close()

    def fill(worker: int) -> None:
        with SQLitePool(file, durable="process", max_bytes=3 * MIB) as pool:
            for n in range(30):
                key = f"{worker} {n}"
                blob = make_blob(key, 100_000)
                pool._write(key, blob)
                found = pool._read(key)
                assert found is None or bytes(found) == bytes(blob)

    children = [fork(partial(fill, worker)) for worker in range(4)]
    assert [exit_code(child) for child in children] == [0] * 4
    assert in_use(file) <= 3 * MIB
    with SQLitePool(file) as pool:
        assert len(pool) > 20
