"""The protocol over WebSockets: policies in other processes, reached under a shared secret."""

from __future__ import annotations

from laila.comm.tcpip.protocol import DefaultTCPIPProtocol
from laila.comm.tcpip.settings import TCPIPSettings

__all__ = ["DefaultTCPIPProtocol", "TCPIPSettings"]
