"""HDF5, 8 threads and 8 processes at one file: memorize (each write synced) and remember 1 KiB.

Each caller writes one entry and reads it back, in turn. There is no raw counterpart: h5py lets one thread
in at a time, and one process write at a time, with no way to wait for it. What stands beside is the disk: 8
callers that write 1 KiB to new files, sync them and their folder, and read them. They wait for nobody; who
commits to one file waits for the 7 others. Threads share commits, so 4; processes take turns, so 8, for the
slowest ones too: everyone is served in turn. Reads wait for nobody; beside a plain file they have a
hand-over to a worker thread, and no target.
"""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench import Bench, Figure, sync
from benchmarks.concurrency import in_processes, in_threads
from benchmarks.payloads import small_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.concurrency import Operations

FIGURES = [
    Figure("8 threads, memorize", ratio=4, latency=True),
    Figure("8 threads, remember", latency=True),
    Figure("8 processes, memorize", ratio=8, p99=8, latency=True),
    Figure("8 processes, remember", latency=True),
]
CALLS = 100
ROUNDS = 3


@contextmanager
def pool(place: str) -> Iterator[Operations]:
    import laila

    laila.alpha_pool = laila.memory.extend(f"hdf5://{place}")
    payload = small_bytes(0)
    ids: dict[int, str] = {}

    def memorize(number: int) -> None:
        ids[number] = laila.memorize(laila.constant(payload)).wait()

    yield {"memorize": memorize, "remember": lambda number: laila.remember(ids[number]).wait().data}
    laila.terminate()


@contextmanager
def files(place: str) -> Iterator[Operations]:
    payload = small_bytes(0)
    names: dict[int, Path] = {}

    def write(number: int) -> None:
        names[number] = Path(place, uuid.uuid4().hex)
        with open(names[number], "wb", buffering=0) as file:
            file.write(payload)
            os.fsync(file.fileno())
        sync(Path(place))

    yield {"memorize": write, "remember": lambda number: names[number].read_bytes()}


def ours(bench: Bench) -> None:
    in_threads(bench, pool, f"{bench.folder}/threads.h5", CALLS)
    in_processes(bench, pool, f"{bench.folder}/processes.h5", CALLS)


def raw(bench: Bench) -> None:
    in_threads(bench, files, str(bench.folder), CALLS)
    in_processes(bench, files, str(bench.folder), CALLS)
