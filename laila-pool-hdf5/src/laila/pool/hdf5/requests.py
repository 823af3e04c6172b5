"""Changes that threads want to commit: changes of several threads can share one transaction.

A commit costs what its syncs cost, however much is in it. So while one thread commits, the others leave their
changes here. The next thread commits all changes about other keys than its own together with its own.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from laila.pool.hdf5.poolfile import Transaction

__all__ = ["Request", "Requests"]


class Request:
    """A change that a thread waits for, until that thread or another one has committed it."""

    __slots__ = ("alone", "change", "done", "keys", "result")

    def __init__(self, change: Callable[[Transaction], Any], keys: frozenset[str] | None) -> None:
        self.change = change
        self.keys = keys  # None: every key
        self.alone = keys is None  # shares its transaction with no other
        self.done = False
        self.result: Any = None


class Requests:
    """The waiting requests. Any thread adds its own; only the writing thread uses the other methods."""

    def __init__(self) -> None:
        self._waiting: dict[Request, None] = {}  # each step on it is atomic

    @contextmanager
    def add(self, change: Callable[[Transaction], Any], keys: frozenset[str] | None) -> Iterator[Request]:
        """Offer a change for the length of the body."""
        request = Request(change, keys)
        self._waiting[request] = None
        try:
            yield request
        finally:
            self._waiting.pop(request, None)

    def that_go_with(self, request: Request) -> list[Request]:
        """Return ``request`` and the requests that can share its transaction."""
        together = [request]
        if not request.alone and request.keys is not None:
            keys = set(request.keys)
            for other in list(self._waiting):
                if other is request or other.alone or other.keys is None or not keys.isdisjoint(other.keys):
                    continue
                keys |= other.keys
                together.append(other)
        return together

    def done(self, requests: list[Request]) -> None:
        """Note that ``requests`` are committed, and have their results."""
        for request in requests:
            self._waiting.pop(request, None)
            request.done = True
