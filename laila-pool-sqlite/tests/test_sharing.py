"""Threads, processes and forks that share a file."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from laila.contract import Blob
from laila.errors import PoolClosedError, PoolError, PoolLockedError
from laila.pool.sqlite import SQLitePool

MakeBlob = Callable[..., Blob]
Fork = Callable[[Callable[[], object]], int]


def test_many_processes_make_one_file(
    tmp_path: Path, make_blob: MakeBlob, fork: Fork, exit_code: Callable[[int], int]
) -> None:
    """At once: one of them makes it, and all of them use it."""

    def use(file: Path, worker: int) -> None:
        for turn in range(3):
            with SQLitePool(file) as pool:
                pool._create(f"{worker} {turn}", make_blob(f"{worker} {turn}"))

    for attempt in range(3):
        file = tmp_path / f"{attempt}.db"
        children = [fork(partial(use, file, worker)) for worker in range(6)]
        assert [exit_code(child) for child in children] == [0] * 6
        with SQLitePool(file) as pool:
            assert len(list(pool._keys())) == 18


# -- threads, processes, forks -----------------------------------------------------------------------------


@contextmanager
def another_process_writing(file: Path) -> Iterator[None]:
    script = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('BEGIN IMMEDIATE')\n"
        "print('writing', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        yield
        process.communicate()


def test_another_process_that_writes_for_too_long(file: Path, make_blob: MakeBlob) -> None:
    with SQLitePool(file, lock_timeout=0.3) as pool:
        pool._write("k", make_blob("k"))
        with another_process_writing(file):
            with pytest.raises(PoolLockedError, match="lock_timeout") as caught:
                pool._write("l", make_blob("l"))
            assert isinstance(caught.value, TimeoutError)
            assert pool._exists("k"), "readers wait for nobody"
            assert not pool._exists("l")
        pool._write("l", make_blob("l"))


def test_a_file_in_another_journal_mode_is_waited_for(file: Path) -> None:
    """It was changed by hand, or another process is just making it; SQLite itself would fail at once."""
    SQLitePool(file).close()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    with another_process_writing(file), pytest.raises(PoolLockedError):
        SQLitePool(file, lock_timeout=0.2)
    opened: list[str] = []

    def open_it() -> None:
        with SQLitePool(file, lock_timeout=20) as pool, pool._database.reading() as asked:
            opened.extend(mode for (mode,) in asked.execute("PRAGMA journal_mode"))

    opener = threading.Thread(target=open_it)
    with another_process_writing(file):
        opener.start()
        opener.join(0.3)
        assert opener.is_alive()
    opener.join(20)
    assert opened == ["wal"]


def test_threads_queue_no_longer_than_the_timeout(file: Path, make_blob: MakeBlob) -> None:
    with SQLitePool(file, lock_timeout=0.3) as pool, pool._database.writing():
        failed: list[BaseException] = []

        def write() -> None:
            try:
                pool._write("k", make_blob("k"))
            except PoolLockedError as error:
                failed.append(error)

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(failed) == 4


def test_close_waits_for_calls_under_way(file: Path) -> None:
    pool = SQLitePool(file)
    inside, leave = threading.Event(), threading.Event()

    def write() -> None:
        with pool._database.writing() as connection:
            connection.execute("DELETE FROM entries")
            inside.set()
            leave.wait(20)

    writer = threading.Thread(target=write)
    writer.start()
    assert inside.wait(20)
    closer = threading.Thread(target=pool.close)
    closer.start()
    closer.join(0.2)
    assert closer.is_alive()
    with pytest.raises(PoolClosedError):
        pool._database.reading().__enter__()
    leave.set()
    closer.join(20)
    writer.join(20)
    assert not closer.is_alive()
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_children_and_parent_write_side_by_side(
    pool: SQLitePool, make_blob: MakeBlob, fork: Fork, exit_code: Callable[[int], int]
) -> None:
    stop, failed = threading.Event(), []

    def write(worker: int) -> None:
        number = 0
        try:
            while not stop.is_set():
                key = f"{worker} {number}"
                pool._write(key, make_blob(key, 500))
                assert pool._exists(key)
                number += 1
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failed.append(error)

    def child(turn: int) -> None:
        key = f"child {turn}"
        pool._write(key, make_blob(key))
        assert pool._exists("0 0")
        pool.close()

    pool._write("0 0", make_blob("0 0"))
    threads = [threading.Thread(target=write, args=[worker]) for worker in range(4)]
    for thread in threads:
        thread.start()
    codes = [exit_code(fork(partial(child, turn))) for turn in range(6)]
    stop.set()
    for thread in threads:
        thread.join(30)
    assert (codes, failed) == ([0] * 6, [])
    assert all(pool._exists(f"child {turn}") for turn in range(6))
    with pool._database.reading() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_child_forked_in_the_midst_of_a_call_is_told_so(
    pool: SQLitePool,
    monkeypatch: pytest.MonkeyPatch,
    make_blob: MakeBlob,
    fork: Fork,
    exit_code: Callable[[int], int],
) -> None:
    monkeypatch.setattr("laila.pool.sqlite.database._FORK_PATIENCE", 0.1)

    def child() -> None:
        with pytest.raises(PoolError, match="forked in the midst"):
            pool._read("k")

    with pool._database.writing() as connection:
        assert exit_code(fork(child)) == 0
        connection.execute("DELETE FROM entries")
    pool._write("k", make_blob("k"))
