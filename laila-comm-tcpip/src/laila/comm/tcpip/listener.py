"""The side that waits for others: accepts connections, and lets in whoever knows a secret."""

from __future__ import annotations

import asyncio
import secrets

from websockets.server import ServerProtocol

from laila.comm.tcpip.connections import MAX_SIZE, Closed, Connection, TlsDoor, drop, quiet_logger
from laila.comm.tcpip.guard import Waiting, place_of
from laila.comm.tcpip.handshake import Refused, ServerHandshake, stretch
from laila.comm.tcpip.link import Link
from laila.comm.tcpip.tls import channel_of_server
from laila.contract import logger
from laila.errors import PeerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine
    from typing import Any

    from laila.comm.tcpip.background import Background
    from laila.comm.tcpip.guard import Guard
    from laila.comm.tcpip.handshake import Verified
    from laila.comm.tcpip.identity import Identity
    from laila.comm.tcpip.once import Once
    from laila.comm.tcpip.registry import Registry
    from laila.comm.tcpip.settings import TCPIPSettings
    from laila.contract import Node

__all__ = ["Listener"]

_SILENT = 4  # so many times the handshakes may be connected, and have said nothing
_SHORT_SECRET = 22  # characters: 128 bits as base64


class Listener:
    """One listening address. Belongs to the loop, but for :meth:`start`."""

    def __init__(
        self,
        background: Background,
        node: Node,
        registry: Registry,
        settings: TCPIPSettings,
        identity: Identity,
        once: Once,
        guard: Guard,
        context: ssl.SSLContext | None,
        instance: str,
    ) -> None:
        self._background = background
        self._node = node
        self._registry = registry
        self._settings = settings
        self._identity = identity
        self._once = once
        self.guard = guard
        self._context = context
        self._instance = instance
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        # Connected, and no WebSocket so far: TLS is being agreed on, or HTTP awaited.
        self._silent: Waiting[Connection] = Waiting(
            _SILENT * settings.max_handshakes, settings.max_handshakes
        )
        self._salt = secrets.token_bytes(32)
        self._keys = [(stretch(secret, self._salt), role) for secret, role in settings.roles().items()]
        self._channel = b""
        if context is not None and settings.channel_binding:
            self._channel = channel_of_server(context)
        self._links = 0
        self.port = settings.port

    def start(self) -> None:
        """Begin to listen. Raises :class:`PeerError` where the address cannot be had."""
        short = [secret for secret in self._settings.roles() if len(secret) < _SHORT_SECRET]
        if short:
            logger("laila.comm.tcpip").warning(
                "a secret has less than %d characters: whoever its holders connect to by mistake can try to "
                "guess it; python -c 'import secrets; print(secrets.token_hex())' makes a good one",
                _SHORT_SECRET,
            )
        settings = self._settings
        try:
            self._server = self._background.wait_for(self._listen(), settings.connect_timeout)
        except OSError as error:
            raise PeerError(
                f"cannot listen at {settings.host}:{settings.port}: {error.strerror or error}; "
                "port=0 takes one that is free",
                peer=f"{settings.host}:{settings.port}",
            ) from error
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def _listen(self) -> asyncio.Server:
        settings = self._settings
        return await asyncio.get_running_loop().create_server(
            self._made if self._context is None else self._made_secure,
            settings.host,
            settings.port,
            backlog=1024,
        )

    def _made_secure(self) -> TlsDoor:
        assert self._context is not None
        return TlsDoor(self._made(), self._context, self._settings.connect_timeout)

    def _made(self) -> Connection:
        # None among the origins: no browser, which always says its own.
        origins: list[Any] = [*self._settings.origins, None]
        protocol = ServerProtocol(origins=origins, max_size=MAX_SIZE, logger=quiet_logger)
        connection = Connection(protocol, opened=self._opened, admit=self._admit, made=self._waits)
        # A fixed time for all that comes before the WebSocket: bytes that trickle in gain none.
        self._background.loop.call_later(self._settings.connect_timeout, self._end_silent, connection)
        return connection

    def _waits(self, connection: Connection) -> None:
        """Somebody is there, and has said nothing yet: there are not too many of those, and the oldest go."""
        for gone in self._silent.add(connection, place_of(connection.address[0])):
            gone.abort()

    def _end_silent(self, connection: Connection) -> None:
        if self._silent.discard(connection) or not connection.was_made:
            connection.abort()

    def _admit(self) -> bool:
        return self._links < self._settings.max_connections

    def _opened(self, connection: Connection) -> None:
        self._silent.discard(connection)
        self._begin(self._accepted(connection))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _turn_away(self, connection: Connection, reason: str) -> None:
        """Have somebody come again later. Until the connection has ended it counts as one that is silent."""
        self._waits(connection)
        try:
            await connection.close_soon(1013, f"{reason}: try again later")
        finally:
            self._silent.discard(connection)

    async def _accepted(self, connection: Connection) -> None:
        address = connection.address[0]
        try:
            entered, slow = self.guard.enter(connection, place_of(address), self._background.loop.time())
            if slow is not None:
                # Whoever is only slow, on a busy machine, comes again, and has its key at hand then.
                self._begin(self._turn_away(slow, "the handshake took long, and others wait"))
            if not entered:
                await self._turn_away(connection, "too many handshakes")
                return
            try:
                async with asyncio.timeout(self._settings.connect_timeout):
                    link = await self._handshake(connection, address)
            finally:
                self.guard.leave(connection)
            if link is not None:
                self._links += 1
                try:
                    await link.over()
                finally:
                    self._links -= 1
        except (TimeoutError, Closed):
            pass  # nobody that was let in: nobody's loss
        finally:
            connection.abort()

    async def _handshake(self, connection: Connection, address: str) -> Link | None:
        handshake = ServerHandshake(
            self._node.policy_id,
            self._identity,
            self._salt,
            self._keys,
            channel=self._channel,
            limits=self._settings.limits().offer(),
            instance=self._instance,
        )
        try:
            await connection.send(handshake.challenge(await _text(connection)))
            answer = await _text(connection)
            verified = handshake.verify(answer)
        except Refused as refused:
            await self._refuse(connection, refused, address)
            return None
        if verified.policy is not None and not self._registry.claim(
            verified.policy, verified.identity, verified.role
        ):
            logger("laila.comm.tcpip").warning(
                "%s was refused from %s: it is known by another identity, or there is no room for one more",
                verified.policy,
                address,
            )
            reason = (
                f"{verified.policy} is known here by another identity, or no more ids are taken; "
                "give this policy an id of its own"
            )
            await connection.send(handshake.refuse(answer, reason))
            await connection.close_soon(1008, "refused")
            return None
        link = self._link(connection, verified)
        self._registry.add(link)
        if verified.policy is not None:
            await self._registry.told_soon(verified.policy)
        try:
            await connection.send(verified.answer)
        finally:
            link.begin()
        return link

    async def _refuse(self, connection: Connection, refused: Refused, address: str) -> None:
        if refused.secret:
            count, delay = self.guard.wrong(place_of(address), self._background.loop.time())
            logger("laila.comm.tcpip").warning(
                "a peer at %s was refused: %s (%d in the last minutes)", address, refused, count
            )
            await asyncio.sleep(min(delay, self._settings.connect_timeout / 2))
        await connection.send(refused.answer)
        await connection.close_soon(1008, "refused")

    def _link(self, connection: Connection, verified: Verified) -> Link:
        link = Link(
            connection,
            self._background,
            self._node,
            self._settings,
            peer=verified.policy or "a client at {}:{}".format(*connection.address),
            known=verified.policy is not None,
            role=verified.role,
            offer=verified.offer,
            once=self._once,
        )

        def ended(link: Link, calls: list[Any]) -> None:
            self._registry.remove(link)
            assert link.ended is not None
            for call in calls:
                link.fail(call, link.ended)

        link.on_end = ended
        return link

    def close(self) -> None:
        """Accept no more."""
        if self._server is not None:
            self._server.close()

    async def end(self) -> None:
        """End what is no link yet."""
        for task in self._tasks:
            task.cancel()

    def drop_sockets(self) -> None:
        """In a forked child: give up the copy of the listening socket."""
        if self._server is not None:
            for socket in self._server.sockets:
                drop(socket)


async def _text(connection: Connection) -> str:
    message = await connection.recv()
    if not isinstance(message, str):
        raise Refused(
            "a binary message", '{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"text"}}'
        )
    return message
