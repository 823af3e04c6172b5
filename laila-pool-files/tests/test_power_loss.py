"""A disk that forgets: after a power failure each change that was not synced is there or is not.

``kill -9`` cannot show whether the syncs are in the right places. So the pool runs on a model of a file
system that promises no more than POSIX does: a sync of a file keeps its content, a sync of a folder the names
in it, and of what is not synced any part may be there, in any order. The model is cut off at a random call, a
folder is made of what was left, and a pool opened on it. That each sync matters is shown by leaving it out.
"""

from __future__ import annotations

import os
import random
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from laila.component.backend import checked_blob
from laila.errors import LailaError
from laila.pool.files import FilesystemPool, disk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from laila.contract import Blob

    MakeBlob = Callable[..., Blob]

ROUNDS = int(os.environ.get("LAILA_TEST_POWER_ROUNDS", "150"))
KEYS = [f"LAILA:ENTRY:GLOBAL_ID:00000000-0000-4000-8000-{number:012x}" for number in range(6)]

Entry = str | int | None
"""What a name stands for: a folder (its path), a file (its inode), nothing."""


class PowerFailure(BaseException):
    """The end."""


class ForgetfulDisk:
    """The module ``os`` as :mod:`laila.pool.files.disk` uses it, below ``base``.

    Calls have their effect, and what would be on the disk is kept beside. ``leave_out`` says which sync does
    nothing, by what it is of.
    """

    def __init__(self, base: Path, calls_left: int, leave_out: str = "") -> None:
        self._base = str(base)
        self._calls_left = calls_left
        self._leave_out = leave_out
        self._names: dict[str, list[Entry]] = {}  # path to what it may stand for, oldest first
        self._contents: dict[int, bytearray] = {}
        self._synced: set[int] = set()
        self._open: dict[int, str] = {}
        self.syncs: list[str] = []

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def _count(self) -> None:
        if self._calls_left <= 0:  # several may call at once
            raise PowerFailure
        self._calls_left -= 1

    def _path(self, name: str, folder: int | None) -> str:
        return name if folder is None else os.path.normpath(f"{self._open[folder]}/{name}")

    def open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_CREAT:
            self._count()
        fd = os.open(path, flags, mode, dir_fd=dir_fd)
        self._open[fd] = path = self._path(path, dir_fd)
        if flags & os.O_CREAT:
            inode = os.fstat(fd).st_ino
            self._contents[inode] = bytearray()
            self._synced.discard(inode)
            self._stands_for(path, inode)
        return fd

    def close(self, fd: int) -> None:
        self._open.pop(fd, None)
        os.close(fd)

    def writev(self, fd: int, parts: Sequence[memoryview]) -> int:
        self._count()
        whole = b"".join(parts)
        # Now and then in two goes, as the system may.
        written = os.write(fd, whole[: max(1, len(whole) // 2)] if len(whole) % 2 else whole)
        self._contents[os.fstat(fd).st_ino] += whole[:written]
        return written

    def fsync(self, fd: int) -> None:
        self._count()
        path = self._open[fd]
        kind = self._kind(path)
        self.syncs.append(kind)
        if kind == self._leave_out:
            return
        if kind == "file":
            self._synced.add(os.fstat(fd).st_ino)
            return
        for name, states in self._names.items():
            if os.path.dirname(name) == path:
                del states[:-1]

    def _kind(self, path: str) -> str:
        if os.path.isfile(path):
            return "file"
        return {0: "above the pool", 1: "the pool", 2: "entries", 3: "folder"}[
            len(os.path.relpath(path, self._base).split("/")) if path != self._base else 0
        ]

    def mkdir(self, path: str, mode: int, *, dir_fd: int) -> None:
        self._count()
        os.mkdir(path, mode, dir_fd=dir_fd)
        path = self._path(path, dir_fd)
        self._stands_for(path, path)

    def link(self, source: str, target: str, *, dst_dir_fd: int, **others: Any) -> None:
        self._count()
        os.link(source, target, dst_dir_fd=dst_dir_fd, **others)
        target = self._path(target, dst_dir_fd)
        self._stands_for(target, os.stat(target).st_ino)

    def replace(self, source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        self._count()
        os.replace(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        target = self._path(target, dst_dir_fd)
        self._stands_for(target, os.stat(target).st_ino)
        self._stands_for(self._path(source, src_dir_fd), None)

    def unlink(self, path: str, *, dir_fd: int) -> None:
        self._count()
        os.unlink(path, dir_fd=dir_fd)
        self._stands_for(self._path(path, dir_fd), None)

    def _stands_for(self, path: str, entry: Entry) -> None:
        self._names.setdefault(path, [None]).append(entry)

    def after_power_failure(self, place: Path, chance: random.Random) -> None:
        """Make in ``place`` what may be found when the power is back."""
        for path in sorted(self._names):  # a folder before what is in it
            found = chance.choice(self._names[path])
            target = place / os.path.relpath(path, self._base)
            if found is None or not target.parent.is_dir():
                continue
            if isinstance(found, str):
                target.mkdir()
                continue
            content = self._contents[found]
            if found not in self._synced:
                content = content[: chance.randrange(len(content) + 1)]
                if chance.random() < 0.5:
                    content = content[:-100] + bytes(min(100, len(content)))
            target.write_bytes(content)


def random_operation(
    chance: random.Random, make_blob: MakeBlob
) -> tuple[Callable[[FilesystemPool], object], dict[str, Blob | None]]:
    """Something to do, and what is then under which key."""
    kind = chance.choices(("write", "create", "delete", "empty"), (4, 4, 3, 0.5))[0]
    keys = chance.sample(KEYS, chance.choice((1, 1, 1, 3)))
    if kind == "delete":
        return lambda pool: pool._delete_many(keys), dict.fromkeys(keys)
    if kind == "empty":
        return lambda pool: pool._empty(), dict.fromkeys(KEYS)
    blobs = {key: make_blob(key, chance.randbytes(chance.randrange(1, 3000))) for key in keys}
    items = list(blobs.items())
    if kind == "create":
        return lambda pool: pool._create_many(items), dict(blobs)
    return lambda pool: pool._write_many(items), dict(blobs)


def lose_power(
    tmp_path: Path, number: int, make_blob: MakeBlob, monkeypatch: pytest.MonkeyPatch, leave_out: str = ""
) -> str:
    """One round. Return what was lost, or nothing."""
    chance = random.Random(number)
    base, place = tmp_path / f"{number}", tmp_path / f"{number}-after"
    base.mkdir()
    place.mkdir()
    model = ForgetfulDisk(base, chance.randrange(5, 150), leave_out)
    monkeypatch.setattr(disk, "os", model)
    acknowledged: dict[str, bytes | None] = {}
    under_way: dict[str, bytes | None] = {}
    opened = False
    try:
        pool = FilesystemPool(base / "pool")
        opened = True
        while True:
            run, changes = random_operation(chance, make_blob)
            under_way = {key: None if blob is None else bytes(blob) for key, blob in changes.items()}
            made = run(pool)
            if isinstance(made, list) and None not in under_way.values():
                under_way = {
                    key: content for (key, content), new in zip(under_way.items(), made, strict=True) if new
                }
            acknowledged |= under_way
            under_way = {}
    except PowerFailure:
        pass
    monkeypatch.setattr(disk, "os", os)
    model.after_power_failure(place, chance)
    if not (place / "pool").is_dir():
        return "the pool" if opened else ""
    try:
        after = FilesystemPool(place / "pool", durable="process")
        found = {key: bytes(checked_blob(key, after._read(key) or b"")) for key in after._keys()}
    except LailaError as error:
        return str(error)
    finally:
        shutil.rmtree(base)
        shutil.rmtree(place)
    for key in KEYS:
        if found.get(key) not in {acknowledged.get(key), under_way.get(key, acknowledged.get(key))}:
            return key
    return ""


@pytest.mark.parametrize("rounds", [50, pytest.param(ROUNDS, marks=pytest.mark.long)])
def test_a_power_failure_takes_nothing_that_was_acknowledged(
    tmp_path: Path, make_blob: MakeBlob, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    for number in range(rounds):
        assert not lose_power(tmp_path, number, make_blob, monkeypatch), number


@pytest.mark.parametrize("leave_out", ["file", "folder", "entries", "the pool", "above the pool"])
def test_each_sync_is_needed(
    tmp_path: Path, make_blob: MakeBlob, monkeypatch: pytest.MonkeyPatch, leave_out: str
) -> None:
    lost = [lose_power(tmp_path, number, make_blob, monkeypatch, leave_out) for number in range(60)]
    print(sum(map(bool, lost)), "of", len(lost))
    assert any(lost)


def test_nothing_is_synced_where_the_power_does_not_count(
    tmp_path: Path, make_blob: MakeBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ForgetfulDisk(tmp_path, 1_000)
    monkeypatch.setattr(disk, "os", model)
    with FilesystemPool(tmp_path / "quick", durable="process") as pool:
        pool._write_many([(key, make_blob(key, b"x")) for key in KEYS])
        pool._delete(KEYS[0])
        assert model.syncs == []
        assert pool.durability == "process"
    with FilesystemPool(tmp_path / "safe") as pool:
        pool._write(KEYS[0], make_blob(KEYS[0], b"x"))
        assert pool.durability == "power"
        # What is there already may be another writer's who has not come so far yet.
        model.syncs.clear()
        assert not pool._create(KEYS[0], make_blob(KEYS[0], b"y"))
        assert model.syncs == ["folder"]
