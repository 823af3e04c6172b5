"""What a table has lent, for people."""

from __future__ import annotations

from typing import NamedTuple

from laila.leasing.lease import Watch
from laila.leasing.records import parse_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.leasing.tables import LeaseTable

__all__ = ["Lent", "list_leases"]


class Lent(NamedTuple):
    """A lease that has not been given back."""

    key: str
    """The id that is lent, without evolution."""
    host: str
    pid: int
    since: float
    """When the holder began to borrow, by its clock, in seconds since the epoch."""
    ttl: float
    fence: int
    seconds_left: float | None
    """For how long it lasts unless it is renewed; 0 if it is over. None if only the holder's host has the
    clock that says so."""


def list_leases(table: LeaseTable) -> list[Lent]:
    """Return what is lent, in the order of the keys; also leases that are over and that nobody has taken.

    Args:
        table: The table of a pool.

    Returns:
        The leases.
    """
    keys = sorted(table.keys())
    clock, now = table.now()
    leases: list[Lent] = []
    for key, data in zip(keys, table.read(keys) if keys else (), strict=True):
        record = parse_record(data)
        if data is None or record is None or record.free:
            continue
        left = max(Watch().left(key, data, record, clock, now), 0.0) if record.clock == clock else None
        leases.append(Lent(key, record.host, record.pid, record.since, record.ttl, record.fence, left))
    return leases
