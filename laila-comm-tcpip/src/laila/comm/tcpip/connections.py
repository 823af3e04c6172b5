"""The WebSocket under a link: the `websockets` library, with what laila needs to know of a connection."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from time import monotonic

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from laila.comm.tcpip.limits import CHUNK_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["COMMON", "ClientSocket", "Connection", "ServerSocket", "drop", "quiet_logger"]

_CLOSE_SECONDS = 0.5

quiet_logger = logging.getLogger("laila.comm.tcpip.websockets")
# Whoever knocks with what is no WebSocket is told so, and is no news here.
quiet_logger.setLevel(logging.CRITICAL)

COMMON: dict[str, Any] = {
    "compression": None,  # a tenth of the speed, for data that is compressed already or does not compress
    "max_size": 4 * CHUNK_BYTES,
    "max_queue": 16,
    "write_limit": 4 * CHUNK_BYTES,
    "ping_interval": None,  # the link keeps time itself: any byte that arrives is a sign of life
    "close_timeout": _CLOSE_SECONDS,
    "logger": quiet_logger,
}


class _Alive:
    """Notes when bytes arrive, of whatever kind."""

    last_received: float

    def data_received(self, data: bytes) -> None:
        self.last_received = monotonic()
        super().data_received(data)  # type: ignore[misc]  # the connection beside it has it


class ServerSocket(_Alive, ServerConnection):
    """A connection that was accepted."""


class ClientSocket(_Alive, ClientConnection):
    """A connection that was made."""


class Connection:
    """One open WebSocket. Belongs to the loop."""

    def __init__(self, socket: ServerSocket | ClientSocket) -> None:
        self._socket = socket
        self._asked: asyncio.Task[object] | None = None
        self.given_up = False
        self.recv = socket.recv
        self.send = socket.send

    @property
    def raw(self) -> Any:
        """The socket of the system, for a forked child that must give up its copy."""
        return self._socket.transport.get_extra_info("socket")

    @property
    def address(self) -> str:
        """Where the other side is: host and port."""
        host, port, *_ = self._socket.remote_address or ("unknown", 0)
        return f"{host}:{port}"

    def silent_seconds(self) -> float:
        """How long ago the last byte arrived."""
        return monotonic() - self._socket.last_received

    def ask(self) -> None:
        """Send a ping, whose answer is a sign of life; does not wait, even where nothing can be sent."""
        if self._asked is None or self._asked.done():
            self._asked = asyncio.ensure_future(self._ping())

    async def _ping(self) -> None:
        with suppress(ConnectionClosed):
            await self._socket.ping()

    def give_up(self) -> None:
        """End a connection on which nothing arrives."""
        self.given_up = True
        self.abort()

    def abort(self) -> None:
        """End it at once."""
        if self._asked is not None:
            self._asked.cancel()
        self._socket.transport.abort()

    async def close_soon(self, code: int, reason: str) -> None:
        """Say goodbye, and wait a moment for the answer."""
        with suppress(ConnectionClosed, TimeoutError, OSError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._socket.close(code, reason.encode()[:100].decode(errors="ignore"))


def drop(socket: Any) -> None:
    """Close this process's copy of a socket that an event loop of the parent's uses, and nothing else."""
    getattr(socket, "_sock", socket).close()  # asyncio shows its sockets through a wrapper that cannot close
