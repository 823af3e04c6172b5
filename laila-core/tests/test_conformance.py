"""The core's own plugins keep the contract that third parties are held to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from laila.contract import Pool
from laila.pool.memory import MemoryPool
from laila.testing import PoolConformance


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
