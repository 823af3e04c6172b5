"""Small values that need no frame of the walk: containers of a few levels, and objects of atoms."""

from __future__ import annotations

from itertools import chain

from msgpack import ExtType

from laila.codec import registry, tags
from laila.codec.invariants import is_doubtful
from laila.codec.plain import ATOMS, pack_each, pack_object, sort_packed
from laila.codec.rows import has_nan, pack_row, reference
from laila.codec.together import Together
from laila.codec.walking import Boxed, KeepRows, Known, is_long
from laila.errors import PayloadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.rows import Row

__all__ = ["FEW", "SHORT", "SMALL", "SMALL_LEVELS", "Shortcuts"]

SHORT = ATOMS - {bytes}
"""Types whose values are atoms of any size."""
SMALL: dict[type, int] = {list: tags.LIST, tuple: tags.TUPLE, dict: tags.DICT}
"""The containers that are looked into, and the tags of their rows."""
SMALL_LEVELS = 3
FEW = 4
_SHORT_OR_TUPLE = SHORT | {tuple}


class Shortcuts(Together):
    """Writes small values at once."""

    def _tuples(self, row: Row) -> dict[int, int] | None:
        """Write all tuples in ``row``, whose other fields are atoms, if these hold nothing but short atoms.

        Returns their rows by id; None, and nothing is done, where one holds something else. This is what most
        tuples come to: they are taken at once, since a step in Python for each costs more than packing it.
        """
        result = [field for field in row if type(field) is tuple]
        unique = dict(zip(map(id, result), result, strict=True))
        if len(unique) < len(result):
            result = [*unique.values()]
        elif len(result) < FEW:
            return None
        fields = set(map(type, chain.from_iterable(result)))
        if not fields <= SHORT or (float in fields and any(x != x for x in chain.from_iterable(result))):
            return None
        try:
            rows: list[Row] = [[tags.TUPLE, *value] for value in result]
            indexes = self._rows.write_merged(rows, pack_each(rows), [True] * len(rows), [0] * len(rows), {})
            known = dict(zip(unique, indexes, strict=True))
        except OverflowError:
            return None
        self.memo.update(known)
        self._alive.append(result)
        return known

    def _small(self, value: Any, kind: type, level: int) -> int | None:
        """Write a list, tuple or dict of atoms, a few levels deep, without frames.

        None for any other, and then what was written is what frames would have written first.
        """
        if id(value) in self.pickled or id(value) in self.active:
            return None
        tag = SMALL[kind]
        row: Row = [tag, *(value if tag != tags.DICT else chain.from_iterable(list(value.items())))]
        depth = 0
        if not SHORT.issuperset(map(type, row)):
            if level == SMALL_LEVELS:
                return None
            if tag == tags.DICT and not SHORT.issuperset(map(type, row[1::2])):
                try:
                    self._check_keys(row)
                except PayloadError:
                    return None  # its frame knows the place
            memo, depths = self.memo, self._rows.depths
            if len(row) > FEW and _SHORT_OR_TUPLE.issuperset(map(type, row)):
                self._tuples(row)  # which are known from then on
            for position, field in enumerate(row):
                kind = type(field)
                if kind in SHORT:
                    continue
                index = memo.get(id(field))
                if index is None:
                    if kind in SMALL:
                        index = self._small(field, kind, level + 1)
                    elif kind is not ExtType and kind is not bytes:
                        index = self._quick(field, kind, level + 1)
                    if index is None:
                        return None
                row[position] = reference(index)
                depth = max(depth, depths[index])
        merge = tag == tags.TUPLE
        if merge and float in map(type, row) and any(field != field for field in row):
            return None
        try:
            packed = pack_row(row)
        except OverflowError:
            return None
        index = self.memo[id(value)] = self._rows.write(row, packed, depth, merge=merge)
        self._alive.append(value)
        return index

    def _quick(self, value: Any, kind: type, level: int = 1) -> int | None:
        """Write an object whose fields are atoms, known, or small containers of atoms, without a frame.

        None for any other; its row, if it was made, is kept for the frame.
        """
        if kind is Boxed:
            return None
        encode: Any = self.encoder_of(value)
        number = id(value)
        if encode not in registry.QUICK or number in self.pickled or number in self.active:
            return None
        try:
            row = self._ready.pop(number, None) or encode(value, self)
            if row[0] in tags.MAPPINGS:
                self._check_keys(row)
        except (MemoryError, KeepRows):
            raise
        except Exception:
            if level == 1:
                raise
            return None  # its frame knows the place
        tag = row[0]
        depth = 0
        if not SHORT.issuperset(map(type, row)):
            memo, depths = self.memo, self._rows.depths
            known: list[tuple[int, int]] = []
            for position, field in enumerate(row):
                kind = type(field)
                if kind in SHORT or (kind is bytes and not is_long(field)):
                    continue
                index = field.index if isinstance(field, Known) else memo.get(id(field))
                if index is None:
                    if kind in SMALL:
                        index = self._small(field, kind, level + 1) if level < SMALL_LEVELS else None
                    elif tag == tags.SUBCLASS and position == tags.ATTRIBUTES[tag] - 1:
                        index = self._quick(field, kind, level)  # the base's part of the value
                    if index is None:
                        row = [Boxed(field) if type(field) is ExtType else field for field in row]
                        for position, index in known:
                            row[position] = Known(index)
                        self._ready[number] = row
                        return None
                known.append((position, index))
                depth = max(depth, depths[index])
            for position, index in known:
                row[position] = reference(index)
        merge = tag in tags.MERGED and not has_nan(row, value)
        try:
            packed = pack_row(row)
        except OverflowError:
            return None
        self.doubtful = self.doubtful or is_doubtful(row)
        index = self.memo[number] = self._rows.write(
            row, packed, depth + (tag not in tags.UNWOUND), merge=merge
        )
        self._alive.append(value)
        return index

    def set_row(self, tag: int, members: set[object] | frozenset[object]) -> Row:
        """The row of a set: atoms in the order of their bytes.

        Then what has rows (ordered by content at the end).
        """
        if SHORT.issuperset(map(type, members)):
            try:
                return [tag, *sort_packed([*members])]
            except OverflowError:
                pass
        atoms: list[tuple[bytes, object]] = []
        others: Row = []
        if ATOMS.isdisjoint(map(type, members)):
            others, members = [*members], frozenset()
        for member in members:
            if type(member) in ATOMS and not is_long(member):
                try:
                    atoms.append((pack_object(member), member))
                    continue
                except OverflowError:
                    pass
            others.append(member)
        if len(others) > 1:
            if not self.keep:
                self.check_keys(others)
                result = self.members([others], others)
                if result is None:
                    raise KeepRows
                others = result[0]
            if self.ordered:
                from laila.codec.signed import order_key

                others.sort(key=order_key)
        return [tag, *_in_order(atoms), *others]


def _in_order(members: list[tuple[bytes, object]]) -> list[object]:
    members.sort(key=lambda pair: pair[0])
    return [member for _, member in members]
