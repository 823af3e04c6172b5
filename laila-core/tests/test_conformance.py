"""The core's own plugins keep the contract that third parties are held to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from laila.contract import Pool, TaskForce
from laila.pool.memory import MemoryPool
from laila.taskforce.inline import InlineTaskForce
from laila.testing import PoolConformance, TaskForceConformance


class TestMemoryPool(PoolConformance):
    """The pool in memory."""

    @pytest.fixture
    def open_pool(self) -> Callable[..., Pool]:
        return MemoryPool


class TestBoundedMemoryPool(PoolConformance):
    """The same, keeping count of its bytes."""

    @pytest.fixture
    def open_pool(self) -> Callable[..., Pool]:
        return partial(MemoryPool, max_bytes=1 << 30)


class TestInlineTaskForce(TaskForceConformance):
    """The task force that runs tasks in their submitter."""

    background = False

    @pytest.fixture
    def make_taskforce(self) -> Callable[..., TaskForce]:
        return InlineTaskForce
