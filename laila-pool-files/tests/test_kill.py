"""``kill -9`` at any moment: what was acknowledged is there, each entry is whole, temporary files go.

A process that has imported everything (this file, run as a script) forks a writer for each round. The writer
tells over a pipe of every operation that has returned; it is killed; the folder is read.
``LAILA_TEST_KILL_ROUNDS`` sets the number of rounds.
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

import pytest

from laila.component.backend import checked_blob
from laila.contract import Blob, Buffer
from laila.pool.files import FilesystemPool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROUNDS = int(os.environ.get("LAILA_TEST_KILL_ROUNDS", "80"))
KEYS = [f"LAILA:ENTRY:GLOBAL_ID:00000000-0000-4000-8000-{number:012x}" for number in range(30)]

Content = dict[str, bytes | None]


class Operation:
    """The ``number``-th thing that the writer of a round does: the same for the writer and for who checks."""

    def __init__(self, seed: int, number: int) -> None:
        chance = random.Random(seed * 100_000 + number)
        self.kind = chance.choices(("write", "delete", "empty"), (85, 14, 1))[0]
        self.keys = KEYS if self.kind == "empty" else chance.sample(KEYS, chance.choice((1, 1, 1, 5)))
        sizes = chance.choices((100, 5_000, 1_500_000), (5, 5, 1), k=len(self.keys))
        self.blobs = [
            Blob(key, b"\xcd" + number.to_bytes(2), (Buffer(memoryview(chance.randbytes(size))),))
            for key, size in zip(self.keys, sizes, strict=True)
            if self.kind == "write"
        ]

    def run(self, pool: FilesystemPool) -> None:
        if self.kind == "write":
            pool._write_many([(blob.key, blob) for blob in self.blobs])
        elif self.kind == "delete":
            pool._delete_many(self.keys)
        else:
            pool._empty()

    def changes(self) -> Content:
        return dict.fromkeys(self.keys) | {blob.key: bytes(blob) for blob in self.blobs}


def write_for_ever(path: str, seed: int) -> None:
    """The writer: acknowledge the opening with 0, then each operation with its number."""
    # Who is killed needs no sync: half of the writers make none, and come further.
    with FilesystemPool(path, durable="process" if seed % 2 else "power") as pool:
        sys.stdout.write("0\n")
        sys.stdout.flush()
        for number in range(1, 60_000):
            Operation(seed, number).run(pool)
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


def fork_writers() -> None:
    """For each line ``<seed> <path>`` fork a writer and tell its process id; wait for its end."""
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
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self._rest = b""

    def killed(self, path: Path, seed: int, chance: random.Random) -> int:
        """Let a writer run, kill it, and return its last acknowledgement; -1: none."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seed} {path}\n".encode())
        child = 0
        acknowledged = -1
        deadline = time.monotonic() + 200
        kill_at = deadline
        # Mostly in the midst of work; now and then while the pool is still being opened.
        enough = chance.randrange(-1, 20)
        while True:
            line = self._line(kill_at)
            if line is None:
                assert time.monotonic() < deadline, "the writer hangs"
                os.kill(child, signal.SIGKILL)
                kill_at = deadline
            elif line.startswith("pid "):
                child = int(line[4:])
                if enough < 0:
                    kill_at = time.monotonic() + chance.random() * 0.02
            elif line == "end":
                return acknowledged
            else:
                acknowledged = int(line)
                if acknowledged == enough:
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
        os.killpg(self._process.pid, signal.SIGKILL)  # with a writer, where a check has failed
        self._process.communicate()


@pytest.fixture
def writers() -> Iterator[Writers]:
    started = Writers()
    yield started
    started.close()


@pytest.mark.timeout(600)
def test_nothing_is_lost_by_kill(tmp_path: Path, writers: Writers) -> None:
    chance = random.Random(7)
    path = tmp_path / "pool"
    content: Content = dict.fromkeys(KEYS)
    acknowledged = interrupted = strays = 0
    for number in range(ROUNDS):
        last = writers.killed(path, number, chance)
        for operation in range(1, last + 1):
            content |= Operation(number, operation).changes()
        under_way = Operation(number, last + 1).changes()
        acknowledged += max(last, 0)
        strays += (path / "tmp").is_dir() and len(os.listdir(path / "tmp"))
        with FilesystemPool(path) as pool:
            found = {key: pool._read(key) for key in KEYS}
            assert sorted(pool._keys()) == [key for key in KEYS if found[key] is not None]
            for key, raw in found.items():
                blob = None if raw is None else bytes(checked_blob(key, raw))
                if blob != content[key]:
                    # What was under way is there for some of its keys; nothing else is different.
                    assert blob == under_way[key]
                    content[key] = blob
                    interrupted += 1
        assert os.listdir(path / "tmp") == []
    print(f"{ROUNDS} rounds, {acknowledged} acknowledged operations, {interrupted} more entries, 0 lost")
    assert acknowledged > ROUNDS
    assert strays


if __name__ == "__main__":
    fork_writers()
