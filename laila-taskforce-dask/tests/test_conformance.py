"""The Dask task force keeps the contract of task forces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from distributed import LocalCluster

from laila.taskforce.dask import DaskTaskForce
from laila.testing import TaskForceConformance


class TestDask(TaskForceConformance):
    """On a cluster that is there."""

    in_process = False
    examples = 5
    # Dask tries to reach a worker that died for so long before it does again what it had the results of:
    # distributed.comm.timeouts.connect, 30 seconds.
    patience = 90.0

    @pytest.fixture
    def make_taskforce(self, cluster: LocalCluster) -> Callable[..., DaskTaskForce]:
        """Give one that takes what every task force takes."""

        def make(**options: Any) -> DaskTaskForce:
            return DaskTaskForce(cluster.scheduler_address, **options)

        return make
