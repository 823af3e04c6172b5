"""One authenticated connection on the event loop: a WebSocket, the session that speaks over it, its calls.

The session decides. This module reads, writes, keeps time, and gives slow work to a worker.
"""

from __future__ import annotations

import asyncio

from laila.comm.tcpip.answering import Server
from laila.comm.tcpip.codec import error_of, split
from laila.comm.tcpip.connections import drop
from laila.comm.tcpip.deadlines import Deadlines
from laila.comm.tcpip.events import Answered, Called, Cancelled, Unread
from laila.comm.tcpip.guard import Rate
from laila.comm.tcpip.messages import BadMessage
from laila.comm.tcpip.outgoing import TooLong
from laila.comm.tcpip.session import Session
from laila.contract import logger, wire
from laila.errors import PayloadError, PeerDisconnectedError, PeerTimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from laila.comm.tcpip.background import Background
    from laila.comm.tcpip.codec import Packed
    from laila.comm.tcpip.connections import Connection
    from laila.comm.tcpip.limits import Offer
    from laila.comm.tcpip.messages import Message
    from laila.comm.tcpip.once import Once
    from laila.comm.tcpip.settings import TCPIPSettings
    from laila.contract import Node, RemoteFuture, Role

__all__ = ["Call", "Link"]

_SMALL = 64 * 1024


class Call:
    """A call of this side: its message, and the future of its outcome."""

    __slots__ = ("future", "key", "method", "packed", "repeatable", "timeout")

    def __init__(
        self,
        method: str,
        packed: Packed,
        future: RemoteFuture[Any],
        *,
        timeout: float | None,
        repeatable: bool,
        key: str | None,
    ) -> None:
        self.method = method
        self.packed = packed
        self.future = future
        self.timeout = timeout
        self.repeatable = repeatable
        self.key = key


class Link:
    """A connection to ``peer``. Belongs to the loop; :meth:`send` may be called from other threads."""

    def __init__(
        self,
        connection: Connection,
        background: Background,
        node: Node,
        settings: TCPIPSettings,
        *,
        peer: str,
        known: bool,
        role: Role,
        offer: Offer,
        once: Once,
        instance: str = "",
    ) -> None:
        self.peer = peer
        self.known = known  # a policy with an identity, not a client without one
        self.offer = offer
        self.instance = instance  # identifies the run of the peer: its memory of keys ends with it
        self.ended: PeerDisconnectedError | None = None
        self.on_purpose = False
        self.on_end: Callable[[Link, list[Call]], object] = lambda _link, _calls: None
        self._connection = connection
        self._background = background
        self._settings = settings
        self._session = Session(settings.limits(), offer)
        self._rate = Rate(settings.max_calls_per_second)
        self._over = asyncio.Event()
        self._clock: asyncio.Task[None] | None = None
        self._last: asyncio.Task[None] | None = None
        self._flushing = self._again = False
        self._calls: dict[int, Call] = {}
        self._deadlines = Deadlines(background.loop, self._too_late)
        self._server = Server(
            self._session, background, node, peer=peer, known=known, role=role, once=once, flush=self._flush
        )

    # -- calls of this side ----------------------------------------------------------------------------------

    def send(self, call: Call) -> bool:
        """Send a call, from any thread; return False if the loop has ended."""
        return self._background.soon(self._begin, call)

    def _begin(self, call: Call) -> None:
        if self.ended is not None:
            self.on_end(self, [call])
            return
        packed = call.packed
        try:
            number = self._session.call(
                call.method, packed.tree, packed.parts, packed.sizes, timeout=call.timeout, key=call.key
            )
        except TooLong as error:
            refusal = PayloadError(f"{call.method} has {error}: send less at a time", path="$")
            self._settle(call, lambda: call.future.fail(refusal))
            return
        self._calls[number] = call
        call.future.on_cancel(lambda: self._background.soon(self._give_up, number))
        if call.timeout is not None:
            self._deadlines.add(number, call.timeout)
        self._flush()

    def _give_up(self, number: int) -> None:
        call = self._calls.pop(number, None)
        if call is not None:
            self._deadlines.discard(number)
            self._session.cancel(number)
            self._flush()

    def _too_late(self, number: int) -> None:
        call = self._calls.get(number)
        if call is None:
            return
        self._give_up(number)
        error = PeerTimeoutError(
            f"{self.peer} did not answer {call.method} within {call.timeout:g} s; "
            "whether it was done is not known",
            peer=self.peer,
        )
        self._settle(call, lambda: call.future.fail(error))

    def _answered(self, event: Answered) -> None:
        call = self._calls.pop(event.number, None)
        if call is None:  # it was given up before
            self._session.done(event.data)
            return
        self._deadlines.discard(event.number)
        message, data = event.message, event.data

        def settle() -> None:
            try:
                if message.error is not None:
                    call.future.fail(error_of(message.error, self.peer))
                else:
                    call.future.deliver(wire.unpack(message.result, split(data, message.sizes)))
            except Exception as error:  # noqa: BLE001 - the peer's bytes cannot be read: that is the call's outcome
                call.future.fail(error)

        if not data:
            self._settle(call, settle)
        elif len(data) <= _SMALL and not call.future.has_callbacks:
            self._session.done(data)
            settle()
        else:

            def settle_and_release() -> None:
                settle()
                self._background.soon(self._session.done, data)

            self._background.workers.submit(settle_and_release)

    def _settle(self, call: Call, settle: Callable[[], object]) -> None:
        # Callbacks belong to the user: they may wait for this very loop.
        if call.future.has_callbacks:
            self._background.workers.submit(settle)
        else:
            settle()

    # -- the connection --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Take the connection over: from now on this object reads, writes and times it."""
        self._clock = asyncio.create_task(self._keep_time())
        self._connection.attach(self._received, self._flush, self._lost)

    async def over(self) -> None:
        """Wait until the connection has ended, for any reason."""
        await self._over.wait()

    def _lost(self) -> None:
        self._finish(self._why())

    def _finish(self, reason: str) -> None:
        if self._clock is not None:
            self._clock.cancel()
        self._end(PeerDisconnectedError(f"the connection to {self.peer} is gone: {reason}", peer=self.peer))
        self._connection.abort()
        self._over.set()

    def _why(self) -> str:
        if self._connection.given_up:
            return f"it was silent for {self._settings.heartbeat_timeout:g} s"
        if self.on_purpose:
            return "it was closed here"
        return f"the peer closed it ({self._connection.reason})" if self._connection.reason else "it broke"

    def _received(self, message: str | bytes) -> None:
        if self.ended is not None:
            return
        session = self._session
        try:
            if isinstance(message, str):
                session.receive_text(message)
            else:
                session.receive_binary(message)
        except BadMessage as bad:
            self._give_up_on(bad)
        else:
            self._happened()

    def _give_up_on(self, bad: BadMessage) -> None:
        reason = f"it sent what is no message: {bad}"
        logger("laila.comm.tcpip").warning("the connection to %s was closed: %s", self.peer, reason)
        self._last = asyncio.create_task(self._connection.close_soon(1002, str(bad)[:100]))
        self._end(PeerDisconnectedError(f"the connection to {self.peer} is gone: {reason}", peer=self.peer))

    def _read(self, unread: Unread) -> None:
        """Let a worker read a long text; later messages wait, in order."""
        self._connection.hold()

        def read() -> None:
            message = unread.read()
            self._background.soon(self._was_read, message)

        self._background.readers.submit(read)

    def _was_read(self, message: Message | BadMessage) -> None:
        if self.ended is None:
            try:
                self._session.receive_read(message)
            except BadMessage as bad:
                self._give_up_on(bad)
            else:
                self._happened()
        self._connection.release()

    def _happened(self) -> None:
        session = self._session
        calls = 0
        while session.events:
            event = session.events.popleft()
            if isinstance(event, Called):
                calls += 1
                self._server.called(event)
            elif isinstance(event, Answered):
                self._answered(event)
            elif isinstance(event, Unread):
                self._read(event)
            elif isinstance(event, Cancelled):
                self._server.cancelled(event.id)
        if calls and (pause := self._rate.wait(calls, self._background.loop.time())):
            self._connection.pause_reading(pause)

    def _end(self, error: PeerDisconnectedError) -> None:
        if self.ended is not None:
            return
        self.ended = error
        calls, self._calls = self._calls, {}
        for number in calls:
            self._deadlines.discard(number)
        self._deadlines.end()
        self._server.end()
        self.on_end(self, list(calls.values()))

    def fail(self, call: Call, error: PeerDisconnectedError) -> None:
        """Settle a call that will not be answered."""
        self._settle(call, lambda: call.future.fail(error))

    async def close(self) -> None:
        """End the connection on purpose, and say so to the other side. Returns within a moment."""
        self.on_purpose = True
        await self._connection.close_soon(1001, "going away")
        self._finish("it was closed here")

    def abort(self) -> None:
        """End the connection at once."""
        self.on_purpose = True
        self._finish("it was closed here")

    def drop_socket(self) -> None:
        """In a forked child: give up the copy of the parent's socket."""
        drop(self._connection.info("socket"))

    def _flush(self) -> None:
        """Send waiting messages while there is room; after a large chunk other connections have a turn."""
        connection, session = self._connection, self._session
        if self._flushing or connection.reading:
            return  # the caller inside goes on below, or calls this after it has read everything
        self._flushing = True
        try:
            while connection.has_room and (message := session.next_message()) is not None:
                connection.put(message)
                if len(message) > _SMALL:
                    connection.flush()
                    if not session.idle and not self._again:
                        self._again = True
                        self._background.loop.call_soon(self._flush_again)
                    return
            connection.flush()
        finally:
            self._flushing = False
            if self._server.holds:
                self._background.loop.call_soon(self._server.taken)

    def _flush_again(self) -> None:
        self._again = False
        self._flush()

    async def _keep_time(self) -> None:
        settings, connection = self._settings, self._connection
        while True:
            silent = connection.silent_seconds()
            if silent >= settings.heartbeat_timeout:
                connection.give_up()
                return
            if silent >= settings.heartbeat:
                connection.ask()
                await asyncio.sleep(min(settings.heartbeat, settings.heartbeat_timeout - silent))
            else:
                await asyncio.sleep(settings.heartbeat - silent)
