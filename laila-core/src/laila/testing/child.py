"""Other processes at a pool's store: racing, reading, and writing until they are killed.

Run as ``python -m laila.testing.child`` with a description of the pool and what to do on standard input; it
builds the pool from its class and :meth:`~laila.contract.Component.options`, as another process would.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import select
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from laila.testing.programs import describe
from laila.testing.promises import PATIENCE, broken, can_together, promise
from laila.testing.samples import make_blob, stored_many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO, Any

    from laila.contract import Blob, Pool

__all__ = ["Writer", "leave_open", "race", "race_leases", "read", "writing"]


# -- the side of the test ----------------------------------------------------------------------------


def _start(pool: Pool, action: str, **arguments: Any) -> subprocess.Popen[str]:
    search = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [sys.executable, "-m", "laila.testing.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": search},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"pool": describe(pool), "action": action, "arguments": arguments}) + "\n")
    process.stdin.flush()
    return process


def _finish(process: subprocess.Popen[str], what: str) -> str:
    """Wait for a process that should end by itself, and return what it printed."""
    __tracebackhide__ = True
    try:
        output, errors = process.communicate(timeout=2 * PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        _, errors = process.communicate()
        broken(f"{what} ends; after {2 * PATIENCE:.0f} s it had not: {errors[-2000:]}")
    promise(process.returncode == 0, f"{what} works in a process of its own; it failed: {errors[-2000:]}")
    promise(not errors.strip(), f"{what} writes nothing to stderr; it wrote: {errors[-2000:]}")
    return output


def race(pool: Pool, keys: Sequence[str], racers: int, *, together: bool = False) -> list[list[bool]]:
    """Let several processes create all keys at a time; return what each was told.

    ``together``: each key with another that all try, and one that is the racer's own; see :func:`companions`.
    """
    __tracebackhide__ = True
    action = "race_together" if together else "race"
    processes = [_start(pool, action, keys=list(keys), seed=seed) for seed in range(racers)]
    try:
        for process in processes:
            _expect_line(process, "ready")
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [json.loads(_finish(process, "_create")) for process in processes]
    finally:
        for process in processes:
            _end(process)


def race_leases(pool: Pool, key: str, racers: int, turns: int) -> list[list[bool]]:
    """Let several processes make the record of ``key-<turn>`` at a time; return what each was told."""
    __tracebackhide__ = True
    processes = [_start(pool, "race_leases", key=key, turns=turns, seed=seed) for seed in range(racers)]
    try:
        for process in processes:
            _expect_line(process, "ready")
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [json.loads(_finish(process, "swap")) for process in processes]
    finally:
        for process in processes:
            _end(process)


def read(pool: Pool, keys: Sequence[str]) -> list[bytes | None]:
    """Return the bytes that another process reads under the keys."""
    __tracebackhide__ = True
    process = _start(pool, "read", keys=list(keys))
    try:
        found = json.loads(_finish(process, "_read_many"))
    finally:
        _end(process)
    return [None if one is None else bytes.fromhex(one) for one in found]


def leave_open(pool: Pool, key: str) -> None:
    """Let another process write ``key`` and end without closing the pool; it must end by itself."""
    __tracebackhide__ = True
    process = _start(pool, "leave_open", key=key)
    try:
        _finish(process, "a program that leaves its pool open")
    finally:
        _end(process)


class Writer:
    """A process that writes until it is killed, and says of each operation when it has returned."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.acknowledged = 0
        """The number of the last operation that has returned."""

    def write_some(self, least: int) -> None:
        """Follow it until ``least`` operations have returned, and for as long as two of them take at most.

        Then it is inside of another one, at any moment of it: a machine that is slow makes no difference.
        """
        __tracebackhide__ = True
        start = time.monotonic()
        begun = None
        while self.acknowledged < least:
            promise(
                time.monotonic() < start + PATIENCE,
                f"a process that writes gets on; it did {self.acknowledged}",
            )
            self._read(0.05)
            if begun is None and self.acknowledged:
                begun = time.monotonic(), self.acknowledged - 1
        assert begun is not None
        since, before = begun
        each = (time.monotonic() - since) / (self.acknowledged - before)
        time.sleep(random.uniform(0, 2 * each))

    def kill(self) -> None:
        """End it as ``kill -9`` does; what it had said until then counts as acknowledged."""
        self._process.kill()
        self._process.wait()
        while self._read(0.0):
            pass

    def _read(self, timeout: float) -> bool:
        __tracebackhide__ = True
        out = self._process.stdout
        assert out is not None
        if not select.select([out], [], [], timeout)[0]:
            return False
        data = os.read(out.fileno(), 65536).decode()
        if not data:
            if self._process.poll() not in {None, -9}:
                assert self._process.stderr is not None
                broken(
                    f"writing works in a process of its own; it failed: {self._process.stderr.read()[-2000:]}"
                )
            return False
        self._text = getattr(self, "_text", "") + data
        whole, _, self._text = self._text.rpartition("\n")
        if whole:
            self.acknowledged = int(whole.rpartition("\n")[2])
        return True


@contextmanager
def writing(pool: Pool, prefix: str) -> Iterator[Writer]:
    """Start a process that writes operation after operation, see :func:`operation`, and end it after all."""
    process = _start(pool, "write", prefix=prefix)
    try:
        yield Writer(process)
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _expect_line(process: subprocess.Popen[str], wanted: str) -> None:
    __tracebackhide__ = True
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
    if not ready or process.stdout.readline().strip() != wanted:
        process.kill()
        _, errors = process.communicate()
        broken(f"another process can open the pool from its class and options(); it failed: {errors[-2000:]}")


# -- the side of the process -------------------------------------------------------------------------


def operation(prefix: str, number: int) -> tuple[str, list[str]]:
    """The ``number``-th thing a writer does: what, and to which keys. The same for who writes and who checks.

    Each third operation deletes what the one before the last has written; the others write one to five keys.
    """
    if number % 3 == 0:
        return "delete", operation(prefix, number - 2)[1]
    return "write", [f"{prefix}-{number}-{i}" for i in range(1 + number % 5)]


def is_together(pool: Pool, number: int) -> bool:
    """Whether the ``number``-th operation, which writes, is to be there whole or not at all."""
    return number % 4 == 2 and can_together(pool)


def companions(key: str, seed: int) -> list[Blob]:
    """What racer ``seed`` tries to create together: its own first, and then what all of them try."""
    sizes = {f"{key}/{seed}": 300, key: 70_000, f"{key}/last": 300}
    return [make_blob(each, size, seed) for each, size in sizes.items()]


def size_of(number: int) -> int:
    """The bytes that the ``number``-th operation writes under each key."""
    return (100, 3000, 90_000, 400_000)[number % 4]


def _write(pool: Pool, prefix: str) -> None:
    number = 0
    while True:
        number += 1
        action, keys = operation(prefix, number)
        if action == "delete":
            pool._delete_many(keys)
        else:
            blobs = [make_blob(key, size_of(number)) for key in keys]
            items = [(blob.key, blob) for blob in blobs]
            if number % 2:
                pool._write_many(items)
            elif not is_together(pool, number):
                pool._create_many(items)
            elif not pool._create_together(items):
                raise AssertionError(f"_create_together did not create {keys}, which are new")
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


def _race(pool: Pool, keys: list[str], seed: int) -> None:
    blobs = [make_blob(key, 300, seed) for key in keys]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    answers = [bool(pool._create(blob.key, blob)) for blob in blobs[: len(blobs) // 2]]
    answers += map(bool, pool._create_many([(blob.key, blob) for blob in blobs[len(blobs) // 2 :]]))
    sys.stdout.write(json.dumps(answers))


def _race_together(pool: Pool, keys: list[str], seed: int) -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    tries = [[(blob.key, blob) for blob in companions(key, seed)] for key in keys]
    answers = [bool(pool._create_together(items)) for items in tries]
    sys.stdout.write(json.dumps(answers))


def _race_leases(pool: Pool, key: str, turns: int, seed: int) -> None:
    table = pool.lease_table_here()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    answers = [table.swap([(f"{key}-{turn}", None, b"%d" % seed)])[0] for turn in range(turns)]
    sys.stdout.write(json.dumps(answers))


def _read(pool: Pool, keys: list[str]) -> None:
    found = stored_many(pool, keys)
    sys.stdout.write(json.dumps([None if one is None else one.hex() for one in found]))


def _leave_open(pool: Pool, key: str) -> None:
    pool._write(key, make_blob(key, 70_000))


_ACTIONS: dict[str, Callable[..., None]] = {
    "write": _write,
    "race": _race,
    "race_together": _race_together,
    "race_leases": _race_leases,
    "read": _read,
    "leave_open": _leave_open,
}


def _main(given: IO[str]) -> None:
    task = json.loads(given.readline())
    found: Any = importlib.import_module(task["pool"]["module"])
    for name in task["pool"]["name"].split("."):
        found = getattr(found, name)
    pool = found(**task["pool"]["options"])
    _ACTIONS[task["action"]](pool, **task["arguments"])
    if task["action"] != "leave_open":
        pool.close()


if __name__ == "__main__":
    _main(sys.stdin)
