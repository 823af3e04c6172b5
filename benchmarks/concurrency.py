"""Many threads, or many processes, that use one store at the same time: how long each of their calls takes.

A workload gives an *opener*: a context manager that opens the store and yields operations by name, each a
function of a number that no other call has. In each turn a caller runs all of them, one after the other, so
that reads and writes meet. Threads share what one opener gives; each process opens for itself.
"""

from __future__ import annotations

import multiprocessing
import threading
from contextlib import AbstractContextManager
from time import perf_counter
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier as ProcessBarrier

    from benchmarks.bench import Bench

    Operations: TypeAlias = dict[str, Callable[[int], object]]
    Opener: TypeAlias = Callable[[str], AbstractContextManager[Operations]]
    Samples: TypeAlias = dict[str, list[float]]

__all__ = ["CALLERS", "in_processes", "in_threads"]

CALLERS = 8
_WARM = 20
_SECONDS = 600
_FAR = 1_000_000  # between the numbers of two callers


def in_threads(bench: Bench, opener: Opener, place: str, calls: int) -> None:
    """Time ``calls`` turns of each of 8 threads; the figures are called ``8 threads, <operation>``."""
    calls = bench.size(calls)
    gate = threading.Barrier(CALLERS)
    every: list[Samples] = []
    with opener(place) as operations:

        def caller(number: int) -> None:
            samples = _turns(operations, number * _FAR, calls, gate)
            every.append(samples)

        threads = [threading.Thread(target=caller, args=(number,)) for number in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    _note(bench, "threads", every)


def in_processes(bench: Bench, opener: Opener, place: str, calls: int) -> None:
    """The same with 8 processes, each of which opens ``place`` for itself."""
    calls = bench.size(calls)
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(CALLERS)
    lines, processes = [], []
    for number in range(CALLERS):
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_process, args=(opener, place, number * _FAR, calls, gate, there))
        process.start()
        there.close()  # so that the end of the process is the end of the line
        lines.append(here)
        processes.append(process)
    try:
        every = [line.recv() for line in lines]
    finally:
        for process in processes:
            process.join(10)
            process.kill()
    _note(bench, "processes", every)


def _process(
    opener: Opener,
    place: str,
    start: int,
    calls: int,
    gate: ProcessBarrier,
    line: Connection[Samples, object],
) -> None:
    with opener(place) as operations:
        line.send(_turns(operations, start, calls, gate))


def _turns(
    operations: Operations, start: int, calls: int, gate: threading.Barrier | ProcessBarrier
) -> Samples:
    for number in range(start, start + _WARM):
        for work in operations.values():
            work(number)
    samples: Samples = {name: [] for name in operations}
    gate.wait(_SECONDS)
    for number in range(start + _WARM, start + _WARM + calls):
        for name, work in operations.items():
            begun = perf_counter()
            work(number)
            samples[name].append(perf_counter() - begun)
    gate.wait(_SECONDS)  # nobody has the store alone at the end, nor closes it under the others
    return samples


def _note(bench: Bench, what: str, every: list[Samples]) -> None:
    assert len(every) == CALLERS, f"only {len(every)} of {CALLERS} {what} came to their end"
    for samples in every:
        for name, values in samples.items():
            bench.samples.setdefault(f"{CALLERS} {what}, {name}", []).extend(values)
