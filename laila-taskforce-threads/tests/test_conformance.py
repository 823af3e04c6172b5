"""The contract that every task force is held to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from laila.contract import TaskForce
from laila.taskforce.threads import PythonThreadPoolTaskForce
from laila.testing import TaskForceConformance


class TestOneThread(TaskForceConformance):
    """A single worker: where tasks that wait for tasks have it hardest."""

    patience = 60.0  # on a machine that is busy

    @pytest.fixture
    def make_taskforce(self) -> Callable[..., TaskForce]:
        return lambda **options: PythonThreadPoolTaskForce(1, **options)


class TestThreads(TaskForceConformance):
    """Several workers."""

    patience = 60.0  # on a machine that is busy

    @pytest.fixture
    def make_taskforce(self) -> Callable[..., TaskForce]:
        return lambda **options: PythonThreadPoolTaskForce(3, **options)
