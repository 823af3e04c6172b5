"""Which connections may wait, when a wrong secret is answered, how fast calls are read. No I/O."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address
from typing import Generic, TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Guard", "Rate", "Waiting", "place_of"]

T = TypeVar("T")

_FIRST_DELAY, _LONGEST_DELAY = 0.25, 8.0
_FORGET_SECONDS = 600.0
_MOST_ADDRESSES = 10_000


def place_of(address: str) -> str:
    """Return the part of an address that is counted: of IPv6 the first half, which has one owner."""
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))


class Waiting(Generic[T]):
    """Connections that were not let in yet, oldest first; bounded in number, in total and for one address.

    Every newcomer may wait, and so has a chance. If there are too many, the oldest connection must leave: of
    the same address if that has too many, otherwise of the address that has most.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._address: dict[T, str] = {}
        self._of_one: dict[str, OrderedDict[T, None]] = {}

    def add(self, who: T, address: str) -> list[T]:
        """Let ``who`` wait; return the connections that must leave for it."""
        self._address[who] = address
        same = self._of_one.setdefault(address, OrderedDict())
        same[who] = None
        gone: list[T] = []
        if len(same) > self._most_of_one:
            gone.append(next(iter(same)))
        elif len(self._address) > self._most:
            most = max(self._of_one, key=lambda address: len(self._of_one[address]))
            gone.append(next(iter(self._of_one[most])))
        for waiting in gone:
            self.discard(waiting)
        return gone

    def discard(self, who: T) -> bool:
        """Remove ``who``; return whether it was waiting."""
        address = self._address.pop(who, None)
        if address is None:
            return False
        same = self._of_one[address]
        del same[who]
        if not same:
            del self._of_one[address]
        return True

    def __len__(self) -> int:
        return len(self._address)

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._address))


class Guard:
    """Counts wrong secrets, by address. Belongs to one event loop."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self.failed = 0
        """How many secrets were wrong since the start."""

    def wrong(self, address: str, now: float) -> tuple[int, float]:
        """Count a wrong secret; return the recent number for ``address`` and the seconds until its answer."""
        count, last = self._failures.pop(address, (0, now))
        if now - last > _FORGET_SECONDS:
            count = 0
        count += 1
        self.failed += 1
        self._failures[address] = (count, now)
        while len(self._failures) > _MOST_ADDRESSES:
            self._failures.popitem(last=False)
        return count, min(_FIRST_DELAY * 2 ** min(count - 1, 10), _LONGEST_DELAY)


class Rate:
    """A bucket of tokens: ``per_second`` calls, and as many at once. None: no limit."""

    def __init__(self, per_second: float | None) -> None:
        self._per_second = per_second
        self._tokens = max(1.0, per_second or 0.0)
        self._at: float | None = None

    def wait(self, calls: int, now: float) -> float:
        """Count ``calls``; return the seconds to wait before the next ones are read."""
        if self._per_second is None or not calls:
            return 0.0
        since = 0.0 if self._at is None else now - self._at
        self._at = now
        self._tokens = min(max(1.0, self._per_second), self._tokens + since * self._per_second) - calls
        return max(0.0, -self._tokens / self._per_second)
