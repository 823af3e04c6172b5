"""Submit 1,000 tasks that do nothing to a Dask cluster of two processes, and wait for all."""

from __future__ import annotations

from benchmarks.bench import Bench, Figure

FIGURES = [Figure("submit and wait", ratio=1.3, per="task")]
COUNT, WORKERS = 1000, 2


def nothing(_: object = None) -> None:
    """Do nothing."""


def ours(bench: Bench) -> None:
    from laila.taskforce.dask import DaskTaskForce

    with DaskTaskForce(workers=WORKERS) as force:
        bench.time("submit and wait", lambda: force.submit([nothing] * COUNT).wait(), times=5, per=COUNT)


def raw(bench: Bench) -> None:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        bench.time(
            "submit and wait",
            lambda: client.gather(client.map(nothing, range(COUNT), pure=False)),
            times=5,
            per=COUNT,
        )
