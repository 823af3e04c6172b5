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
    from typing import Any

__all__ = ["CHEAP", "MAX_NESTING", "KeyBudget", "work_allowed", "work_of_range"]

MAX_NESTING = 500
"""How deep values may nest that Python frees or hashes by recursion in C, such as slices and deques."""
_LEAST_WORK, _WORK_A_BYTE, _MAX_WORK = 1_000_000, 400, 50_000_000
"""The limit for hashing and comparing the keys of a payload, in fields: so many in any case, so many a byte
of the blob, never more than about a second's work."""
_MAX_EQUAL = 1000
"""How many keys of one mapping may have the same hash: each is compared with all others."""
_WIDE_NUMBER = 512
"""From so many bytes on numbers of different types take quadratic time to compare: one is converted."""
_LIMB = 4  # bytes
_NUMBERS = ("int", "Decimal", "Fraction", "float", "complex")
_OBJECT_WORK = 20
_WIDE = 64
CHEAP = ATOMS - {int}
"""What takes no time to hash: ints of any size are hashed anew each time."""
_TUPLES, _FROZEN = {tuple}, {frozenset}


def work_allowed(nbytes: int) -> int:
    """Return what rows of ``nbytes`` may take to read besides that, in fields that are hashed or compared."""
    return min(_LEAST_WORK + _WORK_A_BYTE * nbytes, _MAX_WORK)


def work_of_range(start: int, stop: int, step: int) -> int:
    """Return what the length of a range takes to find: a division, quadratic in the size of its numbers."""
    length, width = max(start.bit_length(), stop.bit_length()), step.bit_length()
    return (length >> 5) * (width >> 5) >> 3


class KeyBudget:
    """The budget for hashing and comparing the keys and members of one payload. One for each walk.

    ``allowed`` is what :func:`work_allowed` gives; None while the size is not known, as in writing, where
    ``spent`` is looked at in the end.

    ``fields_of`` gives the fields of an instance of a registered class, whose hash may depend on them, or
    None for any other value.
    """

    __slots__ = ("_allowed", "_depths", "_fields_of", "_work", "spent")

    def __init__(
        self, fields_of: Callable[[object], Iterable[object] | None], allowed: int | None = None
    ) -> None:
        self._fields_of = fields_of
        self._allowed = _MAX_WORK if allowed is None else allowed
        self.spent = 0
        # By id: what is in them lives as long as the walk.
        self._work: dict[int, int] = {}
        self._depths: dict[int, int] = {}

    def check(self, keys: Sequence[object]) -> None:
        """Raise ``ValueError`` when ``keys`` cannot be hashed, or not be told apart, in reasonable time."""
        kinds = set(map(type, keys))
        if kinds <= CHEAP or (kinds <= ATOMS and _widest(keys, kinds) <= _WIDE):
            return
        self.spend(self._work_of_all([*keys]) or sum(map(self._work_of, keys)))
        if len(keys) > 1:
            hashes = list(map(hash, keys))
            if len(set(hashes)) < len(keys):
                self._check_equal(keys, hashes)

    def check_each(self, rows: Sequence[Sequence[object]]) -> None:
        """:meth:`check` the keys of many mappings, or the members of many sets."""
        kinds = set(map(type, chain.from_iterable(rows)))
        if kinds <= CHEAP or (kinds <= ATOMS and _widest(chain.from_iterable(rows), kinds) <= _WIDE):
            return
        work = self._work_of_all([*chain.from_iterable(rows)])
        if not work:
            for keys in rows:
                self.check(keys)
            return
        self.spend(work)
        for keys in rows:
            if len(keys) > 1:
                hashes = list(map(hash, keys))
                if len(set(hashes)) < len(keys):
                    self._check_equal(keys, hashes)

    def spend(self, work: int, what: str = "keys that take too long to hash or to compare") -> None:
        """Count ``work``. Raises ``ValueError``, with ``what``, where that is too much."""
        self.spent += work
        if self.spent > self._allowed:
            raise ValueError(what)

    def _check_equal(self, keys: Sequence[object], hashes: Sequence[int]) -> None:
        """Count what keys of one hash cost: each may be compared with each."""
        counts = Counter(hashes)
        for count in counts.values():
            if count > _MAX_EQUAL:
                raise ValueError(f"{count} keys of one hash")
        same: dict[int, list[object]] = {}
        for key, value in zip(keys, hashes, strict=True):
            if counts[value] > 1:
                same.setdefault(value, []).append(key)
        for batch in same.values():
            self.spend(len(batch) ** 2 // 2 * (1 + max(map(self._work_of, batch))))
            wide = [key for key in batch if _holds_wide_numbers(key)]
            if wide:
                limbs = max(_limbs(key) for key in wide)
                self.spend(len(batch) ** 2 // 2 * (limbs * limbs >> 4))

    def _work_of_all(self, keys: list[Any]) -> int:
        """The work of hashing many keys, each object looked at once; 0 where each key must be."""
        work = len(keys)
        kinds = set(map(type, keys))
        if kinds == _TUPLES:
            keys = [*chain.from_iterable(keys)]
            kinds = set(map(type, keys))
            work += len(keys)
        if int in kinds and _widest(keys, kinds) > _WIDE:
            return 0
        if not kinds <= ATOMS:
            others = [key for key in keys if type(key) not in ATOMS]
            if kinds - ATOMS == _FROZEN:
                return work + sum(getsizeof(key) >> 5 for key in others)
            unique = dict(zip(map(id, others), others, strict=True))
            total = {number: self._work_of(key) for number, key in unique.items()}
            if max(map(self._depths.__getitem__, unique)) >= MAX_NESTING:
                raise ValueError(f"a key nested more than {MAX_NESTING} deep")
            work += sum(map(total.__getitem__, map(id, others)))
        return work

    def _work_of(self, key: object) -> int:
        """The work of hashing ``key``, everything in it counted as often as it is hashed."""
        work, depths = self._work, self._depths
        known = work.get(id(key))
        if known is not None:
            return known
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
                if kind in CHEAP:
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
        if type(value) is slice or type(value) is range:
            return (value.start, value.stop, value.step), 1
        fields = self._fields_of(value)
        if fields is not None:
            return fields, _OBJECT_WORK
        name = type(value).__name__
        if name == "CategoricalDtype":
            return (), 20 * len(value.categories)  # type: ignore[attr-defined]  # which it hashes each time
        if name == "Period":
            return (value.freq,), 1  # type: ignore[attr-defined]
        if hasattr(value, "rule_code"):  # an offset of pandas'
            return (), 100 + 100 * len(getattr(value, "holidays", ()))
        if name == "Fraction":
            return (value.numerator, value.denominator), 1  # type: ignore[attr-defined]
        # Large numbers are hashed anew each time; the rest keeps its hash, or is small.
        return (), 1 + (getsizeof(value, 0) >> 5)


def _holds_wide_numbers(key: object) -> bool:
    return _limbs(key) > _WIDE_NUMBER // _LIMB


def _limbs(key: object) -> int:
    """The limbs of the largest number in ``key``, as deep as numbers are in keys that count: three levels."""
    level: list[object] = [key]
    most = 0
    for _ in range(3):
        deeper: list[object] = []
        for value in level[:_MAX_EQUAL]:
            kind = type(value)
            if kind.__name__ in _NUMBERS:
                most = max(most, value.__sizeof__() // _LIMB)
                if kind.__name__ == "Fraction":
                    deeper += (value.numerator, value.denominator)  # type: ignore[attr-defined]
            elif isinstance(value, tuple):
                deeper += value
        level = deeper
    return most


def _widest(values: Iterable[object], kinds: set[type]) -> int:
    """The bits of the largest int among ``values``."""
    ints = values if kinds == {int} else (value for value in values if type(value) is int)
    return max(map(int.bit_length, ints))  # type: ignore[arg-type]  # ints, as was seen
