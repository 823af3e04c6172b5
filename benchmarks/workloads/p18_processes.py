"""Submit 1,000 tasks that do nothing to two worker processes, and wait for all."""

from __future__ import annotations

from benchmarks.bench import Bench, Figure

FIGURES = [Figure("submit and wait", ratio=1.3, per="task")]
COUNT, WORKERS = 1000, 2


def nothing(_: object = None) -> None:
    """Do nothing."""


def ours(bench: Bench) -> None:
    from laila.taskforce.processes import ProcessTaskForce

    with ProcessTaskForce(WORKERS) as force:
        bench.time("submit and wait", lambda: force.submit([nothing] * COUNT).wait(), per=COUNT)


def raw(bench: Bench) -> None:
    from loky import ProcessPoolExecutor

    with ProcessPoolExecutor(WORKERS) as executor:
        bench.time("submit and wait", lambda: list(executor.map(nothing, range(COUNT))), per=COUNT)
