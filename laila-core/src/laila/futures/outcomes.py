"""The outcomes of a batch: one task, many items, each with a value or an error of its own."""

from __future__ import annotations

from laila.errors import TaskForceError
from laila.futures.failure import Failure, Watched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from laila.futures.failure import Telling

__all__ = ["Outcomes", "checked"]


class ItemFailure(Failure):
    """The error of one item; that nobody looked at it is said once for the whole batch."""

    __slots__ = ()

    def watch(self) -> None:
        """Leave the telling to the batch."""


class Outcomes:
    """The outcomes in order: a value, or an :class:`ItemFailure`. Never changed."""

    __slots__ = ("values",)

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    @property
    def failures(self) -> list[ItemFailure]:
        """The failures among them, in order."""
        return []


class _WithFailures(Watched, Outcomes):
    """Outcomes with failures among them. Apart, so that a batch that succeeded has no finalizer."""

    __slots__ = ("__weakref__", "_failures")

    def __init__(self, values: list[Any]) -> None:
        super().__init__(
            [ItemFailure(value) if isinstance(value, BaseException) else value for value in values]
        )
        self._failures = [value for value in self.values if isinstance(value, ItemFailure)]
        self.watch()

    @property
    def failures(self) -> list[ItemFailure]:
        return self._failures

    def untold(self) -> Telling | None:
        """Return the log line about failures that nobody looked at, one for all of them."""
        unseen = [failure for failure in self._failures if not failure.seen]
        if not unseen:
            return None
        message = f"{len(unseen)} of {len(self.values)} items of a group failed and nobody looked; the first"
        return message, unseen[0].error, unseen[0].traceback

    def hush(self) -> None:
        """Count all of them as looked at."""
        for failure in self._failures:
            failure.seen = True


def outcomes(values: Iterable[Any]) -> Outcomes:
    """Wrap ``values``; an exception instance among them is the failure of its item."""
    values = list(values)
    # By type first: that takes C a few nanoseconds an item.
    if any(issubclass(kind, BaseException) for kind in set(map(type, values))):
        return _WithFailures(values)
    return Outcomes(values)


def checked(count: int, fn: Callable[[], Iterable[Any]]) -> Callable[[], Outcomes]:
    """Return a task that calls ``fn`` for the outcomes of ``count`` items."""

    def run_batch() -> Outcomes:
        settled = outcomes(fn())
        if len(settled.values) != count:
            raise TaskForceError(f"a batch of {count} items gave {len(settled.values)} outcomes")
        return settled

    run_batch.__qualname__ = str(getattr(fn, "__qualname__", "batch"))
    return run_batch
