"""What is lent, on the server: one key for each lease, changed by a script, with the server's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.contract import KEPT_SECONDS, LeaseTable
from laila.pool.redis.scripts import SWAP_LEASES
from laila.pool.redis.wire import Command, call

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from laila.pool.redis.store import Store

__all__ = ["RedisLeases"]


class RedisLeases(LeaseTable):
    """The table of one pool. Thread-safe."""

    longest_pause = 0.1

    def __init__(self, store: Store, reporting: Callable[[str], AbstractContextManager[None]]) -> None:
        self._store = store
        self._reporting = reporting

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the record of each key, or None."""
        if not keys:
            return []
        with self._reporting("look at leases"):
            (records,) = self._store.ask([Command(b"MGET", *map(self._store.names.lease, keys))])
        return [None if record is None else bytes(record) for record in records]

    def swap(self, changes: Sequence[tuple[str, bytes | None, bytes]]) -> list[bool]:
        """Replace each record that is still as it was read. A repeated try may say False of what was done."""
        if not changes:
            return []
        arguments: list[bytes | int] = [KEPT_SECONDS * 1000]
        for _, old, new in changes:
            arguments += [0 if old is None else 1, old or b"", new]
        names = [self._store.names.lease(key) for key, _, _ in changes]
        with self._reporting("lend entries"):
            (answers,) = self._store.ask([call(SWAP_LEASES, names, *arguments)])
        return [answer == 1 for answer in answers]

    def keys(self) -> list[str]:
        """Return the keys that have a record."""
        with self._reporting("list leases"):
            return self._store.leased()

    def now(self) -> tuple[str, float]:
        """Return the clock of the server."""
        with self._reporting("ask for the time"):
            ((seconds, micros),) = self._store.ask([Command(b"TIME")])
        return "redis", int(seconds) + int(micros) / 1e6
