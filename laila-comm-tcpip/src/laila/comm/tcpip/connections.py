"""The WebSocket under a link: the sans-I/O protocol of the `websockets` library, on an asyncio transport.

The callback that receives bytes also handles them, and the answers are written at once. So a small call costs
no task switch, and an answer and its blobs leave together.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from time import monotonic

from websockets.exceptions import InvalidHandshake, InvalidMessage
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response as HttpResponse
from websockets.protocol import State
from websockets.server import ServerProtocol

from laila.comm.tcpip.limits import CHUNK_BYTES
from laila.contract import logger
from laila.errors import PeerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import Any

    from websockets.client import ClientProtocol

    Message = str | bytes

__all__ = ["MAX_SIZE", "Closed", "Connection", "TlsDoor", "drop", "enlarge", "quiet_logger"]

MAX_SIZE = 4 * CHUNK_BYTES
"""The most bytes of one WebSocket message."""
_CLOSE_SECONDS = 0.5
_MOST_PINGS = 64  # and pongs in one second: all others of the process wait while they are read
_MOST_PIECES = 16_384  # fragments of one message
_MOST_UNREAD = 8  # messages of a handshake that nobody has asked for
_MOST_OF_STRANGERS = 64 * 1024  # bytes of a connection that was not let in yet
_AT_ONCE = 64 * 1024  # bytes that are handled before their kind is looked at

quiet_logger = logger("laila.comm.tcpip.websockets")
# A client that does not speak WebSocket gets an answer; it is not worth a line in the log.
quiet_logger.setLevel(logging.CRITICAL)


class Closed(Exception):
    """The connection is over. ``reason`` is the other side's text, or its fault."""

    def __init__(self, reason: str = "", code: int = 0) -> None:
        super().__init__(reason or "the connection is closed")
        self.reason = reason
        self.code = code


class Connection(asyncio.Protocol):
    """One WebSocket, from the opening handshake to the end. Belongs to the loop.

    Until :meth:`attach`, :meth:`recv` returns the messages; from then on each is given to a function.
    ``admit`` is a listener's: it says whether one more connection may come in.
    """

    def __init__(
        self,
        protocol: ServerProtocol | ClientProtocol,
        *,
        opened: Callable[[Connection], object] | None = None,
        admit: Callable[[], bool] | None = None,
        made: Callable[[Connection], object] | None = None,
    ) -> None:
        self._protocol = protocol
        self._opened_hook = opened
        self._admit = admit
        self._made_hook = made
        self._early: list[bytes] = []  # bytes that came with the end of the TLS handshake
        self._door: asyncio.Transport | None = None  # the TCP connection, during the TLS handshake
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._pieces: list[bytes] = []  # fragments of an unfinished message
        self._count = 0  # the number of fragments, also of empty ones
        self._text = True
        self._unread: deque[Message] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._take: Callable[[Message], object] | None = None
        self._writable: Callable[[], object] | None = None
        self._lost: Callable[[], object] | None = None
        self._paused = False
        self._of_stranger = 0  # bytes that came before the connection was let in
        self._pings = 0  # in this second, pongs too
        self._pings_since = 0.0
        self._holds = 0  # the number of reasons for which nothing is read now
        self.reading = False
        """Whether messages are being handled: their answers are sent together at the end."""
        self._over = False
        self._timer: asyncio.TimerHandle | None = None
        self.last_received = monotonic()
        self.given_up = False
        self.reason = ""
        self._code = 0

    # -- what the transport calls ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TCP or TLS connection is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=4 * CHUNK_BYTES)
        if self._made_hook is not None and self._door is None:
            self._made_hook(self)
        if not isinstance(self._protocol, ServerProtocol):
            self._protocol.send_request(self._protocol.connect())
            self.flush()
        early, self._early = self._early, []
        for data in early:
            self.data_received(data)

    def watch(self, seconds: float, then: Callable[[Connection], object]) -> None:
        """Call ``then`` after so many seconds, unless the connection is over by then."""
        self._timer = self._loop.call_later(seconds, then, self)

    def unwatch(self) -> None:
        """Stop the timer, which would keep all of this connection in memory until its time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def door_opened(self, door: asyncio.Transport) -> None:
        """There is a TCP connection, and the TLS handshake begins."""
        self._door = door
        if self._made_hook is not None:
            self._made_hook(self)

    @property
    def was_made(self) -> bool:
        """Whether there is a transport, though it may have ended."""
        return self._transport is not None

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        if self._transport is None:
            self._early.append(data)  # no more than one read: reading goes on when the transport is there
            return
        self.last_received = monotonic()
        if self._take is None and isinstance(self._protocol, ServerProtocol):
            self._of_stranger += len(data)
            if self._of_stranger > _MOST_OF_STRANGERS:
                self.abort()
                return
        if len(data) <= _AT_ONCE:
            self._protocol.receive_data(data)
            self._happened()
            return
        for start in range(0, len(data), _AT_ONCE):
            if self._over or self._transport.is_closing():
                return
            self._protocol.receive_data(data[start : start + _AT_ONCE])
            self._happened()

    def eof_received(self) -> bool:
        """The other side sends no more."""
        self._protocol.receive_eof()
        self._happened()
        return False

    def pause_writing(self) -> None:
        """The system takes no more bytes for now."""
        self._paused = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._paused = False
        if self._writable is not None:
            self._writable()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over, for any reason."""
        self._over = True
        self.unwatch()
        if self._protocol.state is not State.CLOSED:
            self._protocol.receive_eof()
        self._wake()
        lost, self._lost, self._take, self._writable = self._lost, None, None, None
        if lost is not None:
            lost()

    # -- in --------------------------------------------------------------------------------------------------

    def _happened(self) -> None:
        self.reading = True
        try:
            for event in self._protocol.events_received():
                if isinstance(event, Frame):
                    self._frame(event)
                elif isinstance(event, HttpRequest):
                    self._answer(event)
                elif isinstance(event, HttpResponse):
                    self._wake()
        finally:
            self.reading = False
        self._have_read()
        if self._protocol.close_expected() and not self._over:
            self._loop.call_later(_CLOSE_SECONDS, self.abort)
        if self._protocol.handshake_exc is not None or self._protocol.state is State.CLOSED:
            self._wake()
            if not isinstance(self._protocol, ServerProtocol) and self._transport is not None:
                self._transport.close()

    def _have_read(self) -> None:
        if self._writable is not None:
            self._writable()  # a message that was read may have made an answer
        else:
            self.flush()

    def _take_unread(self) -> None:
        self.reading = True
        try:
            while self._unread and self._take is not None and not self._holds:
                self._take(self._unread.popleft())
        finally:
            self.reading = False
        self._have_read()

    def _answer(self, request: HttpRequest) -> None:
        assert isinstance(self._protocol, ServerProtocol)
        if self._admit is not None and not self._admit():
            response = self._protocol.reject(503, "too many connections\n")
        else:
            response = self._protocol.accept(request)
        self._protocol.send_response(response)
        if self._protocol.state is State.OPEN and self._opened_hook is not None:
            self._opened_hook(self)

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            said = Close.parse(bytes(frame.data))  # the library has checked it
            self.reason, self._code = said.reason, int(said.code)
        if frame.opcode in (Opcode.PING, Opcode.PONG):
            if self.last_received - self._pings_since > 1:
                self._pings_since, self._pings = self.last_received, 0
            self._pings += 1
            if self._pings > _MOST_PINGS:
                self.abort()  # no honest peer sends so many
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return  # the library answers pings and closes by itself
        data = bytes(frame.data)
        if frame.opcode is not Opcode.CONT:
            self._text = frame.opcode is Opcode.TEXT
        if not frame.fin or self._pieces:
            self._count += 1
            if self._count > _MOST_PIECES:
                self._protocol.fail(1009, "a message in too many pieces")
                return
            if data:
                self._pieces.append(data)
            if not frame.fin:
                return
            self._count = 0
            data, self._pieces = b"".join(self._pieces), []
        try:
            message = data.decode() if self._text else data
        except UnicodeDecodeError:
            self._protocol.fail(1007, "a text that is no UTF-8")
            return
        if self._take is not None and not self._holds:
            self._take(message)
        elif self._holds:
            self._unread.append(message)  # no more than one read has brought
        elif len(self._unread) >= _MOST_UNREAD and isinstance(self._protocol, ServerProtocol):
            self.abort()
        else:
            self._unread.append(message)
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def opened(self) -> None:
        """Wait for the opening handshake. Raises :class:`PeerError` if the other side refused it."""
        while self._protocol.state is State.CONNECTING:
            if (error := self._protocol.handshake_exc) is not None:
                if isinstance(error.__cause__, EOFError):
                    raise self._closed()  # the other side gave no reason
                if isinstance(error, InvalidMessage) or not isinstance(error, InvalidHandshake):
                    raise PeerError("what answers there is no WebSocket", peer="") from error
                raise PeerError(f"the other side refused: {error}", peer="") from error
            if self._over:
                raise self._closed()
            await self._wait()

    async def recv(self) -> Message:
        """Return the next message. Raises :class:`Closed`."""
        while not self._unread:
            if self._over or self._protocol.state in (State.CLOSING, State.CLOSED):
                raise self._closed()
            await self._wait()
        return self._unread.popleft()

    def attach(
        self,
        take: Callable[[Message], object],
        writable: Callable[[], object],
        lost: Callable[[], object],
    ) -> None:
        """Give each message to ``take`` from now on; call ``lost`` when the connection is over.

        ``writable`` is called when there may be something to send: after each read, and when there is room
        again.
        """
        self._take, self._writable = take, writable
        if self._over:
            self._loop.call_soon(lost)
            return
        self._lost = lost
        self._take_unread()

    def pause_reading(self, seconds: float) -> None:
        """Read nothing for so many seconds."""
        self.hold()
        self._loop.call_later(seconds, self.release)

    def hold(self) -> None:
        """Read nothing until :meth:`release`; each call needs a release of its own."""
        self._holds += 1
        if self._holds == 1 and self._transport is not None and not self._over:
            self._transport.pause_reading()

    def release(self) -> None:
        """Read on, unless another reason holds it."""
        self._holds -= 1
        if self._holds:
            return
        self.last_received = monotonic()  # this side was silent, not the other one
        self._take_unread()
        if self._transport is not None and not self._over and not self._holds:
            self._transport.resume_reading()

    # -- out -------------------------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether a message may be sent now: the connection is open, and the system has room."""
        return not self._paused and not self._over and self._protocol.state is State.OPEN

    def put(self, message: Message) -> None:
        """Keep a message for :meth:`flush`."""
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
        else:
            self._protocol.send_binary(message)

    def flush(self) -> None:
        """Send the kept messages."""
        ready = self._protocol.data_to_send()
        if not ready or self._transport is None or self._transport.is_closing():
            return
        ended = ready[-1] == b""  # the library's sign for the end of the stream
        self._transport.writelines(ready)
        if ended and self._transport.can_write_eof():
            self._transport.write_eof()

    async def send(self, message: Message) -> None:
        """Send one message. Raises :class:`Closed`."""
        if self._over or self._protocol.state is not State.OPEN:
            raise self._closed()
        self.put(message)
        self.flush()

    def _closed(self) -> Closed:
        error = self._protocol.close_exc if self._protocol.state is State.CLOSED else None
        if error is not None and error.sent is not None and not error.rcvd_then_sent:
            return Closed(error.sent.reason)  # this side ended the connection
        return Closed(self.reason, self._code)

    # -- time, and the end -----------------------------------------------------------------------------------

    def silent_seconds(self) -> float:
        """Return the seconds since the last byte arrived; 0 while nothing is read."""
        return 0.0 if self._holds else monotonic() - self.last_received

    def ask(self) -> None:
        """Send a ping; its answer is a sign of life."""
        if self.has_room:
            self._protocol.send_ping(b"?")
            self.flush()

    def give_up(self) -> None:
        """End a silent connection."""
        self.given_up = True
        self.abort()

    def abort(self) -> None:
        """End the connection at once."""
        transport = self._transport or self._door
        if transport is not None:
            transport.abort()

    def turn_away(self, code: int, reason: str) -> None:
        """Send the reason if possible, and end the connection without waiting."""
        if self._protocol.state is not State.OPEN or self._transport is None:
            self.abort()
            return
        self._protocol.send_close(code, reason)
        self.flush()
        self._transport.close()

    async def close_soon(self, code: int, reason: str) -> None:
        """Send a close, and wait a moment for the answer."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason.encode()[:100].decode(errors="ignore"))
            self.flush()
        for _ in range(int(_CLOSE_SECONDS / 0.01)):
            if self._over:
                return
            await asyncio.sleep(0.01)
        self.abort()

    def info(self, name: str) -> Any:
        """Return a fact that the transport knows, for example its socket."""
        transport = self._transport or self._door
        return None if transport is None else transport.get_extra_info(name)

    @property
    def address(self) -> tuple[str, int]:
        """The host and port of the other side."""
        host, port, *_ = self.info("peername") or ("unknown", 0)
        return str(host), int(port)


class TlsDoor(asyncio.Protocol):
    """Receives a TCP connection first, where TLS is used.

    asyncio would report a connection only after the TLS handshake: nobody would count a client that connects
    and stays silent.
    """

    def __init__(self, connection: Connection, context: ssl.SSLContext, seconds: float) -> None:
        self._connection = connection
        self._context = context
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin TLS."""
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()  # the next bytes belong to TLS
        self._connection.door_opened(transport)
        self._task = asyncio.get_running_loop().create_task(self._begin(transport))

    async def _begin(self, door: asyncio.Transport) -> None:
        try:
            transport = await asyncio.get_running_loop().start_tls(
                door,
                self._connection,
                self._context,
                server_side=True,
                ssl_handshake_timeout=self._seconds,
            )
        except (OSError, EOFError):  # no TLS: nobody was let in
            door.abort()
            self._connection.unwatch()
            return
        if transport is not None:
            self._connection.connection_made(transport)


def enlarge(socket: Any, backlog: int) -> None:
    """Let the system keep so many connections of a listening socket until they are accepted."""
    getattr(socket, "_sock", socket).listen(backlog)


def drop(socket: Any) -> None:
    """Close this process's copy of a socket that the parent's event loop uses, and nothing else."""
    getattr(socket, "_sock", socket).close()  # asyncio shows its sockets through a wrapper that cannot close
