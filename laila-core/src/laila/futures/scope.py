"""The scope of a guarantee: which futures belong to it.

One context variable holds the innermost scope. Whatever hands out a future calls :func:`register`, which
costs one look-up where there is no guarantee.
"""

from __future__ import annotations

from contextvars import ContextVar

from laila.locks import mutex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from laila.futures.future import Future
    from laila.futures.group import GroupFuture

    AnyFuture: TypeAlias = "Future[Any] | GroupFuture[Any]"

__all__ = ["Scope", "current_scope", "register"]

_PRUNE_AT = 1024


class Scope:
    """The futures created in one guarantee, in the order of their creation. Safe to share between threads."""

    __slots__ = ("_futures", "_prune_at", "_pruned", "closed", "outer")

    def __init__(self, outer: Scope | None) -> None:
        self.outer = outer
        self.closed = False
        self._futures: list[AnyFuture] = []
        self._prune_at = _PRUNE_AT
        self._pruned = 0

    def add(self, future: AnyFuture) -> None:
        """Make ``future`` belong to this scope; to the one around it when this one is over."""
        scope: Scope | None = self
        while scope is not None and scope.closed:
            scope = scope.outer
        if scope is not None:
            scope._add(future)

    def _add(self, future: AnyFuture) -> None:
        with mutex:
            self._futures.append(future)
            if len(self._futures) >= self._prune_at:  # a long scope need not keep what is over and well
                kept = []
                for member in self._futures:
                    if member.finished():
                        self._pruned += member._count
                    else:
                        kept.append(member)
                self._futures = kept
                self._prune_at = max(_PRUNE_AT, 2 * len(self._futures))

    def snapshot(self) -> list[AnyFuture]:
        """Return the futures that belong to this scope now, except some that have succeeded."""
        with mutex:
            return self._futures[:]

    def pending(self) -> list[AnyFuture]:
        """Return those that have not settled."""
        return [future for future in self.snapshot() if not future._is_settled()]

    def progress(self) -> tuple[int, int]:
        """Return how many have settled, and how many there are; a group counts with its children."""
        with mutex:
            futures, total = self._futures[:], self._pruned
        done = total
        for future in futures:
            total += future._count
            done += future._settled_count()
        return done, total

    def close(self) -> None:
        """End the scope. What has not settled, after a wait that ended early, goes to the scope around it."""
        self.closed = True
        for future in self.pending() if self.outer is not None else ():
            self.add(future)


_scope: ContextVar[Scope | None] = ContextVar("laila_guarantee", default=None)


def current_scope() -> Scope | None:
    """Return the innermost scope of this context, or None."""
    return _scope.get()


def set_scope(scope: Scope | None) -> None:
    """Make ``scope`` the innermost one of this context."""
    _scope.set(scope)


def register(future: AnyFuture) -> None:
    """Make ``future`` belong to the innermost guarantee of this context, if there is one."""
    scope = _scope.get()
    if scope is not None:
        scope.add(future)
