"""What is special about SQLite: files of others, locks, full disks, forks, and what stays beside the file."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from laila.contract import Blob, Buffer
from laila.errors import PoolClosedError, PoolError, PoolFormatError, PoolLockedError, SettingsError
from laila_pool_sqlite import SQLitePool
from laila_pool_sqlite.database import FORMAT_VERSION
from laila_pool_sqlite.pool import _EVOLUTIONS, _KEYS, _NEWEST


def make_blob(key: str, size: int = 10) -> Blob:
    return Blob(key, b"\x90", (Buffer(memoryview(os.urandom(size))),))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pool.db"


@pytest.fixture
def pool(file: Path) -> Iterator[SQLitePool]:
    with SQLitePool(file) as opened:
        yield opened


# -- the file ----------------------------------------------------------------------------------------------


def test_urls_and_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with SQLitePool.from_url("sqlite:here%3F.db?durable=process&lock_timeout=2", nickname="n") as pool:
        assert (pool.path, pool.durability, pool.nickname) == (str(tmp_path / "here?.db"), "process", "n")
        assert pool.options() == {
            "path": pool.path,
            "durable": "process",
            "lock_timeout": 2.0,
            "read_only": False,
            "nickname": "n",
        }
    with SQLitePool.from_url(f"sqlite://{tmp_path}/there.db") as pool:
        assert (pool.path, pool.durability) == (str(tmp_path / "there.db"), "power")
    for url in ("sqlite://host/x.db", "sqlite:x.db#part", "other:x.db"):
        with pytest.raises(SettingsError, match="sqlite:///absolute"):
            SQLitePool.from_url(url)
    with pytest.raises(SettingsError, match="lock_timeout"):
        SQLitePool(tmp_path / "x.db", lock_timeout=-1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here?.db", "there.db"]


@pytest.mark.parametrize(("durable", "synchronous"), [("power", 2), ("process", 1)])
def test_a_commit_is_synced_where_that_is_promised(durable: str, synchronous: int, file: Path) -> None:
    """SQLite's FULL syncs the log at each commit, NORMAL when the log is moved into the file."""
    with SQLitePool.from_url(f"sqlite://{file}?durable={durable}") as pool, pool._database.reading() as asked:
        assert pool.durability == durable
        assert asked.execute("PRAGMA synchronous").fetchall() == [(synchronous,)]
        assert asked.execute("PRAGMA journal_mode").fetchall() == [("wal",)]


def test_many_processes_make_one_file(tmp_path: Path) -> None:
    """At once: one of them makes it, and all of them use it."""

    def use(file: Path, worker: int) -> None:
        for turn in range(3):
            with SQLitePool(file) as pool:
                pool._create(f"{worker} {turn}", make_blob(f"{worker} {turn}"))

    for attempt in range(10):
        file = tmp_path / f"{attempt}.db"
        children = [fork(partial(use, file, worker)) for worker in range(6)]
        assert [exit_code(child) for child in children] == [0] * 6
        with SQLitePool(file) as pool:
            assert len(list(pool._keys())) == 18


def test_without_a_path_it_is_a_file_of_its_nickname() -> None:
    with SQLitePool(nickname="a/b") as pool:
        assert Path(pool.path).parts[-2:] == ("pools", "a%2Fb.db")
        assert "path" not in pool.options()
    with SQLitePool.from_url("sqlite:") as pool:
        assert Path(pool.path).name == "laila.db"


def other_sqlite_file(file: Path, journal: str = "delete", *, application_id: int = 0) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("CREATE TABLE notes (text)")
        connection.execute(f"PRAGMA application_id = {application_id}")
        connection.commit()


def no_sqlite_file(file: Path) -> None:
    file.write_bytes(b"neither SQLite nor a pool" * 400)


@pytest.mark.parametrize(
    "make",
    [
        no_sqlite_file,
        other_sqlite_file,
        lambda file: other_sqlite_file(file, "wal"),
        lambda file: other_sqlite_file(file, application_id=7),
    ],
    ids=["no SQLite", "other tables", "in WAL mode", "another program's"],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_of_others_is_left_as_it_is(make: Callable[[Path], None], file: Path, read_only: bool) -> None:
    make(file)
    before = file.read_bytes()
    with pytest.raises(PoolFormatError, match="left as it is"):
        SQLitePool(file, read_only=read_only)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_an_empty_file_is_taken_and_a_newer_format_is_not(file: Path) -> None:
    file.touch()
    with SQLitePool(file) as pool:
        pool._write("k", make_blob("k"))
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION + 1}")
    with pytest.raises(PoolFormatError, match="upgrade"):
        SQLitePool(file)


def test_a_damaged_file_is_no_pool(file: Path) -> None:
    with SQLitePool(file) as pool:
        pool._write_many([(f"k{n}", make_blob(f"k{n}", 3000)) for n in range(50)])
    data = bytearray(file.read_bytes())
    data[4096:40960] = b"\xee" * 36864
    file.write_bytes(data)
    with pytest.raises(PoolFormatError, match="damaged"), SQLitePool(file) as pool:
        list(pool._keys())


@pytest.mark.parametrize(
    ("place", "number"), [("no folder/x.db", errno.ENOENT), (".", errno.EISDIR)], ids=["folder", "directory"]
)
def test_a_place_where_no_file_can_be(place: str, number: int, tmp_path: Path) -> None:
    with pytest.raises(PoolError) as caught:
        SQLitePool(tmp_path / place)
    assert caught.value.errno == number
    assert list(tmp_path.iterdir()) == []


def test_read_only_makes_no_file_and_writes_nothing(file: Path) -> None:
    with pytest.raises(PoolError) as caught:
        SQLitePool(file, read_only=True)
    assert caught.value.errno == errno.ENOENT
    with SQLitePool(file) as pool:
        blob = make_blob("k")
        pool._write("k", blob)
        with SQLitePool(file, read_only=True) as looking:
            assert looking.exists("k")
            with pytest.raises(PoolError, match="read_only"):
                looking._write("k", make_blob("k"))
            with pytest.raises(PoolError, match="read_only"):
                looking._empty()
            pool._write("later", make_blob("later"))
            assert list(looking.keys()) == ["k", "later"]
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_file_that_is_not_at_its_place_any_more(pool: SQLitePool, file: Path) -> None:
    pool._write("k", make_blob("k"))
    aside = file.rename(file.with_name("aside.db"))
    with pytest.raises(PoolError, match="moved, deleted or replaced"):
        pool._write("l", make_blob("l"))
    with pytest.raises(PoolError, match="moved, deleted or replaced"):
        pool._read("k")
    assert not file.exists(), "no empty file takes its place"
    aside.rename(file)
    assert pool._exists("k")
    assert not pool._exists("l")


# -- queries -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", [_KEYS, _NEWEST, _EVOLUTIONS], ids=["keys", "newest", "evolutions"])
def test_listing_and_looking_up_read_an_index_and_no_blob(query: str, pool: SQLitePool) -> None:
    with pool._database.reading() as connection:
        plan = [row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", ("x",))]
    assert len(plan) == 1, "and they sort nothing"
    assert plan[0].startswith("SEARCH entries USING COVERING INDEX")


def test_a_head_and_a_size_are_read_without_the_array(pool: SQLitePool) -> None:
    blob = make_blob("large", 50_000_000)
    pool._write("large", blob)
    found = pool._read_head("large")
    assert found is not None
    assert len(found) < 1000
    assert pool._sizes(["large", "none"]) == [blob.nbytes, None]
    start = time.perf_counter()
    for _ in range(100):
        pool._read_head("large")
        pool._sizes(["large"])
    assert time.perf_counter() - start < 1.0, "200 times 50 MB would take longer"


def test_a_listing_that_is_left_holds_up_nothing(pool: SQLitePool, file: Path) -> None:
    pool._write_many([(f"{n:05}", make_blob(f"{n:05}")) for n in range(2500)])
    listing = pool._keys()
    assert next(listing) == "00000"
    for _ in range(30):
        pool._write_many([(f"{n:05}", make_blob(f"{n:05}", 2000)) for n in range(500)])
    log = file.with_name(f"{file.name}-wal").stat().st_size
    assert log < 20_000_000, "the log is used again although the listing is not at its end"
    pool._delete("00001")
    pool._delete("01500")
    rest = list(listing)
    assert rest == sorted(set(rest))
    assert "01500" not in rest
    assert len(rest) >= 2497


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


def test_another_process_that_writes_for_too_long(file: Path) -> None:
    with SQLitePool(file, lock_timeout=0.3) as pool:
        pool._write("k", make_blob("k"))
        with another_process_writing(file):
            start = time.monotonic()
            with pytest.raises(PoolLockedError, match="lock_timeout") as caught:
                pool._write("l", make_blob("l"))
            assert time.monotonic() - start < 10
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


def test_threads_queue_no_longer_than_the_timeout(file: Path) -> None:
    with SQLitePool(file, lock_timeout=0.3) as pool, pool._database.writing():
        failed: list[BaseException] = []

        def write() -> None:
            try:
                pool._write("k", make_blob("k"))
            except PoolLockedError as error:
                failed.append(error)

        threads = [threading.Thread(target=write) for _ in range(4)]
        start = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(failed) == 4
        assert time.monotonic() - start < 10


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


def fork(work: Callable[[], object]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # beside threads, which is what is tested
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_children_and_parent_write_side_by_side(pool: SQLitePool) -> None:
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
    codes = [exit_code(fork(partial(child, turn))) for turn in range(12)]
    stop.set()
    for thread in threads:
        thread.join(30)
    assert (codes, failed) == ([0] * 12, [])
    assert all(pool._exists(f"child {turn}") for turn in range(12))
    with pool._database.reading() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_child_forked_in_the_midst_of_a_call_is_told_so(
    pool: SQLitePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("laila_pool_sqlite.database._FORK_PATIENCE", 0.1)

    def child() -> None:
        with pytest.raises(PoolError, match="forked in the midst"):
            pool._read("k")

    with pool._database.writing() as connection:
        assert exit_code(fork(child)) == 0
        connection.execute("DELETE FROM entries")
    pool._write("k", make_blob("k"))


# -- limits ------------------------------------------------------------------------------------------------


def fill_up(file: Path) -> None:
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


def test_full_disk(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", tmp_path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system can only be mounted by root")
    try:
        fill_up(tmp_path / "pool.db")
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_limit_of_file_size(file: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, hard))
    try:
        fill_up(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_sqlite_takes_what_the_pool_says_it_takes(pool: SQLitePool) -> None:
    longest = "-".join(["x" * 256, "1" * 255])  # its number and what is before it are columns of their own
    row = SQLitePool.max_blob_bytes + 2 * len(longest) + 3 + 6 * 9
    with pool._database.reading() as connection:
        assert row <= connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
    with pytest.raises(PoolError) as caught:
        pool._write("k", make_blob("k", 20_000))
    assert caught.value.errno == errno.EFBIG
