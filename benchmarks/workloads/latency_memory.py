"""Memory pool, 8 threads at once: memorize and remember a dict of 1 KiB; beside pickle and a dict.

Each thread writes one and reads it back, in turn. The interpreter runs one thread at a time and lets it
go on for 5 ms (sys.getswitchinterval), so that on either side the slowest calls are those that were put
aside while all others had their turn, up to 40 ms. Of calls of 50 µs one in a hundred is put aside, of
calls of 2 µs one in 2,500: the slowest ones tell how many threads wait, and have no target.

To memorize is to make an entry with an id, to copy, check and file it, and to settle a future; beside it
pickle makes the copy, and a dict is all there is to file it in. To remember undoes less. Both together
are P2, whose target is 5; with eight threads a memorize is put aside more often than what takes 2 µs: so
20.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.bench import Bench, Figure
from benchmarks.concurrency import in_threads
from benchmarks.payloads import small_dict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.concurrency import Operations

FIGURES = [
    Figure("8 threads, memorize", ratio=20, latency=True),
    Figure("8 threads, remember", ratio=5, latency=True),
]
CALLS = 2000


@contextmanager
def pool(_: str) -> Iterator[Operations]:
    import laila

    payload = small_dict(0)
    ids: dict[int, str] = {}

    def memorize(number: int) -> None:
        ids[number] = laila.memorize(laila.constant(payload)).wait()

    yield {"memorize": memorize, "remember": lambda number: laila.remember(ids[number]).wait().data}


@contextmanager
def pickles(_: str) -> Iterator[Operations]:
    import pickle

    payload = small_dict(0)
    stored: dict[int, bytes] = {}

    def write(number: int) -> None:
        stored[number] = pickle.dumps(payload)

    yield {"memorize": write, "remember": lambda number: pickle.loads(stored[number])}


def ours(bench: Bench) -> None:
    in_threads(bench, pool, "", CALLS)


def raw(bench: Bench) -> None:
    in_threads(bench, pickles, "", CALLS)
