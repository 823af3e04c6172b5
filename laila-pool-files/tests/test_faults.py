"""Full disks, folders that go, calls that fail or are interrupted, and what NFS may answer."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from laila.component.backend import checked_blob
from laila.errors import PoolError
from laila.pool.files import FilesystemPool, disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from laila.contract import Blob

    MakeBlob = Callable[..., Blob]
    Left = Callable[[], list[str]]


def contents(pool: FilesystemPool) -> dict[str, bytes]:
    return {key: bytes(checked_blob(key, pool._read(key) or b"")) for key in pool}


# -- room --------------------------------------------------------------------------------------------------


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    done = subprocess.run(["mount", *options, folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("only root can mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill_up(pool: FilesystemPool, make_blob: MakeBlob, number: int) -> None:
    """Write until it is refused; everything written before stays, and there is room again after deleting."""
    written: dict[str, bytes] = {}

    def write_on() -> None:
        for turn in range(1_000):
            chance = random.Random(turn)
            blobs = [
                make_blob(f"k{turn}.{n}", chance.randbytes(200_000 if n else 500))
                for n in range(turn % 3 + 1)
            ]
            pool._create_many([(blob.key, blob) for blob in blobs])
            written.update({blob.key: bytes(blob) for blob in blobs})

    with pytest.raises(PoolError) as caught:
        write_on()
    assert caught.value.errno == number
    assert "then try again" in str(caught.value)
    assert os.listdir(f"{pool.path}/tmp") == []
    for again in (pool, FilesystemPool(pool.path)):
        found = contents(again)  # checks each of them
        # Of the batch that was refused some may be there.
        assert {key: found.get(key) for key in written} == written
        assert len(found) - len(written) < 3
    for key in list(written)[:3]:
        pool._delete(key)
    pool._write("small", make_blob("small", b"x"))


def test_full_disk(tmp_path: Path, make_blob: MakeBlob) -> None:
    with mounted(tmp_path, "-t", "tmpfs", "-o", "size=3m", "tmpfs"):
        fill_up(FilesystemPool(tmp_path / "p"), make_blob, errno.ENOSPC)


def test_no_names_left(tmp_path: Path, make_blob: MakeBlob) -> None:
    with mounted(tmp_path, "-t", "tmpfs", "-o", "nr_inodes=40", "tmpfs"):
        fill_up(FilesystemPool(tmp_path / "p"), make_blob, errno.ENOSPC)


def test_limit_of_the_file_size(tmp_path: Path, make_blob: MakeBlob) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with FilesystemPool(tmp_path / "p") as pool:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            fill_up(pool, make_blob, errno.EFBIG)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_read_only_disk_is_read(tmp_path: Path, make_blob: MakeBlob) -> None:
    FilesystemPool(tmp_path)._write("k", make_blob("k", b"x"))
    with mounted(tmp_path, "--bind", str(tmp_path)):
        subprocess.run(["mount", "-o", "remount,ro,bind", tmp_path], check=True)
        with FilesystemPool(tmp_path) as pool:
            assert pool._create("k", make_blob("k", b"y")) is False
            assert contents(pool) == {"k": bytes(make_blob("k", b"x"))}
            for change in (
                lambda: pool._write("k", make_blob("k", b"y")),
                lambda: pool._delete("k"),
                pool._empty,
            ):
                with pytest.raises(PoolError, match="read-only") as caught:
                    change()
                assert caught.value.errno == errno.EROFS


def test_no_descriptors_left(tmp_path: Path) -> None:
    script = (
        "import os, resource, sys\nfrom laila.contract import Blob\nfrom laila.errors import PoolError\n"
        "from laila.pool.files import FilesystemPool\n"
        "pool = FilesystemPool(sys.argv[1])\n"
        "pool._write('k', Blob('k', b'\\x90'))\npool['k']\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))\n"
        "taken = []\n"
        "def take():\n"
        "    while True: taken.append(os.open('/dev/null', os.O_RDONLY))\n"
        "def tell(call):\n"
        "    try: call()\n"
        "    except PoolError as error: print(error.errno, error)\n"
        "tell(lambda: pool._write_many([(f'{n}', Blob(f'{n}', b'\\x90')) for n in range(40)]))\n"
        "try: take()\n"
        "except OSError: pass\n"
        "tell(lambda: pool._read('k'))\n"
        "tell(lambda: pool._read('none'))\n"
        "tell(lambda: pool._write('l', Blob('l', b'\\x90')))\n"
        "tell(lambda: pool._delete('k'))\n"
        "tell(pool.keys)\n"
        "tell(lambda: FilesystemPool(sys.argv[1]))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "p"], capture_output=True, text=True, check=True
    )
    lines = run.stdout.splitlines()
    assert len(lines) == 7
    assert all(line.startswith("24 ") and "ulimit" in line for line in lines)
    assert os.listdir(tmp_path / "p/tmp") == []


# -- folders that go ---------------------------------------------------------------------------------------


def test_folders_that_somebody_deletes_are_made_again(pool: FilesystemPool, make_blob: MakeBlob) -> None:
    for gone in ("tmp", "entries", os.path.relpath(os.path.dirname(pool.file_of("k")), pool.path)):
        pool._write("k", make_blob("k", b"x"))
        shutil.rmtree(f"{pool.path}/{gone}")
        assert pool.exists("k") is (gone == "tmp")
        assert pool.keys() == (["k"] if gone == "tmp" else [])
        assert pool.history_here("k") == []
        pool._create_many([(key, make_blob(key, b"y")) for key in ("k", "l")])
        assert pool.exists("l")
        pool._delete_many(["k", "l"])


def test_a_pool_that_is_gone_is_no_empty_pool(pool: FilesystemPool, make_blob: MakeBlob) -> None:
    pool._write("k", make_blob("k", b"x"))
    shutil.rmtree(pool.path)
    for use in (
        lambda: pool._read("k"),
        lambda: pool._read_head("k"),
        lambda: pool._exists("k"),
        lambda: pool._delete("k"),
        lambda: pool._evolutions("k"),
        lambda: pool._write("k", make_blob("k")),
        lambda: pool._create("k", make_blob("k")),
        pool.keys,
        pool._empty,
    ):
        with pytest.raises(PoolError, match=r"^the pool at .* is gone") as caught:
            use()
        assert caught.value.errno == errno.ENOENT
        assert not os.path.exists(pool.path)


# -- calls that fail, or are interrupted -------------------------------------------------------------------


class Failing:
    """The module ``os`` as ``disk`` uses it, of whose changing calls the one with number ``at`` fails."""

    CHANGING = ("open", "writev", "fsync", "close", "link", "replace", "mkdir")

    def __init__(self, at: int, error: BaseException) -> None:
        self._left = at
        self._error = error
        self.failed = ""

    def __getattr__(self, name: str) -> object:
        call = getattr(os, name)
        if name not in self.CHANGING or self.failed:
            return call
        self._left -= 1
        if self._left >= 0:
            return call

        def fail(*args: object, **options: object) -> object:
            self.failed = name
            if name == "close":  # what it says, it has closed it
                call(*args)
            raise self._error

        return fail


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "it broke"), KeyboardInterrupt()], ids=["error", "interrupt"]
)
@pytest.mark.parametrize("replace", [True, False])
def test_whichever_call_fails_each_entry_is_whole(
    tmp_path: Path, make_blob: MakeBlob, monkeypatch: pytest.MonkeyPatch, error: BaseException, replace: bool
) -> None:
    pool = FilesystemPool(tmp_path / "p")
    old = {"a": make_blob("a", b"old"), "b": make_blob("b", b"old")} if replace else {}
    new = {key: make_blob(key, b"new") for key in ("a", "b", "c")}
    failed: set[str] = set()
    for at in range(200):
        pool._empty()
        pool._folder._reachable.clear()
        pool._write_many(list(old.items()))
        failing = Failing(at, error)
        monkeypatch.setattr(disk, "os", failing)
        try:
            if replace:
                pool._write_many(list(new.items()))
            else:
                pool._create_many(list(new.items()))
        except (PoolError, KeyboardInterrupt):
            assert failing.failed
        else:
            assert not failing.failed
            break
        finally:
            monkeypatch.setattr(disk, "os", os)
        failed.add(failing.failed)
        for key, content in contents(pool).items():
            assert content in {bytes(new[key]), bytes(old.get(key, new[key]))}
        assert os.listdir(tmp_path / "p/tmp") == []
    assert contents(pool) == {key: bytes(blob) for key, blob in new.items()}
    assert failed == {"open", "writev", "fsync", "close", "replace" if replace else "link"} | (
        {"mkdir"} & failed
    )


# -- file systems without hard links -----------------------------------------------------------------------


def no_links(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_without_hard_links_renaming_creates(
    pool: FilesystemPool, make_blob: MakeBlob, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", no_links)
    pool._write("there", make_blob("there", b"x"))
    created = pool._create_many([(key, make_blob(key, b"y")) for key in ("there", "new", "new")])
    assert created == [False, True, False]
    monkeypatch.setattr(disk, "exists", lambda _: False)  # as if another process had just come first
    assert pool._create("new", make_blob("new", b"z")) is False
    monkeypatch.undo()
    assert contents(pool) == {"there": bytes(make_blob("there", b"x")), "new": bytes(make_blob("new", b"y"))}
    assert left() == []


def test_without_exclusive_renames_either_creating_is_refused(
    pool: FilesystemPool, make_blob: MakeBlob, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ctypes

    class Old:
        def __init__(self, *_: object, **__: object) -> None:
            pass

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(ctypes, "CDLL", Old)
    with pytest.raises(PoolError, match="neither hard links nor exclusive renames") as caught:
        pool._create("k", make_blob("k"))
    assert caught.value.errno == errno.ENOTSUP
    pool._write("k", make_blob("k", b"x"))
    assert pool._create("k", make_blob("k", b"y")) is False
    assert left() == []


# -- what NFS may answer -----------------------------------------------------------------------------------


def test_an_answer_that_was_lost(
    pool: FilesystemPool, make_blob: MakeBlob, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has done it; asked again it says that the name is there, or that the old one is not."""
    link, replace = os.link, os.replace

    def linked(source: str, target: str, **folders: Any) -> None:
        link(source, target, **folders)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)

    def replaced(source: str, target: str, **folders: Any) -> None:
        replace(source, target, **folders)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), target)

    monkeypatch.setattr(os, "link", linked)
    monkeypatch.setattr(os, "replace", replaced)
    assert pool._create_many([(key, make_blob(key, b"x")) for key in ("k", "l", "k")]) == [True, True, False]
    pool._write("k", make_blob("k", b"y"))
    monkeypatch.undo()
    assert contents(pool) == {"k": bytes(make_blob("k", b"y")), "l": bytes(make_blob("l", b"x"))}
    assert left() == []


@pytest.mark.parametrize("call", ["open", "fstat", "read"])
def test_a_stale_name_is_looked_up_again(
    pool: FilesystemPool, make_blob: MakeBlob, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    pool._write("k", make_blob("k", b"x"))
    before = len(os.listdir("/proc/self/fd"))
    real = getattr(os, call)
    stale = 2

    def sometimes(*args: object, **options: object) -> object:
        nonlocal stale
        stale -= 1
        if stale >= 0:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return real(*args, **options)

    monkeypatch.setattr(os, call, sometimes)
    found = pool._read("k")
    stale = 2
    head = pool._read_head("k")
    stale = 100
    with pytest.raises(PoolError, match=r"key\.k\.laila") as caught:
        pool._read("k")
    monkeypatch.undo()
    assert found is not None
    assert bytes(found) == bytes(make_blob("k", b"x"))
    assert head is not None
    assert head.key == "k"
    assert caught.value.errno == errno.ESTALE
    assert len(os.listdir("/proc/self/fd")) == before
