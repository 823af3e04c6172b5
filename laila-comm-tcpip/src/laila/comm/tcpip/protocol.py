"""DefaultTCPIPProtocol: lets a policy listen for other policies, and connect to them."""

from __future__ import annotations

import secrets as random
from collections.abc import Mapping
from contextlib import suppress
from socket import gethostname
from time import monotonic
from typing import TYPE_CHECKING, ClassVar, Self

from laila.comm.tcpip.background import background, release
from laila.comm.tcpip.codec import pack_arguments
from laila.comm.tcpip.dialer import Dialer
from laila.comm.tcpip.guard import Guard
from laila.comm.tcpip.identity import KnownPeers, identity_of
from laila.comm.tcpip.link import Call
from laila.comm.tcpip.listener import Listener
from laila.comm.tcpip.once import Once
from laila.comm.tcpip.roster import Registry
from laila.comm.tcpip.settings import TCPIPSettings, check
from laila.comm.tcpip.tls import client_context, server_context
from laila.contract import Invitation, Protocol, RemoteFuture, Renewed, given_secrets, locks
from laila.errors import (
    EnvironmentSnapshotError,
    PayloadError,
    PeerDisconnectedError,
    PeerError,
    PeerTimeoutError,
    SettingsError,
)

if TYPE_CHECKING:
    import ssl
    from typing import Any

    from laila.comm.tcpip.background import Background
    from laila.comm.tcpip.identity import Identity
    from laila.contract import Node, Request, Role

__all__ = ["DefaultTCPIPProtocol"]

_STOP_SECONDS = 1.5

# After the loop was left behind: that module is imported above, and what it does comes first.
_every: Renewed[DefaultTCPIPProtocol] = Renewed(lambda protocol: protocol._forked())


class DefaultTCPIPProtocol(Protocol):
    """Policies reach each other over WebSockets, under a shared secret.

    The protocol listens at ``host`` and ``port``. ``peer_secret_key`` lets peers in with the role ``write``;
    ``secrets`` maps more secrets to roles. The other options are those of :class:`TCPIPSettings`.
    ``ssl_context`` replaces the certificate files for listening, and ``client_ssl_context`` the system's
    authorities for connecting. Thread-safe. Usable in a forked child, which has no connections of its own.

    Raises:
        SettingsError: for options that make no sense, such as an address that other machines reach, without
            TLS and without ``allow_plaintext=True``.
    """

    laila_contract = 1
    schemes: ClassVar[tuple[str, ...]] = ("ws", "wss")

    settings: TCPIPSettings

    @given_secrets
    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        peer_secret_key: str | None = None,
        *,
        secrets: Mapping[str, Role] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        client_ssl_context: ssl.SSLContext | None = None,
        nickname: str | None = None,
        **options: Any,
    ) -> None:
        settings = TCPIPSettings.resolve(
            {
                "host": host,
                "port": port,
                "peer_secret_key": peer_secret_key,
                "secrets": dict(secrets) if isinstance(secrets, Mapping) else secrets,
                **options,
            }
        )
        self._contexts_given = ssl_context is not None or client_ssl_context is not None
        if ssl_context is None and settings.certificate is not None:
            ssl_context = server_context(settings.certificate, settings.private_key)
        check(settings, tls=ssl_context is not None)
        super().__init__(nickname=nickname, settings=settings)
        self._ssl = ssl_context
        self._client_ssl = client_ssl_context
        self._lock = locks.long_lock()
        self._known = KnownPeers()
        self._begin()
        _every.add(self)

    def _begin(self) -> None:
        """Set the state of a protocol that does not run. A forked child calls this again."""
        self._background: Background | None = None
        self._listener: Listener | None = None
        self._registry: Registry | None = None
        self._dialer: Dialer | None = None
        self._failed_before = 0

    @classmethod
    def outbound(cls, **options: Any) -> Self:
        """Return a protocol that only connects."""
        return cls(listen=False, **options)

    # -- what it is ------------------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """The address that it listens at."""
        return self.settings.host

    @property
    def port(self) -> int:
        """The port: the given one or, while it listens, the bound one."""
        return self.bound_port

    @property
    def bound_port(self) -> int:
        """The port that it listens at; before that, the given one."""
        return self.settings.port if self._listener is None else self._listener.port

    @property
    def uri(self) -> str | None:
        """The URI that others connect to, while it listens."""
        return None if self._listener is None else self._uri(self.host)

    def _uri(self, host: str) -> str:
        host = f"[{host}]" if ":" in host else host
        return f"{'ws' if self._ssl is None else 'wss'}://{host}:{self.bound_port}"

    def invitation(self) -> Invitation | None:
        """Return the URI for tasks in other processes; "any address" becomes this host's name."""
        if self._listener is None:
            return None
        host = gethostname() if self.host in ("", "0.0.0.0", "::") else self.host  # noqa: S104 - none of them is bound here
        options: dict[str, object] = {"channel_binding": self.settings.channel_binding, "reconnect": False}
        return Invitation(self._uri(host), options)

    def peer_secret(self) -> str | None:
        """Return the secret for tasks: for ``write``, or else for ``read``, or else for ``admin``."""
        by_role = {role: secret for secret, role in self.settings.roles().items()}
        return next((by_role[role] for role in ("write", "read", "admin") if role in by_role), None)

    @property
    def peer_secret_key(self) -> str | None:
        """The given secret for the role ``write``, or None. No ``repr`` or snapshot shows it."""
        return self.settings.peer_secret_key

    @property
    def failed_handshakes(self) -> int:
        """The number of wrong secrets since the protocol was started."""
        return self._failed_before if self._listener is None else self._listener.guard.failed

    def options(self) -> dict[str, object]:
        """Return the options that :class:`laila.contract.Component` lists, without secrets.

        Raises :class:`~laila.errors.EnvironmentSnapshotError` for an SSL context, which cannot be written
        down.
        """
        if self._contexts_given:
            raise EnvironmentSnapshotError(
                f"{self!r} was given an ssl.SSLContext, which cannot be written down; name files in its "
                "place: certificate=, private_key=, authorities=",
                problems=["ssl_context"],
            )
        return super().options()

    # -- the contract ----------------------------------------------------------------------------------------

    def _start(self, node: Node) -> None:
        self._open(node, listen=self.settings.listen)

    def _open(self, node: Node, *, listen: bool) -> None:
        with self._lock:
            if self._registry is not None:
                return
            identity: Identity = identity_of(node.policy_id)
            loop = background(self)
            registry = Registry(self, node, self._known)
            once = Once()
            instance = random.token_hex(8)
            self._dialer = Dialer(loop, node, registry, self.settings, identity, once, self._context_for)
            try:
                if listen:
                    guard = Guard()
                    listener = Listener(
                        loop, node, registry, self.settings, identity, once, guard, self._ssl, instance
                    )
                    listener.start()
                    self._listener = listener
            except BaseException:
                self._dialer = None
                release(self)
                raise
            self._background, self._registry = loop, registry

    def _context_for(self, secure: bool) -> ssl.SSLContext | None:
        if not secure:
            return None
        if self._client_ssl is None:
            self._client_ssl = client_context(self.settings.authorities)
        return self._client_ssl

    def _stop(self) -> None:
        with self._lock:
            loop, registry, listener, dialer = self._background, self._registry, self._listener, self._dialer
            if loop is None or registry is None or dialer is None:
                return
            if listener is not None:
                self._failed_before = listener.guard.failed
            failed = self._failed_before
            self._begin()
            self._failed_before = failed
        dialer.stop()

        async def end() -> None:
            await dialer.end()
            if listener is not None:
                listener.close()
            await registry.close_all()
            if listener is not None:
                await listener.end()

        try:
            if not loop.here:
                with suppress(TimeoutError):
                    loop.wait_for(end(), _STOP_SECONDS)
        finally:
            release(self)
        registry.announce_departures()

    def _connect(self, uri: str, secret: str) -> str:
        if not isinstance(secret, str) or not secret:
            raise SettingsError("the secret of a peer is a text of at least one character", option="secret")
        node = self._node
        if node is None:
            raise PeerError("the protocol was not started: add it with add_connection(…) first", peer=uri)
        self._open(node, listen=False)  # a forked child has nothing of its parent's
        loop, dialer = self._background, self._dialer
        assert loop is not None
        assert dialer is not None
        try:
            peer: str = loop.wait_for(dialer.connect(uri, secret), self.settings.connect_timeout + 1)
        except TimeoutError:
            raise PeerTimeoutError(
                f"{uri} did not answer within {self.settings.connect_timeout:g} s; is it a laila peer?",
                peer=uri,
            ) from None
        if self._registry is not None:
            self._registry.told(peer)
        return peer

    def _call(self, peer: str, request: Request) -> object:
        future: RemoteFuture[object] = RemoteFuture()
        self.send(peer, request, future)
        return future.wait()

    def send(self, peer: str, request: Request, future: RemoteFuture[Any]) -> None:
        """Send a request to a peer. The caller's thread packs it, now."""
        registry = self._registry
        link = None if registry is None else registry.best(peer)
        dialer = self._dialer
        retry = self.settings.retry_seconds
        if link is None and (dialer is None or not retry or not dialer.reconnects(peer)):
            coming = dialer is not None and dialer.reconnects(peer)
            what = (
                "it is connected again by itself once it answers; with retry_seconds= calls wait for that"
                if coming
                else "connect again with laila.add_peer(…)"
            )
            future.fail(PeerDisconnectedError(f"{peer} is not connected; {what}", peer=peer))
            return
        packed = pack_arguments(request.args, request.kwargs)
        if link is not None and packed.nbytes > link.offer.max_message_bytes:
            future.fail(
                PayloadError(
                    f"{request.method} has {packed.nbytes} bytes of entries, and the peer takes "
                    f"{link.offer.max_message_bytes} in one message: send fewer at a time",
                    path="$",
                )
            )
            return
        timeout = self.settings.request_timeout if request.timeout is None else request.timeout
        key = random.token_hex(16) if retry and not request.repeatable else None
        call = Call(request.method, packed, future, timeout=timeout, repeatable=request.repeatable, key=key)
        if link is not None and link.send(call):
            return
        if dialer is None:
            future.fail(
                PeerDisconnectedError(f"{peer} is not connected: the protocol was stopped", peer=peer)
            )
        else:
            dialer.park(peer, call, monotonic() + retry)

    def _forked(self) -> None:
        for part in (self._listener, self._registry):
            if part is not None:
                part.drop_sockets()
        self._begin()
        self._known = KnownPeers()
