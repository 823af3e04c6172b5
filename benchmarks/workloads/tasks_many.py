"""Submit 10,000 tasks that do nothing, one by one and as a list; beside ThreadPoolExecutor.

P5 with twice as many, and with a future for each: the result of every one is taken.
"""

from __future__ import annotations

from benchmarks.bench import Bench, Figure

FIGURES = [Figure("one by one", ratio=1.2, per="task"), Figure("as a list", ratio=1.2, per="task")]
COUNT, WORKERS = 10_000, 4


def nothing() -> None:
    """Do nothing."""


def ours(bench: Bench) -> None:
    from laila.taskforce.threads import PythonThreadPoolTaskForce

    count = bench.size(COUNT)
    with PythonThreadPoolTaskForce(workers=WORKERS) as force:

        def one_by_one() -> list[None]:
            futures = [force.submit(nothing) for _ in range(count)]
            return [future.result for future in futures]

        bench.time("one by one", one_by_one, per=count)
        bench.time("as a list", lambda: force.submit([nothing] * count).result, per=count)


def raw(bench: Bench) -> None:
    from concurrent.futures import ThreadPoolExecutor

    count = bench.size(COUNT)
    with ThreadPoolExecutor(WORKERS) as executor:

        def work() -> list[None]:
            futures = [executor.submit(nothing) for _ in range(count)]
            return [future.result() for future in futures]

        for figure in FIGURES:
            bench.time(figure.name, work, per=count)
