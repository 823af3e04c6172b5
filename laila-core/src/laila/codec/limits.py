"""Bounds that keep hostile rows from hanging or crashing the interpreter.

Rows refer to earlier rows, so a few hundred bytes can describe a value that is endless to hash or to print,
or nested so deep that freeing it overflows the C stack. Encoding keeps the same bounds: what is written can
be read.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain
from sys import getsizeof

from laila.codec.plain import ATOMS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["MAX_NESTING", "KeyBudget"]

MAX_NESTING = 500
"""How deep values may nest that Python frees or hashes by recursion in C, such as slices and deques."""
_MAX_WORK = 50_000_000
"""How many fields all keys of a payload may have to hash: about a second's work."""
_MAX_EQUAL = 1000
"""How many keys of one mapping may have the same hash: each is compared with all others."""
_OBJECT_WORK = 20
_WIDE = 64
_CHEAP = ATOMS - {int}
_TUPLES = {tuple}


class KeyBudget:
    """What hashing the keys and members of one payload may cost. One for each walk.

    ``fields_of`` gives the fields of an instance of a registered class, whose hash may depend on them, or
    None for any other value.
    """

    __slots__ = ("_depth", "_fields_of", "_left", "_work")

    def __init__(self, fields_of: Callable[[object], Iterable[object] | None]) -> None:
        self._fields_of = fields_of
        self._left = _MAX_WORK
        # By id: what is in them lives as long as the walk.
        self._work: dict[int, int] = {}
        self._depth: dict[int, int] = {}

    def check(self, keys: Sequence[object]) -> None:
        """Raise ``ValueError`` when ``keys`` cannot be hashed, or not be told apart, in reasonable time."""
        kinds = set(map(type, keys))
        if kinds <= _CHEAP or (kinds <= ATOMS and _widest(keys, kinds) <= _WIDE):
            return
        self._left -= (kinds == _TUPLES and _flat_work(keys)) or sum(map(self._work_of, keys))
        if self._left < 0:
            raise ValueError("keys that take too long to hash")
        if len(keys) > _MAX_EQUAL:
            ((_, most),) = Counter(map(hash, keys)).most_common(1)
            if most > _MAX_EQUAL:
                raise ValueError(f"{most} keys of one hash")

    def _work_of(self, key: object) -> int:
        """The work of hashing ``key``, everything in it counted as often as it is hashed."""
        work, depths = self._work, self._depth
        opened: set[int] = set()
        stack = [key]
        while stack:
            value = stack[-1]
            if id(value) in work:
                stack.pop()
                continue
            fields, total = self._parts(value)
            todo = []
            depth = 0
            for field in fields:
                kind = type(field)
                if kind in _CHEAP:
                    total += 1
                elif id(field) in work:
                    total += work[id(field)]
                    depth = max(depth, depths[id(field)])
                elif id(field) not in opened:  # else an object that contains itself: it is refused elsewhere
                    todo.append(field)
            if todo and id(value) not in opened:
                opened.add(id(value))
                stack += todo
                continue
            if depth >= MAX_NESTING:
                raise ValueError(f"a key nested more than {MAX_NESTING} deep")
            work[id(value)] = min(total, _MAX_WORK + 1)
            depths[id(value)] = depth + 1
            stack.pop()
        return work[id(key)]

    def _parts(self, value: object) -> tuple[Iterable[object], int]:
        """The fields that the hash of ``value`` may depend on, and the work besides theirs."""
        if isinstance(value, tuple):
            return tuple.__getitem__(value, slice(None)), 1  # past what a subclass makes of it
        if type(value) is slice:
            return (value.start, value.stop, value.step), 1
        fields = self._fields_of(value)
        if fields is not None:
            return fields, _OBJECT_WORK
        if type(value).__name__ == "Fraction":
            return (value.numerator, value.denominator), 1  # type: ignore[attr-defined]
        # Large numbers are hashed anew each time; the rest keeps its hash, or is small.
        return (), 1 + (getsizeof(value, 0) >> 5)


def _widest(values: Iterable[object], kinds: set[type]) -> int:
    """The bits of the largest int among ``values``."""
    ints = values if kinds == {int} else (value for value in values if type(value) is int)
    return max(map(int.bit_length, ints))  # type: ignore[arg-type]  # ints, as was seen


def _flat_work(keys: Sequence[object]) -> int:
    """The work of hashing tuples when they hold nothing but short atoms, as most do; else 0."""
    tuples: Sequence[tuple[object, ...]] = keys  # type: ignore[assignment]  # as the caller saw
    kinds = set(map(type, chain.from_iterable(tuples)))
    if kinds <= _CHEAP or (kinds <= ATOMS and _widest(chain.from_iterable(tuples), kinds) <= _WIDE):
        return len(keys) + sum(map(len, tuples))
    return 0
