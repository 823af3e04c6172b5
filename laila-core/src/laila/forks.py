"""The first steps of a forked child. It has only the forking thread: locks of others stay held."""

from __future__ import annotations

import os
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    F = TypeVar("F", bound=Callable[[], object])

__all__ = ["Renewed", "after_fork"]

T = TypeVar("T")


def after_fork(function: F) -> F:
    """Have a function called in each forked child; functions are called in the order of these calls.

    Args:
        function: Takes no arguments. What it raises is printed, and the child goes on.

    Returns:
        The function, so that this is a decorator.
    """
    os.register_at_fork(after_in_child=function)
    return function


class Renewed(Generic[T]):
    """Objects that are renewed in each forked child, as long as they live. Thread-safe.

    Kept by identity: components of one nickname are equal.
    """

    def __init__(self, renew: Callable[[T], object]) -> None:
        """Begin without objects.

        Args:
            renew: Called with each object in a forked child, where no other thread runs.
        """
        self._renew = renew
        self._objects: WeakValueDictionary[int, T] = WeakValueDictionary()
        after_fork(self._renew_all)

    def add(self, item: T) -> None:
        """Have an object renewed.

        Args:
            item: The object, which is not kept alive.
        """
        self._objects[id(item)] = item

    def __iter__(self) -> Iterator[T]:
        """Give the objects that live now."""
        return iter(list(self._objects.values()))

    def _renew_all(self) -> None:
        for item in self:
            self._renew(item)
