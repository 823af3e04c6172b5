"""The side that connects. It makes connections, and makes them again when they break."""

from __future__ import annotations

import asyncio
import random
from functools import lru_cache
from time import monotonic
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from laila.comm.tcpip.connections import MAX_SIZE, Closed, Connection, quiet_logger
from laila.comm.tcpip.handshake import ClientHandshake, stretch
from laila.comm.tcpip.link import Link
from laila.comm.tcpip.tls import channel_of_client
from laila.contract import locks, logger, said, shown
from laila.errors import PeerDisconnectedError, PeerError, PeerRefusedError, PeerTimeoutError, SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from laila.comm.tcpip.background import Background
    from laila.comm.tcpip.handshake import Welcome
    from laila.comm.tcpip.identity import Identity
    from laila.comm.tcpip.link import Call
    from laila.comm.tcpip.once import Once
    from laila.comm.tcpip.roster import Registry
    from laila.comm.tcpip.settings import TCPIPSettings
    from laila.contract import Node

__all__ = ["Dialer", "open_connection"]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 15.0
_GIVE_UP_SECONDS = 3600.0
_TRY_AGAIN = 1013  # the close code (RFC 6455, IANA registry)

_TRIES = 4  # to connect to a listener that ends the connection without a word: it may be too busy

_known_keys = lru_cache(maxsize=64)(stretch)  # connecting again needs no second stretching
_stretching = locks.long_lock()


def _stretched(secret: str, salt: bytes) -> bytes:
    with _stretching:  # one at a time: each takes 32 MiB, and most are for one secret and one listener
        return _known_keys(secret, salt)


class _BusyError(PeerError):
    """The other side asks to try again later (``asked``), or has closed a waiting connection."""

    asked: bool


class _Target:
    """The target of a link: enough to make it again."""

    def __init__(self, uri: str, secret: str) -> None:
        self.uri = uri
        self.secret = secret
        self.peer = ""
        # waiting calls, each with its deadline and the instance of the peer
        self.parked: list[tuple[Call, float, str]] = []
        self.instance = ""
        self.task: asyncio.Task[None] | None = None


class Dialer:
    """The connections that one protocol made. Belongs to the loop, unless a method says otherwise."""

    def __init__(
        self,
        background: Background,
        node: Node,
        registry: Registry,
        settings: TCPIPSettings,
        identity: Identity,
        once: Once,
        context_for: Callable[[bool], ssl.SSLContext | None],
    ) -> None:
        self._background = background
        self._node = node
        self._registry = registry
        self._settings = settings
        self._identity = identity
        self._once = once
        self._context_for = context_for
        self._targets: dict[str, _Target] = {}  # by peer; these are connected again
        self._stopping = False

    async def connect(self, uri: str, secret: str) -> str:
        """Connect, and return the peer's id. Raises :class:`PeerError`."""
        target = _Target(uri, secret)
        link = await self._dial(target)
        target.peer = link.peer
        before = self._targets.get(link.peer)
        self._targets[link.peer] = target
        if before is not None:  # the dialer may be connecting again: that is done now
            if before.task is not None:
                before.task.cancel()
            self._send_parked(before, link)
        return link.peer

    async def _dial(self, target: _Target) -> Link:
        settings = self._settings
        secure = check_uri(target.uri)
        try:
            async with asyncio.timeout(settings.connect_timeout):
                connection, welcome = await self._when_there_is_room(target, self._context_for(secure))
        except TimeoutError:
            raise PeerTimeoutError(
                f"{target.uri} did not answer within {settings.connect_timeout:g} s; is it a laila peer?",
                peer=target.uri,
            ) from None
        if target.peer and welcome.policy != target.peer:
            connection.abort()
            raise PeerRefusedError(
                f"at {target.uri} there is another policy now: {welcome.policy}", peer=target.peer
            )
        if not self._registry.claim(welcome.policy, welcome.identity):
            connection.abort()
            raise PeerRefusedError(
                f"{welcome.policy} is known by another identity: it is not who it seems", peer=welcome.policy
            )
        link = Link(
            connection,
            self._background,
            self._node,
            settings,
            peer=welcome.policy,
            known=True,
            role=settings.grants,
            offer=welcome.offer,
            once=self._once,
            instance=welcome.instance,
        )
        link.on_end = lambda link, calls: self._ended(target, link, calls)
        self._registry.add(link)
        target.instance = welcome.instance
        link.begin()
        return link

    async def _when_there_is_room(
        self, target: _Target, context: ssl.SSLContext | None
    ) -> tuple[Connection, Welcome]:
        """Connect. Try again after a moment while the other side is too busy."""
        tries = _TRIES
        while True:
            try:
                return await open_connection(
                    target.uri,
                    target.secret,
                    self._settings,
                    self._background,
                    policy=self._node.policy_id or None,
                    identity=self._identity,
                    context=context,
                )
            except _BusyError as busy:
                tries -= not busy.asked
                if not tries:
                    raise
            await asyncio.sleep(0.05 + 0.3 * random.random())  # noqa: S311 - spreads the load, hides nothing

    def _ended(self, target: _Target, link: Link, calls: list[Call]) -> None:
        assert link.ended is not None
        self._registry.remove(link)
        again = (
            self._settings.reconnect
            and not self._stopping
            and not link.on_purpose
            and self._targets.get(link.peer) is target
        )
        newer = self._registry.best(link.peer)
        deadline = monotonic() + self._settings.retry_seconds
        for call in calls:
            if not (again and self._settings.retry_seconds and (call.repeatable or call.key is not None)):
                link.fail(call, link.ended)
            elif newer is not None:
                self._send_again(newer, call, link.instance)
            else:
                self._park(target, call, deadline, link.instance)
        if again and target.task is None and newer is None:
            target.task = asyncio.create_task(self._connect_again(target))

    async def _connect_again(self, target: _Target) -> None:
        pause, give_up = _FIRST_PAUSE, monotonic() + _GIVE_UP_SECONDS
        error: Exception | None = None
        try:
            while monotonic() < give_up and not self._stopping:
                await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311 - spreads the load, hides nothing
                pause = min(2 * pause, _LONGEST_PAUSE)
                try:
                    link = await self._dial(target)
                except PeerRefusedError as refused:  # the next try would be refused, too
                    error = refused
                    break
                except PeerError as failed:
                    error = failed
                    continue
                self._send_parked(target, link)
                return
            if self._stopping:
                return
            if self._targets.get(target.peer) is target:
                del self._targets[target.peer]
            logger("laila.comm.tcpip").warning(
                "the connection to %s at %s is not made again: %s", target.peer, target.uri, error
            )
            gone = PeerDisconnectedError(f"{target.peer} did not come back: {error}", peer=target.peer)
            for call, _, _ in target.parked:
                call.future.fail(gone)
        finally:
            target.task = None

    def _send_parked(self, target: _Target, link: Link) -> None:
        parked, target.parked = target.parked, []
        for call, _, instance in parked:
            self._send_again(link, call, instance)

    def _send_again(self, link: Link, call: Call, instance: str) -> None:
        if call.future.cancelled():
            return
        if call.repeatable or not instance or link.instance == instance:
            link.send(call)
            return
        # Another run of the peer does not know the key: nobody can say whether the write was done.
        call.future.fail(
            PeerDisconnectedError(
                f"{link.peer} was started anew while {call.method} was under way; "
                "whether it was done is not known",
                peer=link.peer,
            )
        )

    # -- calls that wait for the next connection -------------------------------------------------------------

    def reconnects(self, peer: str) -> bool:
        """Whether a connection to ``peer`` is being made again. Thread-safe."""
        return peer in self._targets and not self._stopping

    def park(self, peer: str, call: Call, deadline: float) -> None:
        """Keep an unsent call until the next connection. Thread-safe."""

        def keep() -> None:
            target = self._targets.get(peer)
            link = self._registry.best(peer)
            if link is not None:
                link.send(call)
            elif target is not None and not self._stopping:
                self._park(target, call, deadline, "")
            else:
                call.future.fail(PeerDisconnectedError(f"{peer} is not connected", peer=peer))

        if not self._background.soon(keep):
            call.future.fail(PeerDisconnectedError(f"{peer} is not connected", peer=peer))

    def _park(self, target: _Target, call: Call, deadline: float, instance: str) -> None:
        entry = (call, deadline, instance)
        target.parked.append(entry)

        def too_late() -> None:
            if entry in target.parked:
                target.parked.remove(entry)
                call.future.fail(
                    PeerDisconnectedError(
                        f"the connection to {target.peer} is gone, and did not come back in time",
                        peer=target.peer,
                    )
                )

        self._background.loop.call_later(max(0.0, deadline - monotonic()), too_late)

    # -- the end ---------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Make no connection again. Thread-safe."""
        self._stopping = True

    async def end(self) -> None:
        """Give up connections that are being made, and fail the calls that wait for them."""
        for target in self._targets.values():
            if target.task is not None:
                target.task.cancel()
            for call, _, _ in target.parked:
                call.future.fail(PeerDisconnectedError("the protocol was stopped", peer=target.peer))
            target.parked.clear()


def check_uri(uri: str) -> bool:
    """Return whether ``uri`` asks for TLS. Raises :class:`SettingsError` for any other URI."""
    try:
        parts = urlsplit(uri)
        fine = parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0
    except ValueError:
        fine = False
        parts = None
    if not fine or parts is None or parts.username or parts.fragment:
        raise SettingsError(
            f"{shown(uri)} is no URI of a peer: write ws://host:port, or wss://host:port for TLS",
            option="uri",
        )
    return parts.scheme == "wss"


async def open_connection(
    uri: str,
    secret: str,
    settings: TCPIPSettings,
    background: Background,
    *,
    policy: str | None,
    identity: Identity,
    context: ssl.SSLContext | None,
) -> tuple[Connection, Welcome]:
    """Connect and shake hands. Raises :class:`PeerError`; the caller bounds the time."""
    target = parse_uri(uri)
    hint = "" if context is None else "; does it speak TLS? ws:// is for a listener without TLS"
    protocol = ClientProtocol(target, max_size=MAX_SIZE, logger=quiet_logger)
    try:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(protocol),
            target.host,
            target.port,
            ssl=context,
            server_hostname=None if context is None else target.host,
        )
    except (ConnectionResetError, ConnectionAbortedError) as error:
        raise _BusyError(f"{uri} closed the connection{hint}", peer=uri, asked=False) from error
    except OSError as error:
        reason = said(error) or type(error).__name__
        raise PeerError(f"{uri} cannot be reached: {reason}{hint}", peer=uri) from error
    try:
        await connection.opened()
        channel = b""
        if context is not None and settings.channel_binding:
            channel = channel_of_client(connection.info("ssl_object"))
        handshake = ClientHandshake(policy, identity, channel=channel, limits=settings.limits().offer())
        await connection.send(handshake.hello())
        salt = handshake.salt(await _text(connection))
        key = await _in_worker(background, lambda: _stretched(secret, salt))
        await connection.send(handshake.authenticate(key))
        return connection, handshake.welcome(await _text(connection))
    except BaseException as error:
        connection.abort()
        if isinstance(error, Closed):
            reason_text = f": {error.reason}" if error.reason else ""
            message = f"{uri} closed the connection{reason_text}"
            if error.code == _TRY_AGAIN or not (reason_text or error.code):
                raise _BusyError(message, peer=uri, asked=error.code == _TRY_AGAIN) from error
            raise PeerError(message, peer=uri) from error
        if isinstance(error, PeerError):
            error.peer = error.peer or uri
        raise


async def _text(connection: Connection) -> str:
    message = await connection.recv()
    if not isinstance(message, str):
        raise PeerError("this is no laila peer: it begins with a binary message", peer="")
    return message


async def _in_worker(background: Background, work: Callable[[], bytes]) -> bytes:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()

    def tell(result: bytes | None, error: Exception | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            assert result is not None
            done.set_result(result)

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - handed to the waiting coroutine
            background.soon(tell, None, error)
        else:
            background.soon(tell, result, None)

    background.workers.submit(run)
    return await done
