"""A bound on the memory that all connections of a process hold together.

Each peer has a bound of its own. Many peers, or one peer with many connections, would still fill the memory
of the machine or container. So all of them together may hold half of it. The connection that holds most
ends first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakSet

from laila.contract import memory_limit

if TYPE_CHECKING:
    from laila.comm.tcpip.session import Session

__all__ = ["Room", "most_of_one", "room"]

_COUNTED_FROM = 16 * 2**20
"""Bytes that each connection may hold in any case; so few are not counted."""


def most_of_one() -> int:
    """Return the most bytes that one peer may have held, whatever the options say."""
    return max(memory_limit() // 4, _COUNTED_FROM)


class Room:
    """The bound for the sessions that were added, as long as they live."""

    def __init__(self, most: int, counted_from: int = _COUNTED_FROM) -> None:
        self.most = most
        self._counted_from = counted_from
        self._sessions: WeakSet[Session] = WeakSet()

    def add(self, session: Session) -> None:
        """Count ``session`` from now on."""
        self._sessions.add(session)

    def refuses(self, session: Session, more: int = 0) -> bool:
        """Return whether ``more`` bytes for ``session`` are too many: there is no room, and it holds most."""
        mine = session.held + more
        if mine <= self._counted_from:
            return False
        held = [other.held for other in self._sessions if other is not session]
        return sum(held) + mine > self.most and mine >= max(held, default=0)


room = Room(max(memory_limit() // 2, 4 * _COUNTED_FROM))
"""The room of this process."""
