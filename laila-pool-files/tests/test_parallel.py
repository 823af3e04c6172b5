"""Syncs of a batch overlap; still no file gets its name before all of the batch are synced."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from laila.pool.files import FilesystemPool, disk
from laila.pool.files.parallel import for_each

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from laila.contract import Blob

    MakeBlob = Callable[..., Blob]


def test_four_are_under_way_at_a_time() -> None:
    gate = threading.Barrier(4)
    done: list[int] = []

    def work(item: int) -> None:
        gate.wait(150)  # opens when four are here
        done.append(item)

    for_each(work, range(4))
    assert sorted(done) == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_each_is_done_once(count: int) -> None:
    done: list[int] = []
    for_each(done.append, range(count))
    assert sorted(done) == list(range(count))


@pytest.mark.parametrize("error", [OSError("it broke"), KeyboardInterrupt()])
def test_an_error_ends_it_when_nothing_is_under_way(error: BaseException) -> None:
    begun: list[int] = []
    ended: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        if item == 1:
            raise error
        time.sleep(0.05)
        ended.append(item)

    with pytest.raises(type(error)) as raised:
        for_each(work, range(100))
    assert raised.value is error
    assert sorted([*ended, 1]) == sorted(begun)
    assert len(begun) <= 8


def test_without_threads_the_caller_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    where: list[threading.Thread] = []
    for_each(lambda _: where.append(threading.current_thread()), range(10))
    assert where == [threading.current_thread()] * 10


def test_all_files_are_synced_before_one_gets_its_name(
    tmp_path: Path, make_blob: MakeBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = FilesystemPool(tmp_path / "p")
    gate = threading.Barrier(4)
    events: list[str] = []
    fsync, link = os.fsync, os.link

    class Watched:
        def __getattr__(self, name: str) -> object:
            return getattr(os, name)

        def fsync(self, fd: int) -> None:
            if os.path.isfile(f"/proc/self/fd/{fd}"):
                gate.wait(150)
                fsync(fd)
                events.append("file")
            else:
                fsync(fd)
                events.append("folder")

        def link(self, source: str, target: str, **folders: Any) -> None:
            link(source, target, **folders)
            events.append("name")

    monkeypatch.setattr(disk, "os", Watched())
    assert pool._create_many([(f"k{n}", make_blob(f"k{n}", b"x")) for n in range(8)]) == [True] * 8
    assert events[:16] == ["file"] * 8 + ["name"] * 8
    assert set(events[16:]) == {"folder"}
