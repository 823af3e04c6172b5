"""Plugins that break their contract, each in its own way."""

from __future__ import annotations

from laila.contract import Pool
from laila.pool.memory import MemoryPool


class ForeignPool:
    """No subclass of Pool."""


def not_a_class() -> None:
    """No class at all."""


class PartialPool(Pool):
    """Lacks what a pool must have, but for one method."""

    def _exists(self, key: str) -> bool:
        return False


class FuturePool(MemoryPool):
    """Built for a contract that is not there yet."""

    laila_contract = 99


class VaguePool(MemoryPool):
    laila_contract = "latest"
