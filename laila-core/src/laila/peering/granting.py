"""Leases among peers: one policy grants, and its table is used by the others as if it were their own."""

from __future__ import annotations

from laila.errors import InvalidArgumentError
from laila.leasing.tables import LeaseTable
from laila.peering.answers import checked, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from laila.peering.communication import DefaultCentralCommunication
    from laila.peering.proxy import RemotePolicyProxy

__all__ = ["PeerLeases", "find_grantor", "serve_leases"]

_PATH = "central.memory.leases"
_MOST_KEYS, _MOST_BYTES, _KEY_BYTES = 1000, 4096, 512
_MOST_RECORDS = 20_000


class PeerLeases(LeaseTable):
    """The table of a peer. Thread-safe; blocks until the peer answers."""

    longest_pause = 0.2

    def __init__(self, peer: RemotePolicyProxy) -> None:
        self._peer = peer

    def _ask(self, what: str, items: Sequence[object], *, repeatable: bool = True) -> Any:
        return self._peer.call(_PATH, [what, list(items)], repeatable=repeatable).wait()

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the record of each key, or None."""
        records = checked(self._ask("read", keys), len(keys))
        if any(not (record is None or isinstance(record, (bytes, bytearray))) for record in records):
            raise wrong("with what is no record of a lease")
        return [None if record is None else bytes(record) for record in records]

    def swap(self, changes: Sequence[tuple[str, bytes | None, bytes]]) -> list[bool]:
        """Replace each record that is still as it was read."""
        made = checked(self._ask("swap", [list(change) for change in changes]), len(changes))
        if any(type(answer) is not bool for answer in made):
            raise wrong("with what does not say whether a lease was changed")
        return made

    def keys(self) -> list[str]:
        """Return no keys: what a peer lends is listed there."""
        return []

    def now(self) -> tuple[str, float]:
        """Return the clock of the peer."""
        clock, now = checked(self._ask("now", []), 2)
        if type(clock) is not str or type(now) is not float:
            raise wrong("with what is no time")
        return clock, now


def serve_leases(table: LeaseTable, what: object, items: object) -> list[Any]:
    """Do for a peer what it asks of the table of this policy.

    Args:
        table: The table.
        what: ``"read"``, ``"swap"`` or ``"now"``.
        items: The keys to read, or the changes to make.

    Returns:
        One answer for each item, or the name of the clock and its time.

    Raises:
        InvalidArgumentError: The peer asked for something else, or for too much.
    """
    if not isinstance(items, list) or len(items) > _MOST_KEYS:
        raise InvalidArgumentError(f"leases are asked for in lists of at most {_MOST_KEYS}")
    if what == "now":
        return list(table.now())
    if what == "read" and all(map(_is_key, items)):
        return list(table.read(items))
    if what == "swap" and all(map(_is_change, items)):
        keys = [key for key, _, _ in items]
        if len(set(keys)) == len(keys) and len(table.keys()) + len(keys) <= _MOST_RECORDS:
            return list(
                table.swap(
                    [(key, None if old is None else bytes(old), bytes(new)) for key, old, new in items]
                )
            )
    raise InvalidArgumentError("this is no question about leases, or there are too many of them")


def _is_key(key: object) -> bool:
    return isinstance(key, str) and 0 < len(key) <= _KEY_BYTES


def _is_record(record: object) -> bool:
    return isinstance(record, (bytes, bytearray, memoryview)) and len(record) <= _MOST_BYTES


def _is_change(change: object) -> bool:
    if not isinstance(change, list) or len(change) != 3:
        return False
    key, old, new = change
    return _is_key(key) and (old is None or _is_record(old)) and _is_record(new)


def find_grantor(here: DefaultCentralCommunication) -> tuple[LeaseTable, str]:
    """Return the table that lends among a policy and its peers: that of the one with the smallest global id.

    Args:
        here: The communication of the policy.

    Returns:
        The table, and the words that name it in messages.
    """
    peers, policy = dict(here.peers), here.policy
    chosen = min([policy.global_id, *peers])
    if chosen in peers:
        return PeerLeases(peers[chosen]), f"the peer {chosen}"
    return policy.central.memory.grants, "this policy, which grants among its peers"
