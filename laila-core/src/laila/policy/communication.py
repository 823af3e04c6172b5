"""Central communication: the protocols of a policy, and the peers that they reach."""

from __future__ import annotations

from threading import Lock

from laila.contract.component import Component
from laila.contract.protocol import Protocol, Request
from laila.errors import InvalidArgumentError, PeerError, SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar

    from laila.policy.events import Events

__all__ = ["DefaultCentralCommunication"]


class DefaultCentralCommunication(Component):
    """Owns the protocols and keeps the registry of peers. Thread-safe.

    It is the node that its protocols serve: what a peer asks for comes in through :meth:`dispatch`, and only
    methods that were exported by their full path are called.
    """

    scope: ClassVar[str] = "CENTRAL_COMMUNICATION"

    def __init__(self, policy_id: str, events: Events) -> None:
        super().__init__()
        self.policy_id = policy_id  # what peers know the policy by
        self._events = events
        self._lock = Lock()
        self._connections: dict[str, Protocol] = {}
        self._peers: dict[str, Any] = {}
        self._exported: dict[tuple[str, ...], Callable[..., object]] = {}

    @property
    def connections(self) -> Mapping[str, Protocol]:
        """The protocols by global id."""
        return dict(self._connections)

    @property
    def peers(self) -> Mapping[str, Any]:
        """The connected policies by global id."""
        return dict(self._peers)

    def add_connection(self, protocol: Protocol) -> None:
        """Register ``protocol`` and start it: it is live when this returns. Again: a no-op."""
        if not isinstance(protocol, Protocol):
            raise InvalidArgumentError(f"a connection is a laila protocol, not a {type(protocol).__name__}")
        with self._lock:
            known = protocol.global_id in self._connections
            self._connections[protocol.global_id] = protocol
        try:
            protocol.start(self)
        except BaseException:
            if not known:
                with self._lock:
                    self._connections.pop(protocol.global_id, None)
            raise

    def remove_connection(self, protocol: Protocol) -> None:
        """Stop ``protocol`` and forget it. Unknown ones are stopped all the same."""
        with self._lock:
            self._connections.pop(protocol.global_id, None)
        protocol.stop()

    def start(self) -> None:
        """Start every registered protocol."""
        for protocol in self.connections.values():
            protocol.start(self)

    def stop(self) -> None:
        """Stop every protocol and clear the peers; the first error is raised when all are stopped."""
        failure: Exception | None = None
        for protocol in self.connections.values():
            try:
                protocol.stop()
            except Exception as error:  # noqa: BLE001 - the others are stopped first
                failure = failure or error
        with self._lock:
            self._peers.clear()
        if failure is not None:
            raise failure

    def add_peer(self, uri: str, secret: str) -> str:
        """Connect to the policy at ``uri`` and return its global id.

        Raises ``ValueError`` for what is no URI, :class:`~laila.errors.MissingPluginError` where the scheme's
        plugin is not installed, :class:`~laila.errors.PeerError` (a ``ConnectionError``) where no protocol
        for it was added or the peer cannot be reached.
        """
        scheme, separator, _ = uri.partition("://")
        if not separator:
            raise SettingsError(
                f"{uri!r} is no peer URI: give one such as 'ws://127.0.0.1:8765'", option="uri"
            )
        for protocol in self.connections.values():
            if scheme in protocol.schemes:
                return protocol.add_peer(uri, secret)
        from laila.plugins import protocols

        kind = protocols().get(scheme)
        raise PeerError(
            f"no protocol for {scheme}:// is connected; add one first: "
            f"laila.communication.add_connection(laila.{kind.__name__}(…))",
            peer=uri,
        )

    def add_tcpip_peer(self, host: str, port: int, secret: str) -> str:
        """Connect to the policy at ``host`` and ``port`` over WebSockets; see :meth:`add_peer`."""
        return self.add_peer(f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}", secret)

    def peer_joined(self, peer: str, protocol: Protocol) -> None:
        """For protocols: a peer is connected and authenticated."""
        with self._lock:
            known = peer in self._peers
            self._peers[peer] = protocol
        if not known:
            self._events.tell("laila_peer_joined", peer=peer)

    def peer_left(self, peer: str, protocol: Protocol, error: BaseException | None = None) -> None:
        """For protocols: a peer is gone."""
        with self._lock:
            known = self._peers.pop(peer, None) is not None
        if known:
            self._events.tell("laila_peer_left", peer=peer, error=error)

    def dispatch(self, peer: str, request: Request) -> object:
        """Run an exported method for an authenticated peer. Raises :class:`PeerError` for any other path."""
        method = self._exported.get(request.path)
        if method is None:
            raise PeerError(f"{'.'.join(request.path)} is not exported by {self.policy_id}", peer=peer)
        return method(*request.args, **request.kwargs)

    def _close(self) -> None:
        self.stop()
