"""One file, several threads and processes: everybody sees whole commits, in order, and nobody hangs."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from laila.component.backend import checked_blob
from laila.errors import PoolError, PoolLockedError
from laila.pool.hdf5 import HDF5Pool
from laila.pool.hdf5.poolfile import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from laila.contract import Blob

    MakeBlob = Callable[..., Blob]
    Run = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def run() -> Iterator[Run]:
    """Starts a program beside the test; it ends with the test, however that ends."""
    preamble = "import sys\nfrom laila.contract import Blob, Buffer\nfrom laila.pool.hdf5 import HDF5Pool\n"
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", preamble + script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def read(pool: HDF5Pool, key: str) -> bytes | None:
    found = pool._read(key)
    return None if found is None else bytes(checked_blob(key, found))


# -- processes ---------------------------------------------------------------------------------------------

WRITER = """
name = sys.argv[2]
with HDF5Pool(sys.argv[1]) as pool:
    for number in range(int(sys.argv[3])):
        data = bytes([number % 256]) * (150_000 if number % 3 == 0 else 100)
        key = f"{name}-{number}"
        newest = Blob(name, b"%d" % number)
        pool._write_many([(key, Blob(key, b"", (Buffer(memoryview(data)),))), (name, newest)])
        if number % 40 == 39:
            pool.compact()
        print(number, flush=True)
"""


def test_two_processes_write_one_file(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "p.h5"
    writers = [run(WRITER, path, name, 100) for name in ("a", "b")]
    seen = {"a": -1, "b": -1}
    with HDF5Pool(path) as pool:
        while any(writer.poll() is None for writer in writers):
            for name in seen:
                # Two keys of one commit: the second is never older than the first.
                newest = pool._newest(name)
                found = pool._read(name)
                if newest is not None:
                    assert found is not None
                    number = int(checked_blob(name, found).tree)
                    assert number >= int(newest.rpartition("-")[2]) >= seen[name]
                    seen[name] = number
                    assert read(pool, newest) is not None
        assert [writer.communicate()[0].count("\n") for writer in writers] == [100, 100]
        assert [writer.returncode for writer in writers] == [0, 0]
        assert len(list(pool._keys())) == 202
        for name in ("a", "b"):
            assert pool._evolutions(name) == list(range(100))
            for number in range(100):
                blob = checked_blob(f"{name}-{number}", pool._read(f"{name}-{number}") or b"")
                assert set(bytes(blob.buffers[0].data)) == {number % 256}


def test_one_of_two_writers_is_killed(tmp_path: Path, run: Run) -> None:
    chance = random.Random(3)
    for number in range(8):
        path = tmp_path / f"{number}.h5"
        with HDF5Pool(path) as pool:
            victim, survivor = run(WRITER, path, "victim", 10_000), run(WRITER, path, "survivor", 40)
            assert victim.stdout is not None
            victim.stdout.readline()
            time.sleep(chance.random() * 0.1)
            victim.send_signal(signal.SIGKILL)
            # Not by communicate(), which does not see what the line above has read into the buffer.
            acknowledged = victim.stdout.read().count("\n") + 1
            assert survivor.communicate(timeout=150)[0].count("\n") == 40
            assert pool._evolutions("survivor") == list(range(40))
            kept = pool._evolutions("victim")
            # The line of the last commit may not have been written when the process died.
            assert kept == list(range(len(kept)))
            assert acknowledged <= len(kept) <= acknowledged + 1
            assert all(read(pool, f"victim-{n}") for n in kept)


def test_create_is_atomic_across_processes(tmp_path: Path, run: Run) -> None:
    script = """
with HDF5Pool(sys.argv[1]) as pool:
    print("ready", flush=True)
    sys.stdin.readline()
    print(sum(pool._create(f"k{n}", Blob(f"k{n}", sys.argv[2].encode())) for n in range(200)))
"""
    racers = [run(script, tmp_path / "p.h5", name) for name in ("one", "two", "three")]
    for racer in racers:
        assert racer.stdout is not None
        racer.stdout.readline()
    assert sum(int(racer.communicate("go\n", timeout=150)[0]) for racer in racers) == 200


def test_processes_that_open_a_new_file_together_share_it(tmp_path: Path, run: Run) -> None:
    script = 'pool = HDF5Pool(sys.argv[1]); pool._write(sys.argv[2], Blob(sys.argv[2], b"")); pool.close()'
    started = [run(script, tmp_path / "p.h5", f"k{n}") for n in range(4)]
    assert [process.wait(150) for process in started] == [0] * 4
    with HDF5Pool(tmp_path / "p.h5") as pool:
        assert len(list(pool._keys())) == 4


def test_lock_waits_or_tells(tmp_path: Path, make_blob: MakeBlob) -> None:
    path = tmp_path / "p.h5"
    with (
        HDF5Pool(path) as holder,
        HDF5Pool(path, lock="error") as hasty,
        HDF5Pool(path, lock_timeout=0.2) as patient,
        holder._store._writing(),
    ):
        started = time.monotonic()
        with pytest.raises(PoolLockedError, match="another process that writes"):
            hasty._write("k", make_blob("k"))
        assert time.monotonic() - started < 50
        with pytest.raises(TimeoutError):
            patient._write("k", make_blob("k"))
        assert 0.2 <= time.monotonic() - started < 50
        assert hasty._read("k") is None
    with HDF5Pool(path, lock="error") as pool:
        pool._write("k", make_blob("k"))


def test_plain_h5py_reader_keeps_writers_out(tmp_path: Path, make_blob: MakeBlob) -> None:
    with HDF5Pool(tmp_path / "p.h5", lock="error") as pool:
        pool._write("k", make_blob("k", np.zeros(5000)))
        with h5py.File(pool.path, "r") as opened:
            with pytest.raises(PoolLockedError, match="h5py"):
                pool._write("k", make_blob("k", np.ones(5000)))
            assert (opened["entries/k"][()] == 0).all()
            assert read(pool, "k") == bytes(make_blob("k", np.zeros(5000)))
        pool._write("k", make_blob("k", np.ones(5000)))
        assert read(pool, "k") == bytes(make_blob("k", np.ones(5000)))


def test_plain_h5py_sees_whole_commits_beside_a_writer(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "p.h5"
    script = """
import numpy as np
with HDF5Pool(sys.argv[1]) as pool:
    for number in range(10_000):
        data = memoryview(np.full(5000, number, "<f8")).cast("B")
        pool._write_many([(k, Blob(k, b"", (Buffer(data, "<f8", (5000,)),))) for k in ("x", "y")])
        print(number, flush=True)
"""
    writer = run(script, path)
    assert writer.stdout is not None
    writer.stdout.readline()
    good = 0
    deadline = time.monotonic() + 200
    while good <= 20:
        assert time.monotonic() < deadline, good
        try:
            with h5py.File(path, "r") as opened:
                first, second = opened["entries/x"][()], opened["entries/y"][()]
        except BlockingIOError:
            continue  # the writer is in the middle of a commit
        assert len(set(first) | set(second)) == 1
        good += 1


class StalledReader(io.FileIO):
    """A file as plain HDF5 opens it, which asks for the length first, and only then locks and reads."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._length = os.fstat(self.fileno()).st_size

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_END:
            return super().seek(self._length + offset)
        return super().seek(offset, whence)


@pytest.mark.parametrize("before", ["a commit", "a failure", "compaction", "much"])
def test_plain_h5py_may_stop_for_many_commits_while_it_opens(
    pool: HDF5Pool, make_blob: MakeBlob, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    pool._write("old", make_blob("old", np.zeros(5000)))
    if before == "a failure":

        def fail(_: Transaction) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patch:
            patch.setattr(Transaction, "commit", fail)
            with pytest.raises(PoolError):
                pool._write("old", make_blob("old", np.zeros(5000)))
    elif before == "compaction":
        pool.compact()
    elif before == "much":
        pool._write("old", make_blob("old", np.zeros(3_000_000)))
    with StalledReader(pool.path) as stalled:
        for number in range(100):  # 4 MB in all
            pool._write(f"k{number}", make_blob(f"k{number}", np.full(5000, number)))
        with h5py.File(stalled, "r") as opened:
            assert (opened["entries/k99"][()] == 99).all()


def test_reader_follows_and_survives_compaction_of_another(tmp_path: Path, make_blob: MakeBlob) -> None:
    path = tmp_path / "p.h5"
    with HDF5Pool(path) as writer, HDF5Pool(path, read_only=True) as reader:
        for number in range(5):
            writer._write("k", make_blob("k", np.full(5000, number)))
            assert read(reader, "k") == bytes(make_blob("k", np.full(5000, number)))
            writer.compact()
            assert read(reader, "k") == bytes(make_blob("k", np.full(5000, number)))
        writer._empty()
        assert list(reader._keys()) == []


def test_removed_file_is_told(tmp_path: Path, make_blob: MakeBlob) -> None:
    pool = HDF5Pool(tmp_path / "p.h5")
    (tmp_path / "p.h5").unlink()
    with pytest.raises(PoolError, match="was removed"):
        pool._write("k", make_blob("k"))
    pool.close()
    assert not (tmp_path / "p.h5").exists()


def test_replaced_file_is_followed_by_writers(tmp_path: Path, make_blob: MakeBlob) -> None:
    with HDF5Pool(tmp_path / "backup.h5") as backup:
        backup._write("old", make_blob("old"))
    with HDF5Pool(tmp_path / "p.h5") as pool:
        pool._write("lost", make_blob("lost"))
        os.replace(tmp_path / "backup.h5", tmp_path / "p.h5")
        pool._write("new", make_blob("new"))
        assert sorted(pool._keys()) == ["new", "old"]


def test_forked_child_uses_the_pool(tmp_path: Path, make_blob: MakeBlob) -> None:
    with HDF5Pool(tmp_path / "p.h5") as pool:
        pool._write("before", make_blob("before"))
        with pool._store._writer, pool._store._steady:  # as if another thread were writing
            child = os.fork()
        if child == 0:
            try:
                for number in range(50):
                    pool._write(f"child-{number}", make_blob(f"child-{number}", b"x" * (number * 1000)))
                os._exit(0 if pool._exists("before") else 2)
            finally:
                os._exit(1)
        for number in range(50):
            pool._write(f"parent-{number}", make_blob(f"parent-{number}", b"x" * (number * 1000)))
        assert os.waitpid(child, 0)[1] == 0
        assert len(pool._evolutions("child")) == len(pool._evolutions("parent")) == 50


def test_fork_in_the_midst_of_a_transaction(tmp_path: Path, run: Run) -> None:
    script = """
import os, threading
begun, forked = threading.Event(), threading.Event()
def write(transaction):
    transaction.put("large", Blob("large", b"", (Buffer(memoryview(b"x" * 200_000)),)))
    begun.set()
    return forked.wait()
with HDF5Pool(sys.argv[1]) as pool:
    thread = threading.Thread(target=lambda: pool._store.transact(write, None))
    thread.start()
    begun.wait()
    child = os.fork()
    if child == 0:
        sys.exit(0)  # in the ordinary way, which ends HDF5 too
    _, status = os.waitpid(child, 0)
    forked.set()
    thread.join()
    print(status, len(pool["large"].buffers[0].data))
"""
    parent = run(script, tmp_path / "p.h5")
    assert parent.communicate(timeout=150)[0] == "0 200000\n"
    with h5py.File(tmp_path / "p.h5", "r") as opened:
        assert set(opened["entries/large"][()]) == {ord("x")}


def test_stale_moved_mark_is_taken_back(tmp_path: Path, make_blob: MakeBlob) -> None:
    from laila.pool.hdf5.layout import Header

    with HDF5Pool(tmp_path / "p.h5") as pool, HDF5Pool(tmp_path / "p.h5") as other:
        pool._write("k", make_blob("k"))
        # As after a kill between the mark and the renaming.
        Header.set_moved(pool._store.current().storage, True)
        assert other._exists("k")
        other._write("l", make_blob("l"))
        assert pool._exists("l")
        assert Header.glance(pool._store.current().storage)[2] == 0


# -- threads -----------------------------------------------------------------------------------------------


def test_threads_read_while_others_write(pool: HDF5Pool, make_blob: MakeBlob) -> None:
    stop = threading.Event()
    errors: list[BaseException] = []
    reads = [0]

    def guarded(work: Callable[[], None]) -> threading.Thread:
        def body() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - whatever it is, the test must tell of it
                errors.append(error)
                stop.set()

        thread = threading.Thread(target=body)
        thread.start()
        return thread

    def write(name: str) -> None:
        for number in range(60):
            array = np.full(1 if number % 2 else 5000, float(number))
            pool._write_many(
                [(f"{name}{n}", make_blob(f"{name}{n}", array, tree=b"%d" % number)) for n in range(3)]
            )
            pool._delete_many([f"{name}-gone", f"{name}2"])

    def compact() -> None:
        while not stop.wait(0.05):
            pool.compact()

    def look() -> None:
        while not stop.is_set():
            for key in list(pool._keys()):
                found = pool._read(key)
                if found is not None:
                    blob = checked_blob(key, found)
                    values = np.frombuffer(blob.buffers[0].data, "f8")
                    assert (values == float(blob.tree)).all()
                    reads[0] += 1
            pool._newest("a")

    writers = [guarded(lambda name=name: write(name)) for name in ("a", "b")]  # type: ignore[misc]
    others = [guarded(look), guarded(look), guarded(compact)]
    for thread in writers:
        thread.join(150)
    stop.set()
    for thread in others:
        thread.join(150)
    assert not errors
    assert not any(thread.is_alive() for thread in writers + others)
    assert sorted(pool._keys()) == ["a0", "a1", "b0", "b1"]
    assert reads[0] > 100


def test_reads_do_not_wait_for_a_writer(pool: HDF5Pool, make_blob: MakeBlob) -> None:
    pool._write("k", make_blob("k"))
    descriptor = os.open(pool.path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)  # keeps the writer in its commit
    writer = threading.Thread(target=lambda: pool._write("l", make_blob("l")))
    writer.start()
    time.sleep(0.05)
    for _ in range(100):
        assert pool._exists("k")
        assert read(pool, "k")
    assert writer.is_alive()
    os.close(descriptor)
    writer.join(150)
    assert pool._exists("l")
