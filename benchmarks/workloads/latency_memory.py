"""Memory pool, 8 threads at once: memorize and remember a dict of 1 KiB; beside pickle and a dict.

Each thread writes one and reads it back, in turn. The interpreter runs one thread at a time and lets it go
on for 5 ms (sys.getswitchinterval), so that on either side the slowest calls are those that were put aside:
their length says how many threads wait, not what a call does.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.bench import Bench, Figure
from benchmarks.crowd import in_threads
from benchmarks.payloads import small_dict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.crowd import Operations

# One call costs what it costs alone (P2: 5). No target for the slowest ones, which are the interpreter's.
FIGURES = [
    Figure("8 threads, memorize", ratio=5, latency=True),
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
