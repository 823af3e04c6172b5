"""Central communication: the protocols of a policy, and the peers that they reach."""

from __future__ import annotations

from collections.abc import Mapping

from laila.central.events import Events
from laila.component.component import Component
from laila.contract.protocol import Protocol, Request
from laila.errors import (
    InvalidArgumentError,
    NotSupportedError,
    PeerError,
    PeerNotFoundError,
    PeerRefusedError,
    SettingsError,
)
from laila.forks import Renewed
from laila.locks import long_lock, mutex
from laila.showing import shown
from laila.tracebacks import given_secrets
from laila.trying import do_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import ClassVar

    from laila.central.interface import LocalPolicy
    from laila.peering.methods import ExportedMethods
    from laila.peering.proxy import RemotePolicyProxy

__all__ = ["DefaultCentralCommunication"]

_every: Renewed[DefaultCentralCommunication] = Renewed(lambda communication: communication._begin())


class Peers(Mapping[str, "RemotePolicyProxy"]):
    """The peers as they are at each look, so that ``laila.peers[laila.add_peer(…)]`` finds the new one."""

    def __init__(self, now: Callable[[], dict[str, RemotePolicyProxy]]) -> None:
        self._now = now

    def __getitem__(self, peer: str) -> RemotePolicyProxy:
        peers = self._now()
        try:
            return peers[peer]
        except KeyError:
            raise PeerNotFoundError(
                f"no peer {shown(peer)} is connected; laila.add_peer(uri, secret) connects to one and "
                f"returns its id. Connected: {', '.join(peers) or 'none'}",
                peer=str(peer),
                connected=list(peers),
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._now()))

    def __len__(self) -> int:
        return len(self._now())

    def __repr__(self) -> str:
        return repr(self._now())


def _listens_at_the_same(protocol: Protocol, other: Protocol) -> bool:
    if type(protocol) is not type(other):
        return False
    mine, others = protocol.options(), other.options()
    mine.pop("nickname", None)
    others.pop("nickname", None)
    return bool(mine.get("port")) and mine == others


class DefaultCentralCommunication(Component):
    """Owns the protocols and keeps the registry of peers. Thread-safe.

    It is the node that its protocols serve: what a peer asks for comes in through :meth:`dispatch`, and only
    methods that were exported by their full path are called.
    """

    scope: ClassVar[str] = "CENTRAL_COMMUNICATION"

    def __init__(self, policy_id: str | None = None, events: Events | None = None) -> None:
        super().__init__()
        # The id of the policy for peers. A communication without a policy uses its own id.
        self.policy_id = self.global_id if policy_id is None else policy_id
        self._events = Events(self) if events is None else events
        self._policy: LocalPolicy | None = None
        self._methods: ExportedMethods | None = None
        self._run_signed_code = False
        self._connections: dict[str, Protocol] = {}
        self._begin()
        _every.add(self)

    def _begin(self) -> None:
        """Make the lock, and know no peer; again in a forked child, whose peers are the parent's."""
        self._connect_lock = long_lock()
        self._peers: dict[str, RemotePolicyProxy] = {}

    def serve(self, policy: LocalPolicy) -> None:
        """Set the policy of this communication: peers reach the methods that ``policy`` exports.

        Args:
            policy: The policy.
        """
        self._policy = policy

    @property
    def policy(self) -> LocalPolicy:
        """The policy that this is a part of. Raises :class:`NotSupportedError` where it stands alone."""
        if self._policy is None:
            raise NotSupportedError("this communication is part of no policy")
        return self._policy

    @property
    def connections(self) -> Mapping[str, Protocol]:
        """The protocols by global id."""
        return dict(self._connections)

    @property
    def peers(self) -> Mapping[str, RemotePolicyProxy]:
        """The connected policies by global id: a live view, read-only."""
        return Peers(lambda: self._peers)

    @property
    def run_signed_code(self) -> bool:
        """Whether peers with the role ``admin`` may ship code, signed by a key that is here."""
        return self._run_signed_code

    @run_signed_code.setter
    def run_signed_code(self, run: bool) -> None:
        if not isinstance(run, bool):
            raise SettingsError(f"run_signed_code={shown(run)}: give True or False", option="run_signed_code")
        self._run_signed_code = run

    def add_connection(self, protocol: Protocol) -> None:
        """Register ``protocol`` and start it: it is live when this returns. Again: a no-op.

        A protocol with the same port and options replaces the older one.

        Args:
            protocol: The protocol.
        """
        if not isinstance(protocol, Protocol):
            raise InvalidArgumentError(
                f"a connection is a laila protocol, not a {type(protocol).__name__}; to connect to a policy "
                "use laila.add_peer(uri, secret)"
            )
        for other in self.connections.values():
            if other is not protocol and _listens_at_the_same(other, protocol):
                self.remove_connection(other)  # a cell or module that sets up is run a second time
        with mutex:
            known = protocol.global_id in self._connections
            self._connections[protocol.global_id] = protocol
        try:
            protocol.start(self)
        except BaseException:
            if not known:
                with mutex:
                    self._connections.pop(protocol.global_id, None)
            raise

    def remove_connection(self, protocol: Protocol) -> None:
        """Stop ``protocol`` and forget it. Unknown protocols are stopped, too.

        Args:
            protocol: The protocol.
        """
        with mutex:
            self._connections.pop(protocol.global_id, None)
        protocol.stop()

    def start(self) -> None:
        """Start every registered protocol."""
        for protocol in self.connections.values():
            protocol.start(self)

    def stop(self) -> None:
        """Stop every protocol and clear the peers; the first error is raised when all are stopped."""
        try:
            do_all(protocol.stop for protocol in self.connections.values())
        finally:
            with mutex:
                self._peers.clear()

    @given_secrets
    def add_peer(self, uri: str, secret: str) -> str:
        """Connect to the policy at ``uri`` and return its global id.

        Blocks. If no protocol for the scheme was added, this adds one that only connects.

        Args:
            uri: The address of the peer, such as ``ws://host:8765``.
            secret: A secret that the peer knows.

        Returns:
            The global id of the peer.

        Raises:
            SettingsError: ``uri`` is not a URI (a ``ValueError``).
            MissingPluginError: the plugin of the scheme is not installed.
            PeerRefusedError: the secret is wrong.
            PeerError: the peer cannot be reached (a ``ConnectionError``).
        """
        scheme, separator, _ = uri.partition("://") if isinstance(uri, str) else ("", "", "")
        if not separator:
            raise SettingsError(
                f"{shown(uri)} is no peer URI: give one such as 'ws://127.0.0.1:8765'", option="uri"
            )
        return self._protocol_for(scheme, uri).add_peer(uri, secret)

    def _protocol_for(self, scheme: str, uri: str) -> Protocol:
        with self._connect_lock:
            for protocol in self.connections.values():
                if scheme in protocol.schemes:
                    protocol.start(self)
                    return protocol
            from laila.plugins import protocols

            kind = protocols().get(scheme)
            try:
                made: Protocol = kind.outbound()  # type: ignore[attr-defined]  # the registry checked its base
            except NotSupportedError as error:
                raise PeerError(
                    f"no protocol for {scheme}:// is connected; add one first: "
                    f"laila.communication.add_connection(laila.{kind.__name__}(…))",
                    peer=uri,
                ) from error
            self.add_connection(made)
            return made

    def add_tcpip_peer(self, host: str, port: int, secret: str) -> str:
        """Connect to the policy at ``host`` and ``port`` over WebSockets; see :meth:`add_peer`.

        Args:
            host: The host.
            port: The TCP port.
            secret: A secret that the peer knows.

        Returns:
            The global id of the peer.
        """
        return self.add_peer(f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}", secret)

    # -- for protocols ---------------------------------------------------------------------------------------

    def peer_joined(self, peer: str, protocol: Protocol) -> None:
        """A peer is connected and authenticated; see :class:`~laila.contract.protocol.Node`.

        Args:
            peer: The global id of the peer.
            protocol: The protocol that reaches it.
        """
        from laila.peering.proxy import RemotePolicyProxy

        with mutex:
            proxy = self._peers.get(peer)
            if proxy is not None:
                proxy.add_way(protocol)
                return
            self._peers[peer] = RemotePolicyProxy(peer, protocol, self)
        self._events.tell("laila_peer_joined", peer=peer)

    def peer_left(self, peer: str, protocol: Protocol, error: BaseException | None = None) -> None:
        """A protocol reaches a peer no more; see :class:`~laila.contract.protocol.Node`.

        Args:
            peer: The global id of the peer.
            protocol: The protocol that reached it.
            error: Why the connection ended; None if it was closed on purpose.
        """
        with mutex:
            proxy = self._peers.get(peer)
            if proxy is None or proxy.remove_way(protocol):
                return
            del self._peers[peer]
        self._events.tell("laila_peer_left", peer=peer, error=error)

    def dispatch(self, peer: str, request: Request) -> object:
        """Run an exported method for an authenticated peer.

        Raises :class:`PeerRefusedError` for a path that is not exported, or needs another role.

        Args:
            peer: The global id of the peer.
            request: The call.

        Returns:
            The result of the method.
        """
        return self._exported(peer).dispatch(peer, request)

    def check(self, peer: str, request: Request) -> None:
        """Raise :class:`PeerRefusedError` where the peer may not call this, before its arguments are read.

        Args:
            peer: The global id of the peer.
            request: The call.
        """
        self._exported(peer).check(peer, request)

    def non_blocking(self, request: Request) -> bool:
        """Whether :meth:`dispatch` answers without waiting.

        Args:
            request: The call.

        Returns:
            True if it never waits.
        """
        return self._exported("").non_blocking(request)

    def _exported(self, peer: str) -> ExportedMethods:
        if self._methods is None:
            if self._policy is None:
                raise PeerRefusedError(f"{self.policy_id} exports nothing", peer=peer)
            from laila.peering.methods import ExportedMethods

            self._methods = ExportedMethods(self._policy)
        return self._methods

    def _close(self) -> None:
        self.stop()
