"""Another distribution's claim of the name ``box``."""

from __future__ import annotations

from laila.pool.memory import MemoryPool


class RivalPool(MemoryPool):
    pass
