"""The suite for protocols, over TCP and a secret."""

from __future__ import annotations

from typing import Any

import pytest

from laila.comm.tcpip import DefaultTCPIPProtocol
from laila.testing import ProtocolConformance


class TestTCPIP(ProtocolConformance):
    """DefaultTCPIPProtocol keeps the contract of protocols."""

    patience = 60.0  # on a machine that is busy

    in_flight = 64

    @pytest.fixture
    def make_protocol(self) -> Any:
        """Make one that listens, and gives silent links up within seconds."""
        return lambda secret, **options: DefaultTCPIPProtocol(
            peer_secret_key=secret, heartbeat=1.0, heartbeat_timeout=30.0, **options
        )
