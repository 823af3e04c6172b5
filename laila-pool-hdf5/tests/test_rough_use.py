"""What others do to an open file, interrupts, descriptors, and threads that share a commit."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from laila.errors import CorruptEntryError, PoolError, PoolFormatError
from laila.pool.hdf5 import HDF5Pool, journal, store
from laila.pool.hdf5.durable import DurableFile
from laila.pool.hdf5.layout import encode_segment_head, superblock_end
from laila.pool.hdf5.poolfile import Transaction
from laila.pool.hdf5.storage import FileStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from laila.contract import Blob

    MakeBlob = Callable[..., Blob]

LARGE = 5000


# -- what others do to an open file ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 3, 6000])
@pytest.mark.parametrize("other_wrote", [False, True])
def test_a_file_that_is_cut_short_is_told(
    tmp_path: Path, make_blob: MakeBlob, size: int, other_wrote: bool
) -> None:
    pool = HDF5Pool(tmp_path / "p.h5")
    writer = HDF5Pool(tmp_path / "p.h5") if other_wrote else pool
    for number in range(20):
        writer._write(f"k{number}", make_blob(f"k{number}", np.zeros(LARGE)))
    os.truncate(pool.path, size)
    with pytest.raises((PoolFormatError, CorruptEntryError)):
        pool["k19"]
    with pytest.raises((PoolFormatError, CorruptEntryError, PoolError)):
        pool._write("more", make_blob("more"))
    with pytest.raises((PoolFormatError, CorruptEntryError, PoolError)):
        pool.compact()
    for each in (pool, writer):
        each.close()
    assert os.path.getsize(pool.path) == size


@pytest.mark.timeout(30)
@pytest.mark.parametrize("head", ["damaged", "a circle"])
def test_damage_between_the_parts_of_the_index_is_told(
    tmp_path: Path, make_blob: MakeBlob, head: str
) -> None:
    with HDF5Pool(tmp_path / "p.h5") as pool:
        segments: set[int] = set()
        while len(segments) < 2:
            pool._write_many([(f"k{n}", make_blob(f"k{n}")) for n in range(100)])
            segments.add(pool._store.current().header.index[0])
        offset, _, used = pool._store.current().header.index
    with open(pool.path, "r+b") as file:
        file.seek(offset)
        file.write(bytes(16) if head == "damaged" else encode_segment_head(offset, used))
    with pytest.raises(CorruptEntryError, match="index"):
        HDF5Pool(pool.path)


@pytest.mark.timeout(30)
def test_data_that_looks_like_a_journal_is_data(tmp_path: Path, make_blob: MakeBlob) -> None:
    fake = np.zeros(1 << 20, np.uint8)
    fake[-journal.FOOTER_BYTES :][: len(journal.MAGIC)] = np.frombuffer(journal.MAGIC, np.uint8)
    with HDF5Pool(tmp_path / "p.h5") as follower:
        with HDF5Pool(tmp_path / "p.h5") as pool:
            pool._write("small", make_blob("small"))  # makes room for what is written after the array
            pool._write("fake", make_blob("fake", fake))
        with open(pool.path, "rb") as file:
            file.seek(-journal.FOOTER_BYTES, os.SEEK_END)
            assert file.read(len(journal.MAGIC)) == journal.MAGIC  # or this test shows nothing
        assert bytes(follower["fake"].buffers[0].data) == fake.tobytes()
        with HDF5Pool(pool.path, read_only=True) as reader:
            assert reader.keys() == ["small", "fake"]
        follower._write("more", make_blob("more"))
        assert bytes(follower["fake"].buffers[0].data) == fake.tobytes()


@pytest.mark.timeout(30)
def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for read_only in (False, True):
        with pytest.raises(PoolFormatError, match="no regular file"):
            HDF5Pool(tmp_path / "pipe", read_only=read_only)


def test_a_directory_that_goes_hurts_no_close(tmp_path: Path, make_blob: MakeBlob) -> None:
    (tmp_path / "d").mkdir()
    pool = HDF5Pool(tmp_path / "d/p.h5")
    unused = HDF5Pool(tmp_path / "d/p.h5")
    pool._write("k", make_blob("k", b"x"))
    shutil.rmtree(tmp_path / "d")
    with pytest.raises(PoolError, match="was removed"):
        pool._exists("k")
    for each in (pool, unused):
        with pytest.raises(PoolError):
            each._write("k", make_blob("k", b"y"))
        each.close()


def test_a_lock_file_that_is_deleted_costs_nothing(tmp_path: Path, make_blob: MakeBlob) -> None:
    first = HDF5Pool(tmp_path / "p.h5")
    first._write("k", make_blob("k"))
    os.unlink(tmp_path / "p.h5.lock")
    second = HDF5Pool(tmp_path / "p.h5")
    second._write("l", make_blob("l"))

    def write(pool: HDF5Pool, name: str) -> None:
        for number in range(60):
            key = f"{name}{number}"
            pool._write(key, make_blob(key, np.full(LARGE if number % 3 else 10, number)))

    threads = [threading.Thread(target=write, args=each) for each in ((first, "a"), (second, "b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first.close()
    second.close()
    with HDF5Pool(tmp_path / "p.h5") as pool:
        assert len(list(pool.keys())) == 122
        for name in ("a", "b"):
            for number in range(60):
                data = np.frombuffer(pool[f"{name}{number}"].buffers[0].data, np.int64)
                assert (data == number).all()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, which those that pytest makes are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to become another user")
def test_without_the_right_to_write(open_folder: Path, make_blob: MakeBlob) -> None:
    path = open_folder / "p.h5"
    with HDF5Pool(path) as pool:
        pool._write("k", make_blob("k"))
    (open_folder / "p.h5.lock").unlink()
    script = (
        "import os, sys\nfrom laila.contract import Blob\nfrom laila.pool.hdf5 import HDF5Pool\n"
        "from laila.errors import PoolError\nHDF5Pool(sys.argv[1] + '.other').close()\nos.setuid(65534)\n"
        "try:\n    with HDF5Pool(sys.argv[1]) as pool:\n        assert pool.keys() == ['k']\n"
        "        pool._write('l', Blob('l', b'x'))\n"
        "except PoolError as error: print(error)\n"
        "with HDF5Pool(sys.argv[1], read_only=True) as pool: assert pool.keys() == ['k']\n"
    )
    for mode, match in ((0o666, "p.h5.lock"), (0o444, "cannot open")):
        path.chmod(mode)
        run = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
        assert match in run.stdout
        assert "read_only=True" in run.stdout


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    script = """
import gc, os, sys
from laila.contract import Blob
from laila.errors import PoolError
from laila.pool.hdf5 import HDF5Pool
before = os.listdir("/proc/self/fd")
for _ in range(20):
    pool = HDF5Pool(sys.argv[1] + "/p.h5")
    pool._write("k", Blob("k", b"x"))
    del pool  # not closed
    try:
        HDF5Pool(sys.argv[1] + "/missing/p.h5")
    except PoolError:
        pass
    else:
        raise AssertionError("it opened")
gc.collect()
assert os.listdir("/proc/self/fd") == before
"""
    # A process of its own: what other tests have left would be closed while this one counts.
    subprocess.run([sys.executable, "-c", script, tmp_path], check=True, timeout=200)


def test_messages_name_the_file(tmp_path: Path) -> None:
    with HDF5Pool(tmp_path / "run.h5") as pool, HDF5Pool(tmp_path / "b.h5", nickname="named") as named:
        assert (pool.label, named.label) == ("HDF5Pool run.h5", "named")
        with pytest.raises(KeyError, match=r"HDF5Pool run\.h5"):
            pool["k"]


# -- interrupts and failures -------------------------------------------------------------------------------


class _Interrupted(FileStorage):
    """Interrupts the write with number ``at``."""

    at = -1

    def write(self, data: object, offset: int) -> None:
        self.at -= 1
        if self.at == 0:
            raise KeyboardInterrupt
        super().write(data, offset)  # type: ignore[arg-type]


def test_what_is_committed_when_interrupted_is_there_at_once(tmp_path: Path, make_blob: MakeBlob) -> None:
    """Whichever write is interrupted: what one sees afterwards does not change by itself later."""
    kept = 0
    for at in range(1, 12):
        with HDF5Pool(tmp_path / f"{at}.h5") as pool:
            pool._write("k", make_blob("k", np.zeros(LARGE)))
            file = pool._store.current()
            file.storage = disk = _Interrupted(os.dup(file.storage.fd), durable=False)  # type: ignore[attr-defined]
            file._exclusive = lambda pool=pool, disk=disk: pool._store._locked(disk, exclusive=True)  # type: ignore[misc]
            disk.at = at
            try:
                pool._write("k", make_blob("k", np.ones(LARGE)))
            except KeyboardInterrupt:
                interrupted = True
            else:
                interrupted = False
            disk.at = -1
            seen = bytes(pool["k"])
            pool._write("other", make_blob("other"))
            assert bytes(pool["k"]) == seen
            changed = seen == bytes(make_blob("k", np.ones(LARGE)))
            assert changed or interrupted
            kept += changed and interrupted
    assert kept > 1


def test_an_interrupt_inside_hdf5_comes_out(
    pool: HDF5Pool, make_blob: MakeBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = DurableFile.write_at

    def interrupted(self: DurableFile, offset: int, data: bytes) -> None:
        if sys._getframe(1).f_code.co_name == "write":  # called by HDF5
            raise KeyboardInterrupt
        original(self, offset, data)

    with monkeypatch.context() as patch:
        patch.setattr(DurableFile, "write_at", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool._write("k", make_blob("k", np.zeros(LARGE)))
    assert pool.keys() == []
    pool._write("k", make_blob("k", np.zeros(LARGE)))
    assert pool.keys() == ["k"]


def test_compaction_that_fails_is_not_tried_for_every_write(
    pool: HDF5Pool, make_blob: MakeBlob, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = 0

    def refuse(*_: object) -> None:
        nonlocal tried
        tried += 1
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store, "_COMPACT_FROM", 100_000)
    pool._store._compact_from = 100_000
    with monkeypatch.context() as patch:
        patch.setattr(pool._store, "_build", refuse)
        for number in range(60):
            pool._write("k", make_blob("k", np.full(LARGE, number)))
    assert 1 <= tried <= 6
    assert "automatic compaction" in caplog.text
    for number in range(200):
        pool._write("k", make_blob("k", np.full(LARGE, number)))
    assert superblock_end(pool._store.current().storage, pool.path) < 200 * LARGE * 8 / 2


def test_a_child_does_not_keep_the_lock_of_a_parent_that_dies(tmp_path: Path, make_blob: MakeBlob) -> None:
    script = """
import os, signal, sys, time
from laila.pool.hdf5 import HDF5Pool
pool = HDF5Pool(sys.argv[1])
with pool._store._locked(pool._store._file.storage, exclusive=True), pool._store._lock.held(0):
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(280)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    parent = subprocess.Popen([sys.executable, "-c", script, tmp_path / "p.h5"], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        parent.wait(150)
        with HDF5Pool(tmp_path / "p.h5", lock_timeout=100) as pool:
            pool._write("k", make_blob("k"))
    finally:
        os.kill(child, signal.SIGKILL)
        parent.stdout.close()


# -- threads share commits ---------------------------------------------------------------------------------


def _while_one_commits(pool: HDF5Pool, jobs: Sequence[Callable[[], object]]) -> list[object]:
    """Start ``jobs`` while a transaction is under way, let that end, and return what they gave or raised."""
    outcomes: list[object] = [None] * len(jobs)

    def do(number: int) -> None:
        try:
            outcomes[number] = jobs[number]()
        except PoolError as error:
            outcomes[number] = error

    threads = [threading.Thread(target=do, args=(number,)) for number in range(len(jobs))]
    with pool._store._writer:
        for thread in threads:
            thread.start()
        while len(pool._store._requests._waiting) < len(jobs):
            time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert not pool._store._requests._waiting
    return outcomes


def test_writes_of_threads_share_a_commit(pool: HDF5Pool, make_blob: MakeBlob) -> None:
    pool._write_many([(key, make_blob(key, np.zeros(LARGE))) for key in ("old", "gone")])
    before = pool._store.current().header.generation
    jobs: list[Callable[[], object]] = [
        lambda n=n: pool._create(f"k{n}", make_blob(f"k{n}", np.full(LARGE if n % 2 else 10, n)))  # type: ignore[misc]
        for n in range(8)
    ]
    jobs += [lambda: pool._create("old", make_blob("old")), lambda: pool._delete("gone")]
    assert _while_one_commits(pool, jobs) == [True] * 8 + [False, True]
    assert pool._store.current().header.generation == before + 1
    assert set(pool.keys()) == {"old", *(f"k{n}" for n in range(8))}
    for number in range(8):
        assert (np.frombuffer(pool[f"k{number}"].buffers[0].data, np.int64) == number).all()


def test_one_of_several_creates_of_a_key_wins(pool: HDF5Pool, make_blob: MakeBlob) -> None:
    jobs: list[Callable[[], object]] = [
        lambda n=n: pool._create("k", make_blob("k", tree=b"%d" % n))  # type: ignore[misc]
        for n in range(6)
    ]
    outcomes = _while_one_commits(pool, jobs)
    assert sorted(map(bool, outcomes)) == [False] * 5 + [True]
    assert pool["k"].tree == b"%d" % outcomes.index(True)


def test_a_write_that_fails_fails_alone(
    pool: HDF5Pool, make_blob: MakeBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Transaction.put

    def refuse(self: Transaction, key: str, blob: Blob) -> None:
        if key == "too large":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(self, key, blob)

    monkeypatch.setattr(Transaction, "put", refuse)
    names = ["a", "b", "too large", "c"]
    outcomes = _while_one_commits(
        pool,
        [lambda name=name: pool._create(name, make_blob(name)) for name in names],  # type: ignore[misc]
    )
    assert [outcome for outcome in outcomes if outcome is True] == [True] * 3
    assert isinstance(outcomes[2], PoolError)
    assert outcomes[2].errno == errno.ENOSPC
    assert set(pool.keys()) == {"a", "b", "c"}


def test_links_that_others_put_into_the_file_stay_links(tmp_path: Path, make_blob: MakeBlob) -> None:
    """They may lead to other files, or to nothing; compaction follows none."""
    path = tmp_path / "p.h5"
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = [1, 2, 3]
    with HDF5Pool(path) as pool:
        pool._write("k", make_blob("k", b"x"))
    with h5py.File(path, "r+") as file:
        file["away"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/secret")
        file["nowhere"] = h5py.SoftLink("/nothing")
        file.create_group("kept")["soft"] = h5py.SoftLink("/entries")
    with HDF5Pool(path) as pool:
        pool.compact()
        assert pool["k"] is not None
    with h5py.File(path) as file:
        assert isinstance(file.get("away", getlink=True), h5py.ExternalLink)
        assert isinstance(file.get("nowhere", getlink=True), h5py.SoftLink)
        assert isinstance(file["kept"].get("soft", getlink=True), h5py.SoftLink)
