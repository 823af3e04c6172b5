"""A node to serve by a protocol under test: it notes what it is asked, and answers as a suite needs it."""

from __future__ import annotations

import threading
import time

from laila.errors import (
    CorruptEntryError,
    EntryNotFoundError,
    EvolutionConflictError,
    PeerError,
    PoolError,
    SettingsError,
)
from laila.identity import make_global_id, new_uuid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from laila.contract import Blob, Protocol, Request
    from laila.errors import LailaError

__all__ = ["KNOWN_ERRORS", "TestNode", "blob_of"]

LIMIT = 60.0
"""Seconds after which a call that is held ends by itself."""


def blob_of(data: bytes) -> Blob:
    """Return a blob around some bytes; its key is not that of an entry."""
    from laila.codec import encode

    return encode(data, key="conformance")


KNOWN_ERRORS: dict[str, Callable[[], LailaError]] = {
    "missing": lambda: EntryNotFoundError("no k in p, “where it was looked for”", key="k", pool="p"),
    "conflict": lambda: EvolutionConflictError("stored first", key="k-3", pool="p"),
    "pool": lambda: PoolError("the disk is full", pool="p", errno=28),
    "settings": lambda: SettingsError("port=-1", option="port"),
    "corrupt": lambda: CorruptEntryError("cut", key=None),
}
"""Errors that a node raises on request, with parts of several kinds."""


class _OddError(Exception):
    """An error of a class that no peer knows."""


class TestNode:
    """A policy as its protocols see it. Thread-safe.

    ``calls`` are the paths and arguments that were dispatched, ``joined`` and ``left`` the peers that the
    protocols told of, all in order; ``events`` has one word for each of them.
    """

    __test__ = False  # for pytest, which takes classes of such a name for tests

    def __init__(self, policy_id: str | None = None) -> None:
        self.policy_id = make_global_id(("POLICY",), new_uuid()) if policy_id is None else policy_id
        self.calls: list[tuple[str, tuple[str, ...], tuple[object, ...], dict[str, object]]] = []
        self.joined: list[tuple[str, Protocol]] = []
        self.left: list[str] = []
        self.events: list[str] = []
        self.held = 0
        """How many calls wait in :meth:`hold`."""
        self.release = threading.Event()
        self._lock = threading.Lock()
        self._methods: dict[tuple[str, ...], Callable[..., object]] = {
            ("echo",): lambda *args, **kwargs: [list(args), kwargs],
            ("give",): lambda value: value,
            ("size",): len,
            ("make",): lambda count: b"\xa5" * count,
            ("central", "memory", "remember"): lambda: "remembered",
            ("fail",): self._fail,
            ("hold",): self._hold,
            ("nap",): self._nap,
            ("unsendable",): threading.Lock,
        }

    # -- what a protocol uses --------------------------------------------------------------------------------

    def dispatch(self, peer: str, request: Request) -> object:
        """Note a call, and answer it."""
        with self._lock:
            self.calls.append((peer, request.path, request.args, request.kwargs))
            self.events.append("call")
        if request.path == ("back",):
            return self._back(peer, *request.args)
        method = self._methods.get(request.path)
        if method is None:
            raise PeerError(f"{'.'.join(request.path)} is not exported by this node", peer=self.policy_id)
        return method(*request.args, **request.kwargs)

    def check(self, peer: str, request: Request) -> None:
        """Let everybody call everything."""

    def non_blocking(self, request: Request) -> bool:
        """Nothing here is answered without any wait."""
        return False

    def peer_joined(self, peer: str, protocol: Protocol) -> None:
        """Note a peer."""
        with self._lock:
            self.joined.append((peer, protocol))
            self.events.append("joined")

    def peer_left(self, peer: str, protocol: Protocol, error: BaseException | None = None) -> None:
        """Note that a peer has gone."""
        with self._lock:
            self.left.append(peer)
            self.events.append("left")

    # -- what it does ----------------------------------------------------------------------------------------

    def _fail(self, kind: str) -> NoReturn:
        if kind == "known to Python":
            raise ValueError("told by the other side")
        if kind == "known to nobody":
            raise _OddError("told by the other side")
        if kind == "exit":
            raise SystemExit("told by the other side")
        error = KNOWN_ERRORS[kind]()
        raise error

    def _hold(self) -> str:
        with self._lock:
            self.held += 1
        self.release.wait(LIMIT)
        return "released"

    def _nap(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    def _back(self, peer: str, depth: Any) -> object:
        """Call the caller, which calls back in turn."""
        if depth == 0:
            return 0
        protocol = next(protocol for joined, protocol in reversed(self.joined) if joined == peer)
        return 1 + protocol.send_rpc(peer, ["back"], [depth - 1], {})  # type: ignore[operator]
