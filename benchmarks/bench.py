"""What a workload is made of: figures, each with a target, and how a piece of code is timed.

A workload is a module of ``benchmarks.workloads`` with a docstring, ``FIGURES`` and two functions, ``ours``
and ``raw``, each of which takes a :class:`Bench`, times the same figures, and runs in a process of its own.
It may also have ``SERVERS`` (names of :mod:`benchmarks.servers`), ``ROUNDS`` (at most so many of them,
where one takes long) and ``LONG`` (it runs only with ``--long``, or when it is named).
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FRESH_MEMORY", "Bench", "Figure", "sync"]

FRESH_MEMORY = "it fills more fresh memory, which costs up to ten copies where the machine must find it first"
"""Why a figure of large arrays differs from run to run, on a machine that gives back what memory is free."""


@dataclass(frozen=True)
class Figure:
    """One thing that is measured, in seconds unless ``unit`` says otherwise."""

    name: str
    ratio: float | None = None
    """The greatest ratio to the raw counterpart that is on target; None where there is none."""
    at_most: float | None = None
    """The greatest value of our own that is on target, in the figure's unit."""
    unit: str = "s"
    per: str = ""
    """What one value is for, such as ``entry``."""
    latency: bool = False
    """Whether its samples are single calls, of which the slowest count: told as p50, p99 and max."""
    p99: float | None = None
    """The greatest ratio of the 99th percentiles that is on target; for latencies."""
    known: float | None = None
    """The greatest ratio at which a miss of ``ratio`` is what a profile explains; more is a miss."""
    why: str = ""
    """What that profile shows, in some words: where the limit is."""


@dataclass
class Bench:
    """Where one side of a workload runs: it collects samples, and knows folders and servers."""

    folder: Path
    """An empty folder on a disk, removed afterwards."""
    servers: dict[str, dict[str, str]] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)
    quick: bool = False
    """Whether to do as little as shows that the workload works. Its figures say nothing then."""

    def size(self, count: int) -> int:
        """How many of ``count`` things to take: a hundredth of them (but 10 at least) in a quick run."""
        return min(count, max(count // 100, 10)) if self.quick else count

    def time(
        self,
        figure: str,
        work: Callable[[], object],
        *,
        times: int = 7,
        warm: int = 2,
        per: float = 1,
        before: Callable[[], object] | None = None,
    ) -> None:
        """Time ``work`` ``times`` times after ``warm`` runs that do not count.

        ``before`` runs before each, outside the clock.

        ``per`` divides: a sample is the seconds for one of so many things that one call does.
        """
        clock = time.perf_counter
        if self.quick:
            times, warm = 1, 0
        gc.collect()
        gc.freeze()
        for number in range(warm + times):
            if before is not None:
                before()
            start = clock()
            kept = work()
            taken = clock() - start
            del kept
            if number >= warm:
                self.samples.setdefault(figure, []).append(taken / per)

    def note(self, figure: str, value: float) -> None:
        """Add a sample that was measured otherwise."""
        self.samples.setdefault(figure, []).append(value)

    def process(self, figure: str, code: str, times: int = 9) -> None:
        """Time ``code`` in fresh interpreters, over what a bare interpreter takes, the two in turn."""
        for number in range(2 if self.quick else times + 1):
            bare = _run("pass")
            taken = _run(code)
            if number:  # the first one reads the files
                self.note(figure, max(taken - bare, 0.0))


def sync(path: Path) -> None:
    """Sync a file, or the names in a folder, to the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _run(code: str) -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    )
    return time.perf_counter() - start
