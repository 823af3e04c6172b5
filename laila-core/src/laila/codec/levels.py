"""Two graphs of objects compared a level at a time: most payloads then need no walk.

Objects of one class that lie on one level are compared together: their contents and attributes become
columns, which are compared in C where they hold plain values, and are the next level where not. Values
without columns, for example sets, are compared alone by :mod:`laila.codec.graphs`. This module does not know
places: if two graphs may differ, :func:`laila.codec.graphs.difference` says what differs, and where.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from itertools import chain, repeat
from operator import is_

from laila.codec.equality import equal_flat
from laila.codec.graphs import MISSING, Comparison
from laila.codec.matching import MERGED, NOTHING, plan_of
from laila.codec.parts import FLAT, dict_of, slots_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Column = tuple[list[Any], list[Any]]
    Take = Callable[[Any], Any]

__all__ = ["alike"]

_FEW = 4
_VALUES: tuple[tuple[type, Take], ...] = ((str, str.__str__), (int, int.__int__), (float, float.__float__))
_LINKS = ("args", "__cause__", "__context__", "__suppress_context__")
_HASH = "_attrs_cached_hash"  # which is forgotten when it is stored


def alike(given: object, read: object, *, deep: bool = False) -> bool:
    """Whether :func:`~laila.codec.graphs.difference` finds nothing; False where it must look itself."""
    return _Levels(deep).run([given], [read])


@lru_cache(maxsize=4096)
def _has_columns(kind: Any) -> bool:
    """Whether objects of a ``kind`` are compared together."""
    content, state, _, _ = plan_of(kind)
    if state not in (None, "_fields", "_kept") or hasattr(kind, "default_factory"):
        return False
    if content == "_sequence":
        return issubclass(kind, (list, tuple))
    if content == "_values":
        return issubclass(kind, (str, int, float))
    return content in (None, "_mapping", "_exceptions")


class _Levels(Comparison):
    """One comparison: the columns of the next level, and what was compared already."""

    def __init__(self, deep: bool) -> None:
        super().__init__(deep)
        self._pairs: set[tuple[int, int]] = set()
        self._below: list[Column] = []

    def run(self, mine: list[Any], its: list[Any]) -> bool:  # type: ignore[override]  # of columns
        level: list[Column] = [(mine, its)]
        while level:
            self._below = []
            if not all(self._column(*column) for column in level):
                return False
            if self._doubtful:
                if any(other is MISSING for _, other, *_ in self._doubtful):
                    return False
                self._below.append(([a for a, *_ in self._doubtful], [b for _, b, *_ in self._doubtful]))
                self._doubtful.clear()
            if self._todo:
                self._below.append(([a for a, _, _ in self._todo], [b for _, b, _ in self._todo]))
                self._todo.clear()
            level = self._below
        return True

    def _column(self, mine: list[Any], its: list[Any]) -> bool:
        """Compare two columns of as many objects; False where something differs, or may."""
        kinds = set(map(type, mine))
        if len(kinds) == 1:
            (kind,) = kinds
            return equal_flat(mine, its) if kind in FLAT else self._group(kind, mine, its)
        if kinds <= FLAT:
            return equal_flat(mine, its)
        groups: dict[Any, Column] = {}
        for a, b in zip(mine, its, strict=True):
            if a is not b:
                kind = type(a)
                some = groups.get(kind if kind not in FLAT else None)
                if some is None:
                    some = groups[kind if kind not in FLAT else None] = [], []
                some[0].append(a)
                some[1].append(b)
        return all(
            equal_flat(mine, its) if kind is None else self._group(kind, mine, its)
            for kind, (mine, its) in groups.items()
        )

    def _group(self, kind: Any, mine: list[Any], its: list[Any]) -> bool:
        """Compare objects of one class with as many others."""
        plan = plan_of(kind)
        if len(mine) > _FEW and all(map(is_, mine, repeat(mine[0]))) and all(map(is_, its, repeat(its[0]))):
            mine, its = mine[:1], its[:1]  # one object, as often
        others = set(map(type, its))
        if plan is NOTHING and others == {kind}:
            return True
        count = len(mine)
        if count < _FEW or others != {kind} or not _has_columns(kind):
            if count >= _FEW and all(map(is_, mine, its)):
                return True
            several: Any = zip(mine, its, strict=True)
            if count > _FEW:  # each pair once, however often it comes
                pairs = zip(map(id, mine), map(id, its), strict=True)
                several = dict(zip(pairs, several, strict=True)).values()
            return all(a is b or self._same(a, b, kind, plan) for a, b in several)
        if all(map(is_, mine, its)):
            return True
        mine, its, new = self._unseen(kind, mine, its, counts=plan[2])
        if not new or not mine:
            return new
        content, state, _, _ = plan
        return (content is None or self._contents(kind, content, mine, its)) and (
            state is None or self._states(kind, mine, its)
        )

    def _same(self, a: Any, b: Any, kind: Any, plan: Any) -> bool:
        pair = id(a), id(b)
        if not plan[3]:  # else it is remembered by the comparison itself
            if pair in self._pairs:
                return True
            self._pairs.add(pair)
            self._alive.append((a, b))
        return self._compare(a, b, kind, plan, None) is None

    def _unseen(
        self, kind: Any, mine: list[Any], its: list[Any], *, counts: bool
    ) -> tuple[list[Any], list[Any], bool]:
        """Those pairs that were not compared yet, each once; and whether one object stayed one."""
        numbers = list(map(id, mine))
        if counts:
            there, back = self._there, self._back
            found = dict(zip(numbers, its, strict=True))
            if len(found) < len(mine):
                if not all(map(is_, map(found.__getitem__, numbers), its)):
                    return mine, its, False
                mine, its = list(dict(zip(numbers, mine, strict=True)).values()), list(found.values())
            if not there.keys().isdisjoint(found):
                left = []
                for a, b in zip(mine, its, strict=True):
                    known = there.get(id(a), self)
                    if known is self:
                        left.append((a, b))
                    elif known is not b:
                        return mine, its, False
                mine, its = [a for a, _ in left], [b for _, b in left]
                found = {id(a): b for a, b in left}
            if kind in MERGED:
                others = list(map(id, its))
                if len(set(others)) < len(others) or not back.keys().isdisjoint(others):
                    return mine, its, False
                back.update(zip(others, mine, strict=True))
            there.update(found)
        else:
            both = zip(numbers, map(id, its), strict=True)
            pairs = dict(zip(both, zip(mine, its, strict=True), strict=True))
            left = [two for pair, two in pairs.items() if pair not in self._pairs]
            if len(left) < len(mine):
                mine, its = [a for a, _ in left], [b for _, b in left]
            self._pairs.update(pairs)
        self._alive.append((mine, its))
        return mine, its, True

    def _contents(self, kind: Any, content: str, mine: list[Any], its: list[Any]) -> bool:
        if content == "_values":
            take = next(take for base, take in _VALUES if issubclass(kind, base))
            return equal_flat(list(map(take, mine)), list(map(take, its)))
        if content == "_exceptions":
            for name in _LINKS:
                self._put([getattr(a, name) for a in mine], [getattr(b, name) for b in its])
            return True
        if content == "_sequence":
            base: Any = list if issubclass(kind, list) else tuple
            if list(map(base.__len__, mine)) != list(map(base.__len__, its)):
                return False
            self._put(
                [*chain.from_iterable(map(base.__iter__, mine))],
                [*chain.from_iterable(map(base.__iter__, its))],
            )
            return True
        return self._mappings(OrderedDict if issubclass(kind, OrderedDict) else dict, mine, its)

    def _mappings(self, base: Any, mine: list[Any], its: list[Any]) -> bool:
        """Whether as many mappings have the same number of keys; keys and values are the next level."""
        if list(map(dict.__len__, mine)) != list(map(dict.__len__, its)):
            return False
        if base is OrderedDict:  # which is slow to walk
            own, others = (
                [*chain.from_iterable(chain.from_iterable(map(OrderedDict.items, some)))]
                for some in (mine, its)
            )
            self._put(own[::2], others[::2])
            self._put(own[1::2], others[1::2])
            return True
        keys, values = base.keys, base.values
        self._put([*chain.from_iterable(map(keys, mine))], [*chain.from_iterable(map(keys, its))])
        self._put([*chain.from_iterable(map(values, mine))], [*chain.from_iterable(map(values, its))])
        return True

    def _states(self, kind: Any, mine: list[Any], its: list[Any]) -> bool:
        """Compare attributes: those in ``__dict__`` as mappings, and each slot as a column."""
        for name, slot in slots_of(kind):
            if name == _HASH:
                return False
            try:
                self._put(list(map(slot.__get__, mine)), list(map(slot.__get__, its)))
            except AttributeError:
                return False  # it is not set
        give = dict_of(kind) if kind.__dictoffset__ else None
        if give is None:
            return True
        own, others = list(map(give, mine)), list(map(give, its))
        if not any(own) and not any(others):
            return True
        if {dict} != set(map(type, own)) or {dict} != set(map(type, others)):
            return False
        names = [*chain.from_iterable(own)]
        if names != [*chain.from_iterable(others)] or {str} != set(map(type, names)) or _HASH in names:
            return False  # in another order, perhaps
        found = dict(zip(map(id, own), others, strict=True))
        back = dict(zip(map(id, others), own, strict=True))
        if min(len(found), len(back)) < len(own):
            return False  # two of them share it
        if not self._there.keys().isdisjoint(found) or not self._back.keys().isdisjoint(back):
            return False  # another object shares it
        self._there.update(found)
        self._back.update(back)
        self._dicts.update(found)
        return self._mappings(dict, own, others)

    def _several(self, mine: list[Any], its: list[Any], trail: object, steps: object) -> None:
        self._put(mine, its)

    def _put(self, mine: list[Any], its: list[Any]) -> None:
        if mine:
            self._below.append((mine, its))
