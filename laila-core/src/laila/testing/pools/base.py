"""What the tests of a pool are made of: the fixtures its author gives, and the pools that a test opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from laila.testing.promises import broken, can_together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import Any, ClassVar

    from laila.contract import Pool

    OpenPool = Callable[..., Pool]

__all__ = ["PoolSuite"]


class PoolSuite:
    """The fixtures of an author, and the helpers of the tests.

    Two kinds of tests are skipped, each with its reason: those of a promise that the pool's class attributes
    (``durability``, ``writers``, ``creation``, ``batches``, ``max_blob_bytes``, ``listing``) do not make, and
    those that need ``damage``, ``outage`` or ``url`` where the author gives none.
    """

    examples: ClassVar[int] = 30
    """How many random histories the state machine tries. Lower it for a slow server."""

    @pytest.fixture
    def open_pool(self) -> OpenPool:
        """Give a callable that opens a pool on the store of this test, which is empty when the test begins.

        It takes ``nickname=``, ``transformations=`` and ``write=``, as the pool's class does, and may be
        called again: a pool that is durable is opened again on what is stored. The suite closes what it
        opens. Every author defines this one.
        """
        broken("a suite for pools defines the fixture `open_pool`; see docs/reference/testing.md")

    @pytest.fixture
    def damage(self) -> Callable[[str], None]:
        """Give a callable that changes a byte of what is stored under a key, behind the pool's back."""
        pytest.skip("no fixture `damage`: nothing says how to change a stored byte")

    @pytest.fixture
    def outage(self) -> Callable[[], AbstractContextManager[object]]:
        """Give a callable; while its context is open, the backend cannot be reached."""
        pytest.skip("no fixture `outage`: nothing says how to take the backend away")

    @pytest.fixture
    def url(self) -> str:
        """Give a URL that opens the same store as ``open_pool``: what ``laila.memory.extend`` is given."""
        pytest.skip("no fixture `url`: nothing says which URL opens the store")

    # -- what the tests take -----------------------------------------------------------------------------

    @pytest.fixture
    def opened(self, open_pool: OpenPool, closing: Callable[[Pool], Pool]) -> OpenPool:
        """``open_pool``, with every pool that it opens closed after the test."""

        def open_one(**options: Any) -> Pool:
            return closing(open_pool(**options))

        return open_one

    @pytest.fixture
    def closing(self) -> Iterator[Callable[[Pool], Pool]]:
        """Give a callable that notes a pool, which is closed after the test, and returns it."""
        pools: list[Pool] = []

        def note(pool: Pool) -> Pool:
            pools.append(pool)
            return pool

        yield note
        for pool in reversed(pools):
            pool.close()

    @pytest.fixture
    def pool(self, opened: OpenPool) -> Pool:
        """One open pool on an empty store."""
        return opened()

    @pytest.fixture
    def durable(self, pool: Pool) -> Pool:
        """A pool of a kind that keeps its entries when it is closed."""
        if pool.durability == "none":
            pytest.skip("durability is 'none': nothing is there after the end of the pool")
        return pool

    @pytest.fixture
    def together(self, pool: Pool) -> Pool:
        """A pool of a kind that stores several blobs in one commit or none of them."""
        if not can_together(pool):
            pytest.skip("no `_create_together`: nothing is said of several blobs in one commit")
        return pool

    @pytest.fixture
    def shared(self, durable: Pool) -> Pool:
        """A pool of a kind whose store several processes use at a time."""
        if durable.writers == "process":
            pytest.skip("writers is 'process': one pool at a time uses the store")
        return durable
