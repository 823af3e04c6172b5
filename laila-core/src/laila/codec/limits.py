"""Bounds that keep hostile rows from hanging or crashing the interpreter.

Rows refer to earlier rows, so a few hundred bytes can describe a value that is endless to hash or to print,
or nested so deep that freeing it overflows the C stack. Encoding keeps the same bounds: what is written can
be read.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain

from laila.codec.plain import ATOMS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["MAX_NESTING", "KeyBudget", "shown"]

MAX_NESTING = 10_000
"""How deep rows may nest. Some types (deque, slice, numpy's arrays of objects) are freed recursively, in C."""
_MAX_WORK = 50_000_000
"""How many fields all keys of a payload may have to hash: about a second's work."""
_MAX_EQUAL = 1000
"""How many keys of one mapping may have the same hash: each is compared with all others."""
_OBJECT_WORK = 20
_LARGE = 1 << 64


def shown(value: object) -> str:
    """``value`` as an error may show it: short, and without a walk through what it contains."""
    kind = type(value)
    if kind in (str, bytes):
        return repr(value[:80])  # type: ignore[index]
    if kind is int and not -_LARGE < value < _LARGE:  # type: ignore[operator]
        return "<a large int>"
    return repr(value) if kind in ATOMS else f"<{kind.__name__}>"


class KeyBudget:
    """What hashing the keys and members of one payload may cost. One for each walk.

    ``fields_of`` gives the fields of an instance of a registered class, whose hash may depend on them, or
    None for any other value.
    """

    __slots__ = ("_fields_of", "_left", "_work")

    def __init__(self, fields_of: Callable[[object], Iterable[object] | None]) -> None:
        self._fields_of = fields_of
        self._left = _MAX_WORK
        self._work: dict[int, int] = {}  # by id; what is in it lives as long as the walk

    def check(self, keys: Sequence[object]) -> None:
        """Raise ``ValueError`` when ``keys`` cannot be hashed, or not be told apart, in reasonable time."""
        self._left -= self._flat(keys) or sum(map(self._work_of, keys))
        if self._left < 0:
            raise ValueError("keys that take too long to hash")
        if len(keys) > _MAX_EQUAL:
            ((_, most),) = Counter(map(hash, keys)).most_common(1)
            if most > _MAX_EQUAL:
                raise ValueError(f"{most} keys of one hash")

    @staticmethod
    def _flat(keys: Sequence[object]) -> int:
        """The fields of all ``keys`` if these are tuples of short atoms, as most are; else 0."""
        if set(map(type, keys)) != {tuple}:
            return 0
        kinds = set(map(type, chain.from_iterable(keys)))  # type: ignore[arg-type]  # tuples, as was seen
        return sum(map(len, keys)) + len(keys) if kinds <= ATOMS - {int} else 0  # type: ignore[arg-type]

    def _work_of(self, key: object) -> int:
        work = self._work
        stack = [key]
        while stack:
            value = stack[-1]
            if id(value) in work:
                stack.pop()
                continue
            if isinstance(value, tuple):
                fields: Iterable[object] = value
                total = 1
            elif type(value) is slice:
                fields = (value.start, value.stop, value.step)
                total = 1
            else:
                found = self._fields_of(value)
                fields = () if found is None else tuple(found)
                total = _size(value) if found is None else _OBJECT_WORK
            todo = []
            for field in fields:
                kind = type(field)
                if kind in _CHEAP:
                    total += 1
                elif kind is int:
                    total += 1 + (field.bit_length() >> 8)  # type: ignore[attr-defined]
                elif id(field) in work:
                    total += work[id(field)]
                else:
                    todo.append(field)
            if todo:
                stack += todo
                continue
            work[id(value)] = min(total, _MAX_WORK + 1)
            stack.pop()
        return work[id(key)]


_CHEAP = ATOMS - {int}


def _size(value: object) -> int:
    """The work of hashing a value without fields: large numbers are hashed anew each time."""
    numbers = (value,) if type(value) is int else ()
    if type(value).__name__ == "Fraction":
        numbers = (value.numerator, value.denominator)  # type: ignore[attr-defined]
    return 1 + sum(number.bit_length() >> 8 for number in numbers) + (value.__sizeof__() >> 8)
