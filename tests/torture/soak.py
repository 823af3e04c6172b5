"""A mixed load for a long time: tiers fill, servers are killed, and what the process uses stays flat."""

from __future__ import annotations

import gc
import os
import random
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import laila
from laila.errors import LailaError
from torture.report import Options, Report
from torture.workload import NAMES, State, look, operation, run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torture.stores import Store

__all__ = ["soak"]

_GROWTH = {"memory": 64 << 20, "threads": 8, "descriptors": 16}
"""How much more there may be at the end than after a fifth of the time: bytes, threads, descriptors."""


def soak(store: Store, options: Options) -> Report:
    """Store, read, evolve and forget through bounded tiers, and compare each read with a model."""
    report = Report("soak", store.kind, options.seed)
    chance = random.Random(options.seed)
    cache = store.folder / "cache"
    pools = [laila.MemoryPool(max_bytes=2 << 20), _cache(cache), store.fresh().open()]
    begun = time.monotonic()
    first: Mapping[str, int] | None = None
    state: State = {}
    unsure: set[str] = set()
    number = restarts = 0
    with laila.DefaultPolicy(alpha_pool=laila.tiers(*pools)) as policy:
        memory = policy.central.memory
        while (spent := time.monotonic() - begun) < options.seconds and number < options.rounds * 100:
            what = operation(options.seed, number)
            number += 1
            try:
                run(what, memory)
                state = what.apply(state)
                unsure -= set(what.names)
                report.counts["writes"] += 1
            except LailaError:
                unsure |= set(what.names)
                report.counts["errors told"] += 1
            for name in chance.sample(NAMES, 3):
                _check(memory, name, state, unsure, report)
            if store.server is not None and spent > (restarts + 1) * max(options.seconds / 6, 5):
                store.restart_server()
                restarts += 1
                report.counts["servers killed"] += 1
            if first is None and spent > options.seconds / 5:
                first = use_of_this_process()
        last = use_of_this_process()
    for what_grows, most in _GROWTH.items():
        if first is not None and last[what_grows] > first[what_grows] + most:
            report.wrong.append(f"{what_grows} grew from {first[what_grows]:,} to {last[what_grows]:,}")
    report.counts["seconds"] = int(time.monotonic() - begun)
    return report


def _cache(folder: Path) -> laila.Pool:
    from laila.pool.files import FilesystemPool

    return FilesystemPool(folder, durable="process", max_bytes=4 << 20)


def _check(memory: object, name: str, state: State, unsure: set[str], report: Report) -> None:
    """Read a name: it is what the model has."""
    try:
        actual = look(memory, [name]).get(name)  # type: ignore[arg-type]
    except LailaError:
        report.counts["errors told"] += 1
        return
    report.counts["reads"] += 1
    if name not in unsure and actual != state.get(name):
        report.wrong.append(f"{name} was read wrong")


def use_of_this_process() -> dict[str, int]:
    """Return the bytes, threads and descriptors that this process has."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "memory": pages * os.sysconf("SC_PAGE_SIZE"),
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }
