"""Which file is opened, made, taken for a pool, or left as it is; options and places."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from laila.contract import Blob
from laila.errors import PoolError, PoolFormatError, SettingsError
from laila.pool.sqlite import SQLitePool
from laila.pool.sqlite.layout import FORMAT_VERSION
from laila.pool.sqlite.place import is_remote

MakeBlob = Callable[..., Blob]

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


@pytest.mark.parametrize(("durable", "synchronous"), [("power", 3), ("process", 1)])
def test_a_commit_is_synced_where_that_is_promised(durable: str, synchronous: int, file: Path) -> None:
    """SQLite's EXTRA syncs the log at each commit, NORMAL when the log is moved into the file."""
    with SQLitePool.from_url(f"sqlite://{file}?durable={durable}") as pool, pool._database.reading() as asked:
        assert pool.durability == durable
        assert asked.execute("PRAGMA synchronous").fetchall() == [(synchronous,)]
        assert asked.execute("PRAGMA journal_mode").fetchall() == [("wal",)]


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


def test_an_empty_file_is_taken_and_a_newer_format_is_not(file: Path, make_blob: MakeBlob) -> None:
    file.touch()
    with SQLitePool(file) as pool:
        pool._write("k", make_blob("k"))
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION + 1}")
    with pytest.raises(PoolFormatError, match="upgrade"):
        SQLitePool(file)


def test_a_damaged_file_is_no_pool(file: Path, make_blob: MakeBlob) -> None:
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


def test_read_only_makes_no_file_and_writes_nothing(file: Path, make_blob: MakeBlob) -> None:
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


def test_a_file_that_is_not_at_its_place_any_more(pool: SQLitePool, file: Path, make_blob: MakeBlob) -> None:
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


# -- who may read it, links, network file systems ----------------------------------------------------------


def test_only_the_owner_may_read_what_is_made(pool: SQLitePool, file: Path, make_blob: MakeBlob) -> None:
    pool._write("k", make_blob("k"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}
    assert modes == dict.fromkeys(("pool.db", "pool.db-wal", "pool.db-shm"), 384)


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_a_link_beside_the_file_is_not_followed(suffix: str, file: Path, make_blob: MakeBlob) -> None:
    """Somebody else may put one there where many share a folder."""
    treasure = file.parent / "treasure"
    treasure.write_bytes(b"another user's")
    (file.parent / (file.name + suffix)).symlink_to(treasure)
    with pytest.raises(PoolError) as caught, SQLitePool(file) as pool:
        pool._write("k", make_blob("k"))
    assert caught.value.errno == errno.ELOOP
    assert treasure.read_bytes() == b"another user's"


def test_a_file_of_two_names_is_read_and_not_written(
    pool: SQLitePool, file: Path, make_blob: MakeBlob
) -> None:
    pool._write("k", make_blob("k"))
    os.link(file, file.parent / "other.db")
    with pytest.raises(PoolError, match="hard links"):
        pool._write("l", make_blob("l"))
    assert list(pool._keys()) == ["k"]
    (file.parent / "other.db").unlink()
    pool._write("l", make_blob("l"))


def test_over_a_network_there_is_no_log_and_that_is_said(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, make_blob: MakeBlob
) -> None:
    SQLitePool(file).close()
    monkeypatch.setattr("laila.pool.sqlite.database.is_remote", lambda path: True)
    with SQLitePool(file) as pool:
        assert pool._facts() == {"journal": "delete"}
        pool._write("k", make_blob("k"))
        assert [path.name for path in file.parent.iterdir()] == [file.name]
        with pool._database.reading() as connection:
            assert connection.execute("PRAGMA synchronous").fetchall() == [(3,)]
    assert "write-ahead log" in caplog.text
    with SQLitePool(file, read_only=True) as pool:
        assert pool._exists("k")


@pytest.mark.parametrize(("kind", "remote"), [("ext4", False), ("nfs4", True), ("fuse.sshfs", True)])
def test_the_table_of_mounts_says_what_is_a_network(
    kind: str, remote: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path.stat().st_dev
    table = tmp_path / "mountinfo"
    number = f"{os.major(device)}:{os.minor(device)}"
    table.write_text(
        f"1 0 0:1 / /x rw - proc proc rw\n2 0 {number} / / rw,relatime shared:1 - {kind} host:/x rw\n"
    )
    monkeypatch.setattr("laila.pool.sqlite.place.MOUNTS", str(table))
    assert is_remote(str(tmp_path)) is remote


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match="no folder is not there") as caught:
        SQLitePool(tmp_path / "no folder" / "x.db")
    assert caught.value.errno == errno.ENOENT


def test_a_medium_that_nobody_can_write_to(tmp_path: Path, make_blob: MakeBlob) -> None:
    place = tmp_path / "medium"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a file system")
    try:
        with SQLitePool(place / "pool.db") as pool:
            pool._write("k", make_blob("k"))
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        with SQLitePool(place / "pool.db", read_only=True) as pool:
            assert list(pool._keys()) == ["k"]
            assert pool["k"].nbytes
        with pytest.raises(PoolError) as caught, SQLitePool(place / "pool.db") as pool:
            pool._write("l", make_blob("l"))
        assert caught.value.errno in (errno.EROFS, errno.EACCES)
        with pytest.raises(PoolError):
            SQLitePool(place / "new.db")
    finally:
        subprocess.run(["umount", "-l", place], check=True)
