"""What is in the file: rows and chunks, the plans of queries, limits, full disks, and forgeries."""

from __future__ import annotations

import errno
import random
import resource
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from laila.contract import Blob, Buffer
from laila.errors import CorruptEntryError, LailaError, PoolError, PoolFormatError
from laila.pool.sqlite import SQLitePool, layout
from laila.pool.sqlite.layout import CHUNK
from laila.pool.sqlite.pool import _EVOLUTIONS, _KEYS, _NEWEST

MakeBlob = Callable[..., Blob]

# -- queries -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", [_KEYS, _NEWEST, _EVOLUTIONS], ids=["keys", "newest", "evolutions"])
def test_listing_and_looking_up_read_an_index_and_no_blob(query: str, pool: SQLitePool) -> None:
    with pool._database.reading() as connection:
        plan = [row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", ("x",))]
    assert len(plan) == 1, "and they sort nothing"
    assert plan[0].startswith("SEARCH entries USING COVERING INDEX")


def test_a_head_and_a_size_are_read_without_the_array(pool: SQLitePool, make_blob: MakeBlob) -> None:
    blob = make_blob("large", 5_000_000)
    pool._write("large", blob)
    found = pool._read_head("large")
    assert found is not None
    assert len(found) < 1000
    assert pool._sizes(["large", "none"]) == [blob.nbytes, None]
    with pool._database.reading() as connection:
        asked: list[str] = []
        connection.set_trace_callback(asked.append)
        layout.read_head(connection, "large")
        connection.set_trace_callback(None)
    assert not any("chunks" in query or "body" in query for query in asked), asked


def test_a_listing_that_is_left_holds_up_nothing(pool: SQLitePool, file: Path, make_blob: MakeBlob) -> None:
    pool._write_many([(f"{n:05}", make_blob(f"{n:05}")) for n in range(2500)])
    listing = pool._keys()
    assert next(listing) == "00000"
    for _ in range(8):
        pool._write_many([(f"{n:05}", make_blob(f"{n:05}", 20_000)) for n in range(200)])
    log = file.with_name(f"{file.name}-wal").stat().st_size
    assert log < 16_000_000, "the log is used again although the listing is not at its end"
    pool._delete("00001")
    pool._delete("01500")
    rest = list(listing)
    assert rest == sorted(set(rest))
    assert "01500" not in rest
    assert len(rest) >= 2497


# -- limits ------------------------------------------------------------------------------------------------


def fill_up(file: Path, make_blob: MakeBlob) -> None:
    with SQLitePool(file) as pool:
        pool._write("first", make_blob("first", 100_000))
        with pytest.raises(PoolError) as caught:
            pool._write_many([(f"k{n}", make_blob(f"k{n}", 100_000)) for n in range(100)])
        assert caught.value.errno in {errno.ENOSPC, errno.EIO, errno.EFBIG}
        assert list(pool._keys()) == ["first"], "nothing of the batch is there"
        pool._delete("first")
        pool._write("second", make_blob("second", 1000))
    with SQLitePool(file) as pool:
        assert list(pool._keys()) == ["second"]


def test_full_disk(tmp_path: Path, make_blob: MakeBlob) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", tmp_path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system can only be mounted by root")
    try:
        fill_up(tmp_path / "pool.db", make_blob)
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_limit_of_file_size(file: Path, make_blob: MakeBlob) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, hard))
    try:
        fill_up(file, make_blob)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# -- chunks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [-1, 0, 1, CHUNK, 2 * CHUNK + 7])
def test_a_blob_of_any_size_comes_back_whole_and_in_parts(
    more: int, pool: SQLitePool, make_blob: MakeBlob
) -> None:
    blob = make_blob("k", CHUNK + more)
    pool._write("k", blob)
    whole = bytes(blob)
    found = pool._read("k")
    assert found is not None
    assert bytes(found) == whole
    end = len(whole)
    ranges = [(0, 1), (7, 500), (CHUNK - 3, CHUNK + 40), (CHUNK + 200, end + 99), (end + 100, end + 200)]
    assert pool._read_ranges("k", ranges) == [whole[start:stop] for start, stop in ranges]
    pool._write("k", make_blob("k"))
    with pool._database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM chunks").fetchall() == [(0,)], (
            "those of before are gone"
        )


def test_buffers_that_cross_chunks_are_cut_right(pool: SQLitePool) -> None:
    buffers = [
        Buffer(memoryview(bytes([n]) * size)) for n, size in enumerate([700_001, 3, 900_000, 1, 600_007])
    ]
    blob = Blob("k", b"\x90", tuple(buffers))
    pool._write("k", blob)
    found = pool._read("k")
    assert found is not None
    assert bytes(found) == bytes(blob)


def test_a_head_of_more_than_a_chunk(pool: SQLitePool) -> None:
    blob = Blob("k", b"\xc6\x00\x30\x00\x00" + bytes(0x300000), (Buffer(memoryview(b"x" * 10)),))
    pool._write("k", blob)
    head, found = pool._read_head("k"), pool._read("k")
    assert head is not None
    assert found is not None
    assert head == blob.head
    assert bytes(found) == bytes(blob)


# -- forgeries ---------------------------------------------------------------------------------------------

CHUNKED = 3 * CHUNK
FORGED = {
    "a size beyond the file": "UPDATE entries SET size = 1 << 40",
    "a size beyond all files": "UPDATE entries SET size = 9223372036854775807",
    "a size below zero": "UPDATE entries SET size = -5",
    "a size that is text": "UPDATE entries SET size = 'x'",
    "a head that is text": "UPDATE entries SET head = 'text'",
    "a head that is a number": "UPDATE entries SET head = 7",
    "a head of a gigabyte": "UPDATE entries SET head = zeroblob(50000000)",
    "a body where chunks were": "UPDATE entries SET body = x'00'",
    "a body that is a number": "UPDATE entries SET body = 1.5",
    "a chunk that is missing": "DELETE FROM chunks WHERE id % 1048576 = 1",
    "the last chunk is missing": "DELETE FROM chunks WHERE id IN (SELECT max(id) FROM chunks)",
    "all chunks are missing": "DELETE FROM chunks",
    "a chunk that is text": "UPDATE chunks SET data = 'x'",
    "a chunk that is short": "UPDATE chunks SET data = x'00'",
    "a chunk that is long": "UPDATE chunks SET data = zeroblob(9000000)",
    "an id of no entry": "UPDATE entries SET id = 9000000000000000000",
    "an id below zero": "UPDATE entries SET id = -3",
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
def test_forged_rows_are_an_error_of_that_entry(change: str, file: Path, make_blob: MakeBlob) -> None:
    with SQLitePool(file, durable="process") as pool:
        pool._write("k", make_blob("k", CHUNKED))
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(change)
    with SQLitePool(file) as pool:
        with pytest.raises(CorruptEntryError) as caught:
            pool["k"]
        assert caught.value.key == "k"
        for ask in (
            pool._read_head,
            pool.exists,
            lambda key: pool._read_ranges(key, [(0, 9), (CHUNK, CHUNK + 9)]),
        ):
            with suppress(LailaError):
                ask("k")
        assert list(pool.keys()) == ["k"]
        del pool["k"]
        pool._write("k", make_blob("k", CHUNKED))
        assert pool["k"].nbytes


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO entries (key, size, head) VALUES (x'ff', 1, x'00')",
        "INSERT INTO entries (key, size, head) VALUES (CAST(x'ff61' AS TEXT), 1, x'00')",
        "INSERT INTO entries (key, stem, evolution, size, head) VALUES ('x', 's', 'not a number', 1, x'00')",
        "INSERT INTO entries (key, stem, evolution, size, head) VALUES ('y', 's', x'00', 1, x'00')",
    ],
)
def test_forged_keys_are_an_error_of_the_file(change: str, file: Path) -> None:
    SQLitePool(file).close()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(change)
    asks: list[Callable[[SQLitePool], object]] = [
        lambda pool: pool._newest("s"),
        lambda pool: pool._evolutions("s"),
    ]
    if "'s'" not in change:
        asks = [lambda pool: list(pool._keys())]
    for ask in asks:
        with SQLitePool(file) as pool, pytest.raises(PoolFormatError, match="damaged"):
            ask(pool)


ENDLESS = """
ALTER TABLE entries RENAME TO rows;
CREATE VIEW entries AS
  WITH RECURSIVE r(key, size, head, body, stem, evolution, id) AS (
    SELECT 'k', 1, x'00', x'00', '', '', 1 UNION ALL SELECT * FROM r
  )
  SELECT * FROM r
"""


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE more (x)",
        "CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM entries; END",
        "CREATE VIEW v AS SELECT 1",
        "ALTER TABLE entries ADD COLUMN more",
        "DROP INDEX evolutions",
        ENDLESS,
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_tables_of_somebody_else_are_refused(change: str, read_only: bool, file: Path) -> None:
    SQLitePool(file).close()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executescript(change)
    before = file.read_bytes()
    with pytest.raises(PoolFormatError, match="tables"):
        SQLitePool(file, read_only=read_only)
    assert file.read_bytes() == before


def test_analyze_and_vacuum_of_other_tools_do_no_harm(file: Path, make_blob: MakeBlob) -> None:
    with SQLitePool(file) as pool:
        pool._write("k-1", make_blob("k-1"))
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("ANALYZE")
        connection.execute("VACUUM")
    with SQLitePool(file) as pool:
        assert pool._newest("k") == "k-1"


def test_each_page_may_be_damaged(tmp_path: Path, make_blob: MakeBlob) -> None:
    """Whatever comes of it is an error of laila's, and comes at once; or the page was not needed."""
    with SQLitePool(tmp_path / "whole.db", durable="process") as pool:
        pool._write_many([(f"k-{n}", make_blob(f"k-{n}", 700)) for n in range(60)])
        pool._write("large", make_blob("large", CHUNK + 9))
        whole = {key: bytes(pool[key]) for key in pool}
    data = (tmp_path / "whole.db").read_bytes()
    noise = random.Random(7)
    failures = 0
    for page in [*range(25), *range(25, len(data) // 4096, 40)]:
        for damage in (bytes(4096), noise.randbytes(4096), data[4096 * 2 : 4096 * 3]):
            file = tmp_path / "damaged.db"
            file.write_bytes(data[: page * 4096] + damage + data[(page + 1) * 4096 :])
            try:
                with SQLitePool(file, read_only=True) as pool:
                    assert pool._evolutions("k") is not None
                    for key in pool:
                        assert bytes(pool[key]) == whole[key]
            except LailaError:
                failures += 1
    assert failures > 20


def test_space_is_given_back(pool: SQLitePool, file: Path, make_blob: MakeBlob) -> None:
    pool._write_many([(f"{n}", make_blob(f"{n}", 400_000)) for n in range(10)])
    pool._delete_many([f"{n}" for n in range(9)])
    assert pool.compact() > 3_000_000
    assert file.stat().st_size < 600_000
    assert list(pool._keys()) == ["9"]
