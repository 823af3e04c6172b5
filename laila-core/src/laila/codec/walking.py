"""The notes of a walk about each object on its path, and the exceptions that leave some of them."""

from __future__ import annotations

from itertools import compress
from operator import not_

from laila.codec.plain import ATOMS, INLINE_BYTES
from laila.codec.rows import reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.rows import Row

__all__ = ["Boxed", "Cycle", "Frame", "KeepRows", "Known", "NotALeaf", "is_long"]

_SHORT = ATOMS - {bytes}


class Known:
    """A field that is a row already: the encoder of a type puts it where it knows its index."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


class Boxed:
    """A user's own ``ExtType``, which must not be taken for a reference."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


class KeepRows(Exception):
    """A set of several rows was met: its members must be ordered by content, which needs all rows kept."""


class Cycle(Exception):
    """What is being encoded refers to an object above it: that one, at ``position``, must be pickled."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class NotALeaf(Exception):
    """A row inside a pickle needs a pickle itself, or holds containers."""


class Frame:
    """One object that is being encoded: its row, as far as that is."""

    __slots__ = ("careful", "depth", "known", "left", "numbers", "obj", "pickled", "position", "row", "todo")

    def __init__(self, obj: object, row: Row, position: int) -> None:
        self.obj = obj
        self.row = row
        self.position = position
        self.depth = 0  # the most rows on one path below it that are freed by recursion
        self.careful = False  # set once the packer found an int beyond 64 bits
        # Of a wide row: the rows of its fields, by id; and the positions not looked at yet, last first.
        self.known: dict[int, int] | None = None
        self.todo: list[int] = []
        self.left = 0  # where so many positions are left, those may be tried together again
        self.pickled = 0  # how many objects pickles held when they were tried last
        self.numbers: list[int] | None = None
        """The ids of the fields of a wide row."""

    def widen(self, known: dict[int, int], unique: dict[int, Any]) -> None:
        """Look at each object in the row once, however often it stands there; see :meth:`narrow`.

        ``unique`` are the fields by id, and ``known`` the rows of some.
        """
        row = self.row
        self.known = known
        if _SHORT.issuperset(map(type, map(unique.__getitem__, unique.keys() - known.keys()))):
            self.position = len(row)
            return
        # From the last to the first, so that the first place of each object is what remains.
        places = dict(zip(map(id, reversed(row)), range(len(row) - 1, 0, -1), strict=False))
        lacking = compress(unique.items(), map(not_, map(_SHORT.__contains__, map(type, unique.values()))))
        self.todo = [
            places[number]
            for number, field in lacking
            if number not in known and number in places and (type(field) is not bytes or is_long(field))
        ]
        self.todo.sort(reverse=True)

    def narrow(self) -> None:
        """Put references into a wide row, as other rows have them."""
        known, self.known = self.known, None
        if known is not None:
            numbers = map(known.get, map(id, self.row))
            self.row = [
                field if number is None else reference(number)
                for field, number in zip(self.row, numbers, strict=True)
            ]


def is_long(field: object) -> bool:
    """Whether ``field`` is bytes that are so many that they are a buffer."""
    return type(field) is bytes and len(field) >= INLINE_BYTES
