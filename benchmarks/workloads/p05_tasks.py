"""Submit 5,000 tasks that do nothing, and wait for all."""

from __future__ import annotations

from benchmarks.bench import Bench, Figure

FIGURES = [Figure("submit and wait", ratio=1.2, per="task")]
COUNT, WORKERS = 5000, 4


def nothing() -> None:
    """Do nothing."""


def ours(bench: Bench) -> None:
    from laila.taskforce.threads import PythonThreadPoolTaskForce

    with PythonThreadPoolTaskForce(workers=WORKERS) as force:
        bench.time("submit and wait", lambda: force.submit([nothing] * COUNT).wait(), per=COUNT)


def raw(bench: Bench) -> None:
    from concurrent.futures import ThreadPoolExecutor, wait

    with ThreadPoolExecutor(WORKERS) as executor:
        bench.time(
            "submit and wait", lambda: wait([executor.submit(nothing) for _ in range(COUNT)]), per=COUNT
        )
