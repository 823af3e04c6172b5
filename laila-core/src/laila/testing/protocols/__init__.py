"""The suite for protocols: what every transport owes the policies that it connects, and those it keeps out.

:class:`ProtocolConformance` is put together from one class a subject; a subclass gives the fixture
``make_protocol``.
"""

from __future__ import annotations

import pytest

from laila.testing.protocols.base import ProtocolSuite
from laila.testing.protocols.calls import Calls
from laila.testing.protocols.connecting import Connecting
from laila.testing.protocols.failing import Failing
from laila.testing.protocols.strangers import Strangers

__all__ = ["ProtocolConformance"]


@pytest.mark.conformance
class ProtocolConformance(Connecting, Calls, Strangers, Failing, ProtocolSuite):
    """Holds a protocol to its contract.

    Subclass it, and define ``make_protocol``; see :class:`ProtocolSuite`.
    """
