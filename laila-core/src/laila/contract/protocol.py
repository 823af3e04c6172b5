"""The protocol contract: how a transport connects this policy to others.

A protocol carries requests between policies. It is given a :class:`Node`, the only way into the policy it
serves: what arrives from an authenticated peer goes to :meth:`Node.dispatch` and nowhere else.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from threading import RLock
from typing import Protocol as TypingProtocol
from weakref import WeakSet

from laila.contract.component import Component

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, ClassVar

__all__ = ["Node", "Protocol", "Request"]


class Request:
    """One call to or from a peer: a dotted ``path`` of an exported method and its arguments."""

    __slots__ = ("args", "kwargs", "path")

    def __init__(
        self, path: Sequence[str], args: Sequence[object] = (), kwargs: dict[str, object] | None = None
    ) -> None:
        self.path = tuple(path)
        self.args = tuple(args)
        self.kwargs = dict(kwargs or {})


class Node(TypingProtocol):
    """What a policy shows to its protocols."""

    @property
    def policy_id(self) -> str:
        """The global id that peers know this policy by."""

    def dispatch(self, peer: str, request: Request) -> object:
        """Run an exported method for an authenticated peer and return its result, or raise its error."""

    def peer_joined(self, peer: str, protocol: Protocol) -> None:
        """The policy with this global id is connected and authenticated; ``protocol`` reaches it.

        Again for a peer that is known: nothing new.
        """

    def peer_left(self, peer: str, protocol: Protocol, error: BaseException | None = None) -> None:
        """``protocol`` reaches the peer no more: ``error`` says why, None where it was closed on purpose."""


class Protocol(Component, ABC):
    """A transport between policies.

    Thread-safety: :meth:`start`, :meth:`stop`, :meth:`add_peer` and :meth:`send_rpc` may be called from any
    thread. Connections are those of the process that made them: a forked child has none, and does no harm to
    its parent's.
    """

    scope: ClassVar[str] = "COMM_PROTOCOL"
    schemes: ClassVar[tuple[str, ...]] = ()
    """The URI schemes it connects to, such as ``("ws", "wss")``."""

    def __init__(self, *, nickname: str | None = None, settings: Any = None) -> None:
        super().__init__(nickname=nickname, settings=settings)
        self._node: Node | None = None
        self._turn = RLock()  # of starting and stopping
        _every.add(self)

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._node is not None

    @property
    def uri(self) -> str | None:
        """Where others connect to, once it is started; None where it serves no address."""
        return None

    def start(self, node: Node) -> None:
        """Begin to serve ``node``. A second start without a stop is a no-op."""
        with self._turn:
            if self._node is None:
                self._start(node)
                self._node = node

    def stop(self) -> None:
        """End every connection and free the address, within two seconds. Idempotent."""
        with self._turn:
            if self._node is not None:
                self._node = None
                self._stop()

    def add_peer(self, uri: str, secret: str) -> str:
        """Connect to the policy at ``uri`` and return its global id."""
        return self._connect(uri, secret)

    def send_rpc(
        self, peer_id: str, path: list[str], args: Sequence[object], kwargs: dict[str, object]
    ) -> object:
        """Call an exported method of a peer and return its result."""
        return self._call(peer_id, Request(path, args, kwargs))

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


_every: WeakSet[Protocol] = WeakSet()


def _after_fork() -> None:
    for protocol in list(_every):
        protocol._turn = RLock()  # a thread of the parent's may have held it


if hasattr(os, "register_at_fork"):  # there is no fork on Windows
    os.register_at_fork(after_in_child=_after_fork)
