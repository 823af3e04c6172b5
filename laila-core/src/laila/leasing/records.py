"""The record of a lease, and the clocks that say when it is over.

No clock of one machine is compared with the clock of another. A record names the clock that its end was read
from. A reader with the same clock compares. Any other reader waits until it has seen the record unchanged for
as long as the lease lasts.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from laila.errors import InvalidValueError
from laila.showing import shown

__all__ = [
    "LONGEST_TTL",
    "Record",
    "boot_time",
    "check_seconds",
    "free_record",
    "host_clock",
    "make_record",
    "parse_record",
]

LONGEST_TTL = 86400.0
"""The longest lease, in seconds. Tables keep records longer than that."""
_MARK = b"LAILA-LEASE 1 "
_MOST_BYTES = 4096
_UNKNOWN_TTL = 60.0  # of a record that no laila wrote
_DIGITS = b"0123456789abcdef"
_FREE = b"0" * 32
_NOBODY = "unknown"


class Record(NamedTuple):
    """What a table says of one key."""

    token: bytes
    """Names the lease; no two leases have one token."""
    fence: int
    """Counts the leases of the key: a later lease has a greater number."""
    free: bool
    """Whether the lease was given back."""
    ttl: float
    clock: str
    until: float
    host: str
    pid: int
    since: float


def make_record(
    token: bytes, fence: int, *, ttl: float, clock: str, until: float, since: float, host: str, pid: int
) -> bytes:
    """Return the stored form of a lease."""
    import json  # late: most processes borrow nothing

    fields = {
        "fence": fence,
        "ttl": ttl,
        "clock": clock,
        "until": until,
        "host": host[:255],
        "pid": pid,
        "since": since,
    }
    return _MARK + token + b" " + json.dumps(fields).encode()


def free_record(fence: int) -> bytes:
    """Return the stored form of a lease that was given back; it keeps the number."""
    import json

    return _MARK + _FREE + b" " + json.dumps({"fence": fence}).encode()


def parse_record(data: bytes | None) -> Record | None:
    """Read a record. None if there is no record.

    What no laila wrote counts as the lease of an unknown holder, which ends when nobody renews it.
    """
    if data is None:
        return None
    head, fields = bytes(data[: len(_MARK) + 33]), None
    token = head[len(_MARK) : -1]
    if head.startswith(_MARK) and len(token) == 32 and not token.strip(_DIGITS) and len(data) <= _MOST_BYTES:
        import json

        try:
            fields = json.loads(bytes(data[len(head) :]))
        except (ValueError, RecursionError):
            fields = None
    if not isinstance(fields, dict) or type(fields.get("fence")) is not int or fields["fence"] < 0:
        return Record(b"", 0, False, _UNKNOWN_TTL, "", 0.0, _NOBODY, 0, 0.0)
    ttl = _number(fields, "ttl")
    return Record(
        token,
        fields["fence"],
        token == _FREE,
        ttl if 0 < ttl <= LONGEST_TTL else _UNKNOWN_TTL,
        str(fields.get("clock", "")),
        _number(fields, "until"),
        str(fields.get("host", _NOBODY))[:255],
        fields["pid"] if type(fields.get("pid")) is int else 0,
        _number(fields, "since"),
    )


def _number(fields: dict[str, object], name: str) -> float:
    value = fields.get(name)
    if isinstance(value, (int, float)) and abs(value) < 1e15:  # NaN is not
        return float(value)
    return 0.0


def check_seconds(value: object, name: str, most: float) -> float:
    """Return a number of seconds that a caller gave.

    Raises :class:`InvalidValueError` for what is not a number above 0 and at most ``most``.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= most:
        raise InvalidValueError(f"{name}={shown(value)}: give seconds, above 0 and at most {most:g}")
    return float(value)


def boot_time() -> float:
    """Return seconds of a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_own = os.urandom(8).hex()


def host_clock() -> str:
    """Return the name of the clock of :func:`boot_time`: equal in all processes that read the same one."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read(64).strip()
        return f"{boot} {os.readlink('/proc/self/ns/time')}"
    except OSError:  # another system: the clock of this process alone
        return f"{_own} {os.getpid()}"
