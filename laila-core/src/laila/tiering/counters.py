"""The counters of a tier, and a limit for its log lines."""

from __future__ import annotations

from time import monotonic

from laila.locks import mutex

__all__ = ["Throttle", "TierCounter"]

_REPORT_SECONDS = 60.0


class TierCounter:
    """The hits, misses, fills and failures of a tier. Exact under threads."""

    __slots__ = ("failures", "fills", "hits", "misses")

    def __init__(self) -> None:
        self.hits = self.misses = self.fills = self.failures = 0

    def count(self, hits: int, misses: int) -> None:
        """Add to hits and misses."""
        with mutex:
            self.hits += hits
            self.misses += misses

    def count_fills(self, fills: int) -> None:
        """Add to the copies that were kept."""
        with mutex:
            self.fills += fills

    def count_failures(self, failures: int) -> None:
        """Add to the number of items that skipped the tier."""
        with mutex:
            self.failures += failures


class Throttle:
    """Says a thing at once, and then once a minute how often it happened. Not exact under threads."""

    __slots__ = ("_after", "_waiting")

    def __init__(self) -> None:
        self._waiting = 0
        self._after = 0.0

    def due(self, count: int) -> int:
        """Add ``count``; return how many there were since it was last said, 0 where it is too early."""
        now = monotonic()
        self._waiting += count
        if now < self._after:
            return 0
        count, self._waiting, self._after = self._waiting, 0, now + _REPORT_SECONDS
        return count
