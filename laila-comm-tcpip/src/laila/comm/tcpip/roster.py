"""Which connections reach which peer. An id belongs to the key it came with; the newest link is used."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from threading import Event

from laila.comm.tcpip.workers import Workers
from laila.contract import locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from laila.comm.tcpip.identity import KnownPeers
    from laila.comm.tcpip.link import Link
    from laila.contract import Node, Protocol, Role

__all__ = ["Registry"]

_TELL_SECONDS = 5.0
_STOP_SECONDS = 0.3


class Registry:
    """The links of one protocol. Belongs to the loop, unless a method says otherwise."""

    def __init__(self, protocol: Protocol, node: Node, known: KnownPeers) -> None:
        self._protocol = protocol
        self._node = node
        self._known = known
        self._links: dict[str, list[Link]] = {}
        self._others: set[Link] = set()  # clients without a policy
        self._joined: dict[str, Event] = {}
        # One at a time, so that a peer's coming and going are reported in order; hooks may be slow.
        self._teller = Workers(1)

    def best(self, peer: str) -> Link | None:
        """Return the newest live link to ``peer``. Thread-safe."""
        with locks.mutex:
            links = self._links.get(peer)
            return links[-1] if links else None

    def claim(self, peer: str, identity: bytes, role: Role | None = None) -> bool:
        """Return whether ``peer`` may use this identity key, under a secret of ``role``.

        The rules are those of :meth:`KnownPeers.claim`.
        """
        return self._known.claim(peer, identity, role)

    def add(self, link: Link) -> None:
        """Use ``link`` for its peer from now on."""
        if not link.known:
            self._others.add(link)
            return
        with locks.mutex:
            links = self._links.setdefault(link.peer, [])
            links.append(link)
            first = len(links) == 1
            if first:
                self._joined[link.peer] = Event()
            joined = self._joined[link.peer]
        if first:
            self._tell(lambda: self._node.peer_joined(link.peer, self._protocol), joined)

    def remove(self, link: Link) -> bool:
        """Stop using ``link``; return whether it was the last one to its peer."""
        if not link.known:
            self._others.discard(link)
            return False
        with locks.mutex:
            links = self._links.get(link.peer, [])
            if link not in links:
                return False
            links.remove(link)
            if links:
                return False
            del self._links[link.peer]
            self._joined.pop(link.peer, None)
        error = None if link.on_purpose else link.ended
        self._tell(lambda: self._node.peer_left(link.peer, self._protocol, error), None)
        return True

    def _tell(self, what: Callable[[], object], done: Event | None) -> None:
        def tell() -> None:
            try:
                what()
            finally:
                if done is not None:
                    done.set()

        self._teller.submit(tell)

    def told(self, peer: str) -> None:
        """Wait until the node knows ``peer``. Blocks, so the loop's thread must not call it."""
        joined = self._joined.get(peer)
        if joined is not None:
            joined.wait(_TELL_SECONDS)

    async def wait_until_announced(self, peer: str) -> None:
        """Wait on the loop until the node knows ``peer``."""
        joined = self._joined.get(peer)
        for _ in range(int(_TELL_SECONDS / 0.001)):
            if joined is None or joined.is_set():
                return
            await asyncio.sleep(0.001)

    def count(self) -> int:
        """The number of links."""
        with locks.mutex:
            return sum(map(len, self._links.values())) + len(self._others)

    def _all(self) -> list[Link]:
        with locks.mutex:
            return [link for links in self._links.values() for link in links] + list(self._others)

    async def close_all(self) -> None:
        """End every link on purpose."""
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await asyncio.gather(*(link.close() for link in self._all()), return_exceptions=True)
        for link in self._all():
            link.abort()

    def announce_departures(self) -> None:
        """Wait until the node knows that all peers are gone."""
        done = Event()
        self._teller.submit(done.set)
        done.wait(_STOP_SECONDS)

    def drop_sockets(self) -> None:
        """In a forked child: close the copies of the parent's sockets, and send nothing."""
        for links in self._links.values():
            for link in links:
                link.drop_socket()
        for link in self._others:
            link.drop_socket()
