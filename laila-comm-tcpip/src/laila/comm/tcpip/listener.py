"""The side that listens: it accepts connections, and lets in peers that know a secret."""

from __future__ import annotations

import asyncio
import secrets

from websockets.server import ServerProtocol

from laila.comm.tcpip.connections import MAX_SIZE, Closed, Connection, TlsDoor, drop, enlarge, quiet_logger
from laila.comm.tcpip.guard import Waiting, place_of
from laila.comm.tcpip.handshake import Refused, ServerHandshake, stretch
from laila.comm.tcpip.link import Link
from laila.comm.tcpip.tls import channel_of_server
from laila.contract import logger, said
from laila.errors import PeerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from typing import Any

    from laila.comm.tcpip.background import Background
    from laila.comm.tcpip.guard import Guard
    from laila.comm.tcpip.handshake import Verified
    from laila.comm.tcpip.identity import Identity
    from laila.comm.tcpip.once import Once
    from laila.comm.tcpip.roster import Registry
    from laila.comm.tcpip.settings import TCPIPSettings
    from laila.contract import Node

__all__ = ["Listener"]

_ADDRESSES = 2  # as many addresses' worth of handshakes may wait in total
_ACCEPTED_AT_ONCE = 8  # these may speak before the next ones are accepted
_BACKLOG = 1024  # connections that the system keeps until then
_SHORT_SECRET = 22  # characters: 128 bits as base64


class Listener:
    """One listening address. Belongs to the loop, except for :meth:`start`."""

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
        # Connected, but not let in yet. Connections without a handshake take no place of those with one,
        # which need more time.
        most = settings.max_handshakes
        self._silent: Waiting[Connection] = Waiting(_ADDRESSES * most, most)
        self._shaking: Waiting[Connection] = Waiting(_ADDRESSES * most, most)
        self._salt = secrets.token_bytes(32)
        self._keys = [(stretch(secret, self._salt), role) for secret, role in settings.roles().items()]
        self._channel = b""
        if context is not None and settings.channel_binding:
            self._channel = channel_of_server(context)
        self._links = 0
        self.port = settings.port

    def start(self) -> None:
        """Begin to listen. Raises :class:`PeerError` if the address cannot be used."""
        short = [secret for secret in self._settings.roles() if len(secret) < _SHORT_SECRET]
        if short:
            logger("laila.comm.tcpip").warning(
                "a secret has less than %d characters: a host that somebody connects to by mistake may try "
                "to guess it; python -c 'import secrets; print(secrets.token_hex())' makes a good one",
                _SHORT_SECRET,
            )
        settings = self._settings
        try:
            self._server = self._background.wait_for(self._listen(), settings.connect_timeout)
        except OSError as error:
            raise PeerError(
                f"cannot listen at {settings.host}:{settings.port}: {error.strerror or error}; "
                "port=0 takes a free port",
                peer=f"{settings.host}:{settings.port}",
            ) from error
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def _listen(self) -> asyncio.Server:
        settings = self._settings
        server = await asyncio.get_running_loop().create_server(
            self._made if self._context is None else self._made_secure,
            settings.host,
            settings.port,
            backlog=_ACCEPTED_AT_ONCE,  # asyncio also uses this number for accepting
        )
        for listening in server.sockets:
            enlarge(listening, _BACKLOG)
        return server

    def _made_secure(self) -> TlsDoor:
        assert self._context is not None
        return TlsDoor(self._made(), self._context, self._settings.connect_timeout)

    def _made(self) -> Connection:
        # A missing origin is allowed: browsers always send theirs.
        origins: list[Any] = [*self._settings.origins, None]
        protocol = ServerProtocol(origins=origins, max_size=MAX_SIZE, logger=quiet_logger)
        connection = Connection(protocol, opened=self._opened, admit=self._admit, made=self._waits)
        # A fixed time until the connection is let in: bytes that trickle in gain none.
        connection.watch(self._settings.connect_timeout, self._end_waiting)
        return connection

    def _waits(self, connection: Connection, *, shaking: bool = False) -> None:
        """Count a connection that was not let in yet; if there are too many, the oldest must leave."""
        self._leave(connection)
        waiting = self._shaking if shaking else self._silent
        for gone in waiting.add(connection, place_of(connection.address[0])):
            # A slow but honest client comes again, and keeps its key ready for then.
            gone.turn_away(1013, "too many handshakes: try again later")

    def _leave(self, connection: Connection) -> bool:
        return self._silent.discard(connection) or self._shaking.discard(connection)

    def _end_waiting(self, connection: Connection) -> None:
        if self._leave(connection) or not connection.was_made:
            connection.abort()

    def _admit(self) -> bool:
        return self._links < self._settings.max_connections

    def _opened(self, connection: Connection) -> None:
        task = asyncio.create_task(self._accepted(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accepted(self, connection: Connection) -> None:
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                link = await self._handshake(connection, connection.address[0])
            if link is not None:
                self._links += 1
                try:
                    await link.over()
                finally:
                    self._links -= 1
        except (TimeoutError, Closed):
            pass  # nobody was let in, so nothing is lost
        finally:
            self._leave(connection)
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
            challenge = handshake.challenge(await _text(connection))
            self._waits(connection, shaking=True)
            await connection.send(challenge)
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
        self._leave(connection)
        link = self._link(connection, verified)
        self._registry.add(link)
        if verified.policy is not None:
            await self._registry.wait_until_announced(verified.policy)
        logger("laila.comm.tcpip").info(
            "%s connected from %s with the role %s", link.peer, address, verified.role
        )
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
            logger("laila.comm.tcpip").info("%s left: %s", link.peer, said(link.ended))
            for call in calls:
                link.fail(call, link.ended)

        link.on_end = ended
        return link

    def close(self) -> None:
        """Accept no more connections."""
        if self._server is not None:
            self._server.close()

    async def end(self) -> None:
        """End connections that were not let in yet."""
        for task in self._tasks:
            task.cancel()
        for connection in (*self._silent, *self._shaking):
            connection.abort()

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
