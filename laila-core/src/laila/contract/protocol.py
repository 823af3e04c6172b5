"""The protocol contract: how a transport connects this policy to others.

A protocol carries requests between policies. It is given a :class:`Node`, the only way into the policy it
serves: what arrives from an authenticated peer goes to :meth:`Node.dispatch` and nowhere else. Arguments and
results cross as :mod:`laila.contract.wire` packs them: plain JSON, and blobs beside it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from threading import RLock
from typing import Literal, NamedTuple, get_args
from typing import Protocol as TypingProtocol

from laila.component.authored import Authored
from laila.component.component import Component
from laila.errors import IdentityError, NotSupportedError
from laila.forks import Renewed
from laila.identity import parse_global_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, ClassVar, Self

    from laila.futures import RemoteFuture

__all__ = ["ROLES", "Invitation", "Node", "Protocol", "Request", "Role", "is_policy_id"]

Role = Literal["read", "write", "admin"]
"""What a peer may do: each role includes the ones before it."""
ROLES: tuple[Role, ...] = get_args(Role)


def is_policy_id(text: str) -> bool:
    """Return whether a text is the global id of a policy.

    Args:
        text: Any text.

    Returns:
        True for ``LAILA:POLICY:GLOBAL_ID:`` with a uuid.
    """
    try:
        scopes, _, evolution = parse_global_id(text)
    except IdentityError:
        return False
    return scopes[-1] == "POLICY" and evolution is None


class Request:
    """One call to or from a peer: the ``path`` of an exported method, and its arguments.

    ``role`` is what the protocol that received the call has granted to its peer, never what the peer says.
    ``repeatable`` says that doing it twice does no harm, so that a protocol may send it again when a
    connection broke. ``timeout`` is in seconds, on both sides; None: no limit.
    """

    __slots__ = ("args", "kwargs", "path", "repeatable", "role", "timeout")

    def __init__(
        self,
        path: Sequence[str],
        args: Sequence[object] = (),
        kwargs: dict[str, object] | None = None,
        *,
        role: Role = "write",
        repeatable: bool = False,
        timeout: float | None = None,
    ) -> None:
        self.path = tuple(path)
        self.args = tuple(args)
        self.kwargs = dict(kwargs or {})
        self.role = role
        self.repeatable = repeatable
        self.timeout = timeout

    @property
    def method(self) -> str:
        """The path with dots between its parts."""
        return ".".join(self.path)


class Invitation(NamedTuple):
    """How another process of the same user reaches a protocol, without the secret. JSON-able."""

    uri: str
    """The URI to connect to."""
    options: dict[str, object]
    """The arguments for :meth:`Protocol.outbound` there."""


class Node(TypingProtocol):
    """The side of a policy that its protocols see. Thread-safe."""

    @property
    def policy_id(self) -> str:
        """The global id of this policy for peers. Empty string for a caller that is not a peer."""

    def check(self, peer: str, request: Request) -> None:
        """Raise :class:`~laila.errors.PeerRefusedError` where the peer may not call the method at all.

        For use before the arguments are read: ``request`` has only plain text among its arguments.

        Args:
            peer: The global id of the peer.
            request: The call.
        """

    def dispatch(self, peer: str, request: Request) -> object:
        """Run an exported method for an authenticated peer and return its result, or raise its error.

        A :class:`~laila.futures.Future` or group that it returns is the result once it has settled.

        Args:
            peer: The global id of the peer.
            request: The call.

        Returns:
            The result of the method.
        """

    def non_blocking(self, request: Request) -> bool:
        """Whether dispatching ``request`` never waits, so that an event loop may do it itself.

        Args:
            request: The call.

        Returns:
            True if it never waits.
        """

    def peer_joined(self, peer: str, protocol: Protocol) -> None:
        """The policy with this global id is connected and authenticated; ``protocol`` reaches it.

        Again for a peer that is known: nothing new.

        Args:
            peer: The global id of the peer.
            protocol: The protocol that reaches it.
        """

    def peer_left(self, peer: str, protocol: Protocol, error: BaseException | None = None) -> None:
        """``protocol`` reaches the peer no more: ``error`` says why, None where it was closed on purpose.

        Args:
            peer: The global id of the peer.
            protocol: The protocol that reached it.
            error: Why the connection ended; None if it was closed on purpose.
        """


class Protocol(Authored, Component, ABC):
    """A transport between policies.

    Thread-safety: :meth:`start`, :meth:`stop`, :meth:`add_peer`, :meth:`send_rpc` and :meth:`send` may be
    called from any thread. Connections are those of the process that made them: a forked child has none, and
    does no harm to its parent's.
    """

    scope: ClassVar[str] = "COMM_PROTOCOL"
    for_authors = frozenset(("_start", "_stop", "_connect", "_call", "_close"))
    keeps = frozenset(("_last_node", "_node", "_turn"))
    schemes: ClassVar[tuple[str, ...]] = ()
    """The URI schemes it connects to, such as ``("ws", "wss")``."""

    def __init__(self, *, nickname: str | None = None, settings: Any = None) -> None:
        super().__init__(nickname=nickname, settings=settings)
        self._node: Node | None = None
        self._last_node: Node | None = None
        self._init_turn()
        _every.add(self)

    def _init_turn(self) -> None:
        """Make the lock of starting and stopping; again in a forked child, where nobody holds it."""
        self._turn = RLock()

    @classmethod
    def outbound(cls, **options: object) -> Self:
        """Return a protocol that only connects and serves no address; ``add_peer`` uses it.

        Args:
            **options: The options of an :class:`Invitation`.

        Raises:
            NotSupportedError: the protocol cannot do it.
        """
        raise NotSupportedError(f"a {cls.__name__} must be told how to connect")

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._node is not None

    @property
    def uri(self) -> str | None:
        """Where others connect to, once it is started; None where it serves no address."""
        return None

    def invitation(self) -> Invitation | None:
        """Say how the workers of this policy's tasks reach it; None where they cannot, as by default.

        They come as callers that are no policy: by a protocol whose node's ``policy_id`` is "".

        Returns:
            The invitation, or None.
        """
        return None

    def peer_secret(self) -> str | None:
        """Return the secret that workers connect with, if possible that for the role ``write``.

        Returns None if the protocol has no secret. Show it to nobody.

        Returns:
            The secret, or None.
        """
        return None

    def start(self, node: Node | None = None) -> None:
        """Begin to serve ``node``, by default the last one. A second start without a stop is a no-op.

        Args:
            node: The side of the policy that peers call.

        Raises:
            NotSupportedError: (a ``NotImplementedError``) there is no node: it was never added to a policy.
        """
        with self._turn:
            if self._node is not None:
                return
            node = self._last_node if node is None else node
            if node is None:
                raise NotSupportedError(
                    f"{self!r} belongs to no policy yet: laila.communication.add_connection(protocol) adds "
                    "it and starts it"
                )
            self._start(node)
            self._node = self._last_node = node

    def stop(self) -> None:
        """End every connection and free the address, within two seconds. Idempotent."""
        with self._turn:
            if self._node is not None:
                self._node = None
                self._stop()

    def add_peer(self, uri: str, secret: str) -> str:
        """Connect to the policy at ``uri`` and return its global id.

        Args:
            uri: The address of the peer.
            secret: A secret that the peer knows.

        Returns:
            The global id of the peer.
        """
        return self._connect(uri, secret)

    def send_rpc(
        self,
        peer_id: str,
        path: list[str],
        args: Sequence[object] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        """Call an exported method of a peer and return its result. Blocks.

        Args:
            peer_id: The global id of the peer.
            path: The names of the method's path.
            args: Positional arguments.
            kwargs: Keyword arguments.

        Returns:
            The result of the method.
        """
        return self._call(peer_id, Request(path, args, kwargs))

    def send(self, peer: str, request: Request, future: RemoteFuture[Any]) -> None:
        """Send ``request``; its outcome settles ``future``. Does not wait for it.

        The default has :meth:`_call` done by the task force, which takes a worker for each call under way.

        Args:
            peer: The global id of the peer.
            request: The call.
            future: The future of its outcome.
        """
        from laila.futures import spawn

        def call() -> None:
            try:
                future.deliver(self._call(peer, request))
            except Exception as error:  # noqa: BLE001 - the outcome of the call
                future.fail(error)

        spawn(call)

    def _close(self) -> None:
        self.stop()

    @abstractmethod
    def _start(self, node: Node) -> None:
        """Begin to listen, and pass what peers ask to ``node.dispatch``."""

    @abstractmethod
    def _stop(self) -> None:
        """Stop listening and end every connection; calls under way fail with ``PeerDisconnectedError``."""

    @abstractmethod
    def _connect(self, uri: str, secret: str) -> str:
        """Connect and authenticate; return the peer's global id. Raises ``PeerError``."""

    @abstractmethod
    def _call(self, peer: str, request: Request) -> object:
        """Send a request and return its result. Raises the peer's error or ``PeerDisconnectedError``."""


_every: Renewed[Protocol] = Renewed(lambda protocol: protocol._init_turn())
