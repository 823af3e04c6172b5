"""Objects that share memory in a way that no row says: they come back apart, and that is told once.

A write to one was seen in the other, and is not any more: an array of Python objects and a view of it, an
array and a tensor over one memory, an array and the bytearray that it is made of.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Range = tuple[int, int, object]

__all__ = ["tell", "tell_of_memory"]

_told: set[str] = set()


def tell_of_memory(root: object, first: Iterable[Range], second: Iterable[Range], what: str) -> None:
    """Say once of ``what`` that one object of each kind lies in the same memory.

    A range is the first address, the one after the last, and the object that is there.
    """
    if what in _told:
        return
    ranges = [(*result, number) for number, several in enumerate((first, second)) for result in several]
    ranges.sort(key=lambda result: result[:2])
    ends = [0, 0]
    latest: list[object] = [None, None]
    for low, high, obj, number in ranges:
        other = 1 - number
        if low < ends[other]:
            tell(root, latest[other], obj, what)
            return
        if high > ends[number]:
            ends[number], latest[number] = high, obj


def tell(root: object, first: object, other: object, what: str) -> None:
    """Say once of ``what`` that two objects come back apart."""
    if what in _told:
        return
    _told.add(what)
    from laila.codec.parts import path_to
    from laila.showing import logger

    logger("laila.codec").warning(
        "%s and %s share memory, and come back apart: %s are stored each by itself, and a write to one will "
        "not be seen in the other. Store one of them, and make the other from it anew.",
        path_to(root, first) or "an object",
        path_to(root, other) or "another",
        what,
    )
