"""Claims a name that is another's."""

from __future__ import annotations

from laila.pool.memory import MemoryPool


class GrabbingPool(MemoryPool):
    pass
