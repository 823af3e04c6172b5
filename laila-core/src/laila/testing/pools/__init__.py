"""The suite for pools: what every pool owes its users, and what this one says that it promises.

:class:`PoolConformance` is put together from one class a subject; a subclass gives the fixture ``open_pool``.
"""

from __future__ import annotations

import pytest

from laila.testing.pools.base import PoolSuite
from laila.testing.pools.contents import Contents
from laila.testing.pools.creation import Creation
from laila.testing.pools.faults import Faults
from laila.testing.pools.leases import Leases
from laila.testing.pools.lifecycle import Lifecycle
from laila.testing.pools.machine import Machine
from laila.testing.pools.parts import Parts
from laila.testing.pools.sharing import Sharing
from laila.testing.pools.verbs import Verbs

__all__ = ["PoolConformance"]


@pytest.mark.conformance
class PoolConformance(
    Contents, Parts, Creation, Leases, Verbs, Sharing, Lifecycle, Faults, Machine, PoolSuite
):
    """Holds a pool to its contract. Subclass it, and define ``open_pool``; see :class:`PoolSuite`."""
