"""Single flight: what is being fetched for one tier, and which of it may still be kept when it arrives.

A *flight* is one fetch of one key that is missing in the tier; every thread that misses the key waits for it.
A *renewal* is one read past the tier (``refresh=True``), of keys that the tier may have. What arrives is kept
only where nothing overtook it meanwhile: no store, no delete, no other renewal of the same key.
"""

from __future__ import annotations

from _thread import get_ident
from threading import Event

from laila.futures.waiting import threads_that_wait
from laila.locks import mutex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from laila.blob.blob import Blob

    Found = Blob | BaseException | None

__all__ = ["Flight", "Flights", "Renewal"]

_LOOK_SECONDS = 0.1


class Flight:
    """One fetch of one key."""

    __slots__ = ("done", "fill", "found", "thread")

    def __init__(self) -> None:
        self.done = Event()
        self.fill = True
        """Cleared when the key is stored, deleted or renewed meanwhile: what arrives must not be kept."""
        self.found: Found = None
        self.thread = get_ident()

    def wait(self) -> bool:
        """Wait for the end; False where that may never come.

        A signal handler or destructor may have interrupted the very fetch, and may wait for whoever asks.
        """
        while not self.done.wait(_LOOK_SECONDS if self.thread != get_ident() else 0):
            if self.thread == get_ident() or self.thread in threads_that_wait:
                return False
        return True


class Renewal:
    """One read of ``keys`` past the tier; ``kept`` are those whose blob may replace the tier's copy."""

    __slots__ = ("kept", "keys")

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = frozenset(keys)
        self.kept = set(self.keys)


class Flights:
    """The flights and renewals of one tier. Thread-safe; no method waits for anything but its short lock."""

    __slots__ = ("_renewals", "_under_way")

    def __init__(self) -> None:
        self._under_way: dict[str, Flight] = {}
        self._renewals: list[Renewal] = []

    def join(self, keys: Iterable[str], mine: dict[str, Flight]) -> dict[str, Flight]:
        """Return the flights under way for ``keys``; the others begin here and are put into ``mine``.

        ``mine`` is the caller's, who must :meth:`land` it whatever happens, an interruption of this very
        call included.
        """
        theirs: dict[str, Flight] = {}
        with mutex:
            for key in keys:
                flight = self._under_way.get(key)
                if flight is None:
                    mine[key] = self._under_way[key] = Flight()
                else:
                    theirs[key] = flight
        return theirs

    def finish(self, mine: dict[str, Flight]) -> None:
        """End flights and wake who waits for them."""
        with mutex:
            for key, flight in mine.items():
                if self._under_way.get(key) is flight:
                    del self._under_way[key]
        for flight in mine.values():
            flight.done.set()

    def overtake(self, keys: Collection[str]) -> None:
        """Say that ``keys`` are stored or deleted now: what is being fetched of them is not to be kept."""
        if not self._under_way and not self._renewals:  # what begins after this reads what is there now
            return
        with mutex:
            self._void(keys)
            for renewal in self._renewals:
                renewal.kept.difference_update(keys)

    def begin(self, keys: Collection[str]) -> Renewal:
        """Begin a renewal. Of two at once nobody knows which read the later content: neither is kept."""
        renewal = Renewal(keys)
        with mutex:
            for other in self._renewals:
                both = other.keys & renewal.keys
                other.kept -= both
                renewal.kept -= both
            self._renewals.append(renewal)
        return renewal

    def end(self, renewal: Renewal) -> set[str]:
        """End a renewal and return the keys whose blob may be kept; older flights of its keys may not."""
        with mutex:
            if renewal in self._renewals:  # it may be ended twice, so that it certainly is once
                self._renewals.remove(renewal)
                self._void(renewal.keys)
        return renewal.kept

    def _void(self, keys: Iterable[str]) -> None:
        for key in keys:
            if (flight := self._under_way.get(key)) is not None:
                flight.fill = False
