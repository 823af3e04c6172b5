"""Several at one store: threads, pools, processes, and a process that is killed while it writes."""

from __future__ import annotations

import os
import random
import time
import warnings
from typing import TYPE_CHECKING

import pytest

from laila.errors import LailaError
from laila.testing import child
from laila.testing.pools.base import PoolSuite
from laila.testing.promises import in_threads, promise
from laila.testing.samples import entry_key, intact, make_blob, stored, stored_many

if TYPE_CHECKING:
    from collections.abc import Callable

    from laila.contract import Pool

__all__ = ["Sharing"]


class Sharing(PoolSuite):
    """Threads, pools and processes at the same time."""

    def test_threads_see_whole_blobs(self, pool: Pool) -> None:
        """A reader gets one written blob or nothing while others write and delete."""
        keys = [entry_key(number) for number in range(4)]
        sizes = (80, 3000, 120_000)
        written = {
            key: {bytes(make_blob(key, size, seed)) for size in sizes for seed in range(6)} for key in keys
        }

        def work(worker: int) -> None:
            chance = random.Random(worker)
            own = entry_key(100 + worker)
            for turn in range(15):
                key = chance.choice(keys)
                action = chance.randrange(5)
                if action == 0:
                    pool._write(key, make_blob(key, chance.choice(sizes), worker))
                elif action == 1:
                    pool._write_many([(k, make_blob(k, chance.choice(sizes), worker)) for k in keys[:2]])
                elif action == 2:
                    pool._delete(key)
                else:
                    for each, found in zip(keys, stored_many(pool, keys), strict=True):
                        promise(
                            found is None or found in written[each],
                            "who reads while others write gets one of their blobs, whole",
                        )
                pool._write(own, make_blob(own, 500, turn))
                promise(
                    stored(pool, own) == bytes(make_blob(own, 500, turn)),
                    "a thread reads what it has just written, whatever others do",
                )

        in_threads([lambda worker=worker: work(worker) for worker in range(6)], "readers and writers end")  # type: ignore[misc]

    def test_a_second_pool_sees_the_first(self, shared: Pool, opened: Callable[..., Pool]) -> None:
        """Two pools on one store, in one process: what returned from one is seen by the other."""
        other = opened()
        for seed, size in enumerate([100, 70_000, 5_000_000]):
            key = entry_key(seed)
            shared._write(key, make_blob(key, size, 1))
            promise(
                stored(other, key) == bytes(make_blob(key, size, 1)), "what one pool wrote the other reads"
            )
            promise(
                other._create(key, make_blob(key, size, 2)) is False,
                "what one pool wrote is there for the other",
            )
            other._write(key, make_blob(key, size, 3))
            promise(
                stored(shared, key) == bytes(make_blob(key, size, 3)), "what was replaced is seen as replaced"
            )
            other._create(f"{key}-{seed}", make_blob(f"{key}-{seed}"))
            promise(shared._newest(key) == f"{key}-{seed}", "evolutions of one pool are seen by the other")
            other._delete(key)
            promise(not shared._exists(key), "what one pool deleted is gone for the other")
            promise(shared._read(key) is None, "what one pool deleted is gone for the other")
        shared._write("last", make_blob("last"))
        other._empty()
        promise(list(shared._keys()) == [], "what one pool emptied is empty for the other")

    def test_another_process_reads_what_was_written(self, durable: Pool) -> None:
        """It builds the pool from its class and options, as `laila.environment` does."""
        blobs = [make_blob(entry_key(number), size) for number, size in enumerate([50, 70_000, 2_000_000])]
        durable._write_many([(blob.key, blob) for blob in blobs])
        if durable.writers == "process":
            durable.close()
        found = child.read(durable, [*(blob.key for blob in blobs), "none"])
        promise(found == [*map(bytes, blobs), None], "another process reads what was written")

    def test_a_killed_writer_loses_nothing(self, durable: Pool, opened: Callable[..., Pool]) -> None:
        """A finished write is there, any other is there whole or not at all, and the next one writes."""
        durable._write("before", make_blob("before", 70_000))
        alone = durable.writers == "process"
        if alone:
            durable.close()
        # What comes next, see `child.operation`: writes of several large or small blobs, what is created
        # together, and deletes.
        for turn, done in enumerate((6, 13, 8, 3, 18, 21, 10, 13)):
            prefix = f"kill-{turn}"
            with child.writing(durable, prefix) as writer:
                writer.write_some(done)
                writer.kill()
            pool = opened() if alone else durable
            _check_killed(pool, prefix, writer.acknowledged)
            pool._write("after", make_blob("after", 70_000, turn))
            promise(
                stored(pool, "after") == bytes(make_blob("after", 70_000, turn)),
                "after a writer was killed the next one writes",
            )
            promise(
                stored(pool, "before") == bytes(make_blob("before", 70_000)),
                "a killed writer harms no others",
            )
            if alone:
                pool.close()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    def test_a_forked_child_hangs_nobody(self, pool: Pool) -> None:
        """A child reads what is there, or is refused with a LailaError; the parent goes on as before."""
        blob = make_blob(entry_key(1), 70_000)
        pool._write(blob.key, blob)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads is what is tested here
            pid = os.fork()
        if pid == 0:
            code = 3
            try:
                code = 0 if stored(pool, blob.key) == bytes(blob) else 1
            except LailaError:
                code = 2
            finally:
                os._exit(code)
        ended = _wait_for(pid)
        promise(ended is not None, "a forked child that reads ends; it hung, and was killed")
        promise(
            ended != 1, "a forked child reads what is there, or is refused with a LailaError; it read nothing"
        )
        promise(
            ended in {0, 2}, "a forked child reads what is there, or is refused with a LailaError; it failed"
        )
        pool._write("after", make_blob("after"))
        promise(stored(pool, blob.key) == bytes(blob), "a parent reads on after a fork")
        promise(stored(pool, "after") == bytes(make_blob("after")), "a parent writes on after a fork")


def _check_killed(pool: Pool, prefix: str, acknowledged: int) -> None:
    __tracebackhide__ = True
    expected: dict[str, int] = {}
    for number in range(1, acknowledged + 1):
        action, keys = child.operation(prefix, number)
        for key in keys:
            if action == "delete":
                expected.pop(key, None)
            else:
                expected[key] = number
    # The operation after the last one that returned may have happened: as a whole where that is promised.
    action, pending = child.operation(prefix, acknowledged + 1)
    for key, number in expected.items():
        if action == "delete" and key in pending:
            continue
        kept = intact(pool, make_blob(key, child.size_of(number)))
        promise(kept, f"a write that returned survives kill -9, whole; {key} is lost or changed")
    listed = {key for key in pool._keys() if key.startswith(f"{prefix}-")}
    promise(
        listed - set(pending) == set(expected) - set(pending),
        f"after kill -9 the keys are those of what returned: {sorted(listed ^ set(expected))[:3]} differ",
    )
    there = {pool._read(key) is not None for key in pending}
    if action == "write":
        blobs = [make_blob(key, child.size_of(acknowledged + 1)) for key in pending]
        torn = [blob.key for blob in blobs if pool._read(blob.key) is not None and not intact(pool, blob)]
        promise(not torn, f"a write that was killed is there whole or not at all; {torn} is neither")
    if pool.batches == "batch":
        promise(
            len(there) == 1,
            "batches is 'batch': after kill -9 a batch of writes or deletes has happened whole or not at all",
        )
    if action == "write" and child.is_together(pool, acknowledged + 1):
        promise(len(there) == 1, "after kill -9 all that _create_together was given is there, or nothing")


def _wait_for(pid: int, seconds: float = 20.0) -> int | None:
    """The exit code of a child, or None where it had to be killed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return None
