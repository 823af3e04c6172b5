"""The way home: from a worker to the policy that submitted its tasks, as a peer of that policy.

It is taken when a pool is first used that only the submitter has, and again after it broke. The worker comes
as a client that is no policy: it may call what its secret lets it, and is nobody's peer, so that nothing of
the submitter's goes to it. The secret comes from the ticket, where that was asked for, or is the one that the
worker's own environment gives the protocol.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from laila.contract.protocol import Request
from laila.errors import PeerDisconnectedError, PeerError, PeerRefusedError
from laila.futures.remote import RemoteFuture
from laila.locks import long_lock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from laila.contract.protocol import Protocol

__all__ = ["Home", "is_local"]

_LOOPBACK = ("127.", "localhost", "::1")


def is_local(uri: str) -> bool:
    """Whether ``uri`` means a server that other hosts do not reach by it."""
    try:
        parts = urlsplit(uri)
        return parts.scheme == "unix" or (parts.hostname or "").startswith(_LOOPBACK)
    except ValueError:
        return False


class Home:
    """One submitter, as a worker reaches it. Thread-safe.

    ``invited`` describes the submitter's protocol, from the ticket. ``policy`` is the global id that must
    answer there. ``secret`` came with the ticket. ``elsewhere`` is the submitter's host if it is not this
    host.
    """

    def __init__(
        self, invited: Mapping[str, Any], policy: str, secret: str | None, elsewhere: str | None
    ) -> None:
        self._plugin: str = invited["plugin"]
        self._uri: str = invited["uri"]
        self._options: dict[str, object] = invited["options"]
        self._policy = policy
        self._secret = secret
        self._elsewhere = elsewhere
        self._lock = long_lock()
        self._protocol: Protocol | None = None
        self._connected = self._lost = False
        self._failed_at = 0.0
        self._failure: PeerError | None = None

    def call(
        self, path: str, calls: Sequence[Sequence[object]], options: dict[str, object], *, again: bool
    ) -> list[Any]:
        """Call one method once for each of ``calls`` (its positional arguments), side by side.

        Returns what each gave. Raises :class:`PeerError` where the submitter cannot be reached, its kind
        :class:`PeerRefusedError` where it does not let this worker do that, and what the method raised.
        With ``again``, what was under way when the connection broke is called once more.
        """
        try:
            return self._call(path, calls, options, again)
        except PeerDisconnectedError:
            self.lost()
            if not again:
                raise
        return self._call(path, calls, options, again)

    def _call(
        self, path: str, calls: Sequence[Sequence[object]], options: dict[str, object], again: bool
    ) -> list[Any]:
        protocol = self._reach()
        futures: list[RemoteFuture[Any]] = []
        for args in calls:
            future: RemoteFuture[Any] = RemoteFuture()
            protocol.send(self._policy, Request(path.split("."), args, options, repeatable=again), future)
            futures.append(future)
        return [future.wait() for future in futures]

    def _reach(self) -> Protocol:
        if self._connected and (protocol := self._protocol) is not None:
            return protocol
        came = monotonic()
        with self._lock:
            if self._connected and self._protocol is not None:
                return self._protocol
            # Who waited while another tried, and who was refused before, does not try the same again.
            if self._failure is not None and (
                self._failed_at >= came or isinstance(self._failure, PeerRefusedError)
            ):
                raise type(self._failure)(str(self._failure), peer=self._uri)
            try:
                return self._connect()
            except PeerError as error:
                self._failed_at, self._failure = monotonic(), error
                raise

    def _connect(self) -> Protocol:
        from laila.plugins import protocols

        if self._elsewhere is not None and is_local(self._uri):
            raise PeerError(
                f"{self._uri} is reached on the host {self._elsewhere} alone; there, have the protocol "
                "listen at an address that other hosts reach (host=)",
                peer=self._uri,
            )
        if self._protocol is None:
            made: Protocol = protocols().get(self._plugin).outbound(**self._options)  # type: ignore[attr-defined]
            made.start(_Caller(self))
            self._protocol = made
        secret = self._secret or self._protocol.peer_secret()
        if secret is None:
            raise PeerRefusedError(
                f"this process has no secret for {self._uri}: give the task force share_secrets=True, or the "
                "worker's environment the secret that the protocol has over there, by the same variable",
                peer=self._uri,
            )
        self._lost = False
        try:
            answering = self._protocol.add_peer(self._uri, secret)
            if answering != self._policy:
                raise PeerRefusedError(
                    f"at {self._uri} another policy answers, not the submitter of this task: {answering}",
                    peer=self._uri,
                )
        except BaseException:
            self._protocol.stop()
            self._protocol = None
            raise
        self._failure = None
        self._connected = True
        if self._lost:  # already
            self._connected = False
        return self._protocol

    def lost(self) -> None:
        """The connection is gone; the next call makes another."""
        self._lost = True
        self._connected = False

    def close(self) -> None:
        """Leave. A later call connects again."""
        with self._lock:
            self._connected = False
            if self._protocol is not None:
                self._protocol.close()
                self._protocol = None


class _Caller:
    """The node of a worker: a caller that is no policy, and lets nobody call it."""

    policy_id = ""

    def __init__(self, home: Home) -> None:
        self._home = home

    def check(self, peer: str, request: Request) -> None:
        """Refuse."""
        raise PeerRefusedError("a process that runs tasks shows nothing to others", peer=peer)

    def dispatch(self, peer: str, request: Request) -> object:
        """Refuse."""
        raise PeerRefusedError("a process that runs tasks shows nothing to others", peer=peer)

    def non_blocking(self, request: Request) -> bool:
        """At once."""
        return True

    def peer_joined(self, peer: str, protocol: Protocol) -> None:
        """It is the submitter."""

    def peer_left(self, peer: str, protocol: Protocol, error: BaseException | None = None) -> None:
        """Connect again when it is needed next."""
        self._home.lost()
