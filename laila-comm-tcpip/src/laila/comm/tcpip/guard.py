"""Who may try a handshake, and how soon a wrong secret is answered; how fast calls are read. Does no I/O."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["Guard", "Rate"]

_FIRST_DELAY, _LONGEST_DELAY = 0.25, 8.0
_FORGET_SECONDS = 600.0
_MOST_ADDRESSES = 10_000


class Guard:
    """Counts handshakes under way and wrong secrets, by address. Belongs to one event loop."""

    def __init__(self, max_handshakes: int) -> None:
        self._most = max_handshakes
        self._most_of_one = max(1, max_handshakes // 4)
        self._under_way: dict[str, int] = {}
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self.failed = 0
        """How many secrets were wrong since the start."""

    def enter(self, address: str) -> bool:
        """Begin a handshake with ``address``; False where too many are under way."""
        of_one = self._under_way.get(address, 0)
        if of_one >= self._most_of_one or sum(self._under_way.values()) >= self._most:
            return False
        self._under_way[address] = of_one + 1
        return True

    def leave(self, address: str) -> None:
        """End a handshake."""
        self._under_way[address] -= 1
        if not self._under_way[address]:
            del self._under_way[address]

    def wrong(self, address: str, now: float) -> tuple[int, float]:
        """Count a wrong secret: how many ``address`` had lately, and the seconds before it is told so."""
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
        """Count ``calls``, and return the seconds to wait before more are read."""
        if self._per_second is None or not calls:
            return 0.0
        since = 0.0 if self._at is None else now - self._at
        self._at = now
        self._tokens = min(max(1.0, self._per_second), self._tokens + since * self._per_second) - calls
        return max(0.0, -self._tokens / self._per_second)
