"""``kill -9`` at any moment: what was acknowledged is there, what was not is there whole or not at all.

A process that has imported everything (this file, run as a script) forks a writer for each round. The writer
tells over a pipe of every operation that has returned; it is killed; the file is read by laila, then by h5py.
``LAILA_TEST_KILL_ROUNDS`` sets the number of rounds of `make test-long`.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from laila.component.backend import checked_blob
from laila.contract import Blob, Buffer
from laila.pool.hdf5 import HDF5Pool
from laila.pool.hdf5.layout import entry_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROUNDS = int(os.environ.get("LAILA_TEST_KILL_ROUNDS", "200"))
ROUNDS_PER_FILE = 20
KEYS = [f"LAILA:ENTRY:GLOBAL_ID:00000000-0000-4000-8000-{number:012x}" for number in range(40)]

Content = dict[str, bytes]


class Operation:
    """The ``number``-th thing that the writer of a round does: the same for the writer and for who checks."""

    def __init__(self, seed: int, number: int) -> None:
        chance = random.Random(seed * 100_000 + number)
        kinds = ("write", "together", "delete", "empty", "compact")
        self.kind = chance.choices(kinds, (60, 20, 15, 1, 4))[0]
        keys = chance.sample(KEYS, chance.choice((1, 1, 1, 5)))
        if self.kind == "together":  # most are new, and some are not
            keys = [f"{key}-{chance.randrange(20)}" for key in chance.sample(KEYS, 4)]
        self.keys = keys if self.kind in ("write", "together", "delete") else []
        self.blobs = [_blob(key, chance) for key in keys] if self.kind in ("write", "together") else []

    def run(self, pool: HDF5Pool) -> None:
        if self.kind == "write":
            pool._write_many([(blob.key, blob) for blob in self.blobs])
        elif self.kind == "together":
            pool._create_together([(blob.key, blob) for blob in self.blobs])
        elif self.kind == "delete":
            pool._delete_many(self.keys)
        elif self.kind == "empty":
            pool._empty()
        else:
            pool.compact()

    def apply(self, content: Content) -> Content:
        if self.kind == "together" and not content.keys().isdisjoint(self.keys):
            return content
        if self.kind in ("write", "together"):
            return content | {blob.key: bytes(blob) for blob in self.blobs}
        if self.kind == "compact":
            return content
        return {} if self.kind == "empty" else {k: v for k, v in content.items() if k not in self.keys}


def _blob(key: str, chance: random.Random) -> Blob:
    if chance.random() < 0.6:
        return Blob(key, b"\xc5\x10\x00" + chance.randbytes(chance.randrange(1, 3000)))
    array = np.frombuffer(chance.randbytes(8 * chance.randrange(2100, 40_000)), "<f8")
    return Blob(key, b"\x90", (Buffer(array.data.cast("B"), "<f8", array.shape),))


def write_for_ever(path: str, seed: int) -> None:
    """The writer: acknowledge the opening with 0, then each operation with its number."""
    with HDF5Pool(path) as pool:
        sys.stdout.write("0\n")
        sys.stdout.flush()
        for number in range(1, 100_000):
            Operation(seed, number).run(pool)
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


def fork_writers() -> None:
    """For each line ``<seed> <path>`` fork a writer and tell its process id; wait for its end."""
    from laila.pool.hdf5 import native  # noqa: F401 - imported here, the writers need not

    for line in sys.stdin:
        seed, path = line.rstrip("\n").split(" ", 1)
        child = os.fork()
        if child == 0:
            try:
                write_for_ever(path, int(seed))
            finally:
                os._exit(1)
        sys.stdout.write(f"pid {child}\n")
        sys.stdout.flush()
        os.waitpid(child, 0)
        sys.stdout.write("end\n")
        sys.stdout.flush()


class Writers:
    """The process that forks the writers, as the test sees it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self._rest = b""

    def killed(self, path: Path, seed: int, chance: random.Random) -> int:
        """Let a writer run, kill it, and return the number of its last acknowledgement; -1: none."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seed} {path}\n".encode())
        child = 0
        acknowledged = -1
        deadline = time.monotonic() + 200
        # Mostly in the midst of work; now and then while the file is still being opened and recovered.
        kill_at = time.monotonic() + chance.random() * 0.02 if chance.random() < 0.2 else deadline
        enough = chance.randrange(20)
        while True:
            line = self._line(kill_at if child else deadline)
            if line is None:
                assert child
                assert time.monotonic() < deadline, "the writer hangs"
                os.kill(child, signal.SIGKILL)
                kill_at = deadline
            elif line.startswith("pid "):
                child = int(line[4:])
            elif line == "end":
                return acknowledged
            else:
                acknowledged = int(line)
                if acknowledged == enough and kill_at == deadline:
                    kill_at = time.monotonic() + chance.random() * 0.01

    def _line(self, until: float) -> str | None:
        assert self._process.stdout is not None
        while b"\n" not in self._rest:
            if not select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
                return None
            data = os.read(self._process.stdout.fileno(), 65536)
            assert data, "the process that forks the writers died"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def writers() -> Iterator[Writers]:
    started = Writers()
    yield started
    started.close()


def contents(pool: HDF5Pool) -> Content:
    keys = list(pool._keys())
    return {
        key: bytes(checked_blob(key, found))
        for key, found in zip(keys, pool._read_many(keys), strict=True)
        if found is not None
    }


def check_with_h5py(path: Path, content: Content) -> None:
    large = {key: blob for key, raw in content.items() if (blob := Blob.from_bytes(raw)).buffers}
    with h5py.File(path, "r") as opened:
        assert set(opened["entries"]) == {entry_name(key).decode() for key in large}
        for key, blob in large.items():
            dataset = opened["entries"][entry_name(key).decode()]
            assert dataset.attrs["global_id"].decode() == key
            assert dataset[()].tobytes() == bytes(blob.buffers[0].data)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("rounds", [60, pytest.param(ROUNDS, marks=pytest.mark.long)])
def test_nothing_is_lost_by_kill(tmp_path: Path, writers: Writers, rounds: int) -> None:
    chance = random.Random(7)
    acknowledged = in_flight_kept = 0
    content: Content = {}
    path = tmp_path / "pool.h5"
    for number in range(rounds):
        if number % ROUNDS_PER_FILE == 0:
            path = tmp_path / f"{number}.h5"
            content = {}
        last = writers.killed(path, number, chance)
        for operation in range(1, last + 1):
            content = Operation(number, operation).apply(content)
        acknowledged += max(last, 0)
        with HDF5Pool(path) as pool:
            found = contents(pool)
        if found != content:
            # The operation that was under way is there as a whole; nothing else is different.
            assert last >= 0
            content = Operation(number, last + 1).apply(content)
            assert found == content
            in_flight_kept += 1
        check_with_h5py(path, content)
        assert not [name for name in os.listdir(tmp_path) if name.endswith((".creating", ".compacting"))]
    print(f"{rounds} rounds, {acknowledged} acknowledged operations, {in_flight_kept} more were kept, 0 lost")
    assert acknowledged > rounds


if __name__ == "__main__":
    fork_writers()
