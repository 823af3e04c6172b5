"""Many values of one container encoded together: a step in Python for each costs more than all the rest.

The values of a wide row are taken a type at a time, with their contents, some levels down. Their fields
become columns, and runs of rows (:mod:`laila.codec.runs`). Equal immutable values are merged, as they are
always. The walk, which knows places and cycles, takes odd values and values that hold others.

The choice and order of these values depend on contents alone, never on which equal immutable values are one
object: equal payloads have equal trees.
"""

from __future__ import annotations

from itertools import chain, compress, islice, repeat, zip_longest
from operator import is_, not_

from msgpack import ExtType

from laila.codec import registry, tags
from laila.codec.classruns import COLUMNS
from laila.codec.invariants import any_doubtful
from laila.codec.plain import ATOMS, INLINE_BYTES, pack_each, pack_object, sort_packed
from laila.codec.recorder import Recorder
from laila.codec.rows import all_referring, content_hash, has_nan, hashes_of, pack_row, referring
from laila.codec.runs import FEWEST, Columns, packed_column, run_row
from laila.codec.walking import Boxed, Known

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from laila.codec.registry import EncodeFunction
    from laila.codec.rows import Row

__all__ = ["Together"]

_SHORT = ATOMS - {bytes}
_LEVELS = 8
_DEEP = 100
_SHALLOW = 4
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 64) - 1


class Together(Recorder):
    """Functions that take many values at once."""

    def write_many(
        self, fields: Sequence[Any], level: int = 0, unique: dict[int, Any] | None = None
    ) -> dict[int, int]:
        """Write those fields that can be; return, by id, the rows of these, and of what has one already.

        ``unique`` are the fields by id, where the caller has them so.
        """
        kinds = set(map(type, fields))
        if kinds <= ATOMS:
            return {}
        if unique is not None and 2 * len(unique) < len(fields):
            fields = [*unique.values()]
        groups: dict[type, dict[int, Any]] = {}
        others = kinds - ATOMS
        if len(others) == 1:
            (kind,) = others
            batch = fields
            if len(kinds) > 1:
                batch = [*compress(fields, map(is_, map(type, fields), repeat(kind)))]
            groups[kind] = dict(zip(map(id, batch), batch, strict=True))
        else:
            for field in fields:
                kind = type(field)
                if kind not in ATOMS:
                    group = groups.get(kind)
                    if group is None:
                        group = groups[kind] = {}
                    group[id(field)] = field
        known: dict[int, int] = {}
        for kind, group in groups.items():
            known.update(self._write_group(kind, group, level))
        return known

    def _ints(self, fields: Iterable[Any]) -> dict[int, int]:
        """Write all ints that have more than 64 bits, but not those so long that they are buffers."""
        result = [field for field in fields if type(field) is int and not _INT_MIN <= field <= _INT_MAX]
        if max(map(int.bit_length, result), default=0) >= 8 * INLINE_BYTES - 8:
            result = [value for value in result if value.bit_length() < 8 * INLINE_BYTES - 8]
        unique = dict.fromkeys(result)
        indexes = dict(zip(unique, self._rows.write_ints([*unique]), strict=True))
        self.keep_alive(result)
        return dict(zip(map(id, result), map(indexes.__getitem__, result), strict=True))

    def _write_group(self, kind: Any, group: dict[int, Any], level: int) -> dict[int, int]:
        """Write objects of one type, rows by their ids."""
        if kind is Known:
            return {number: field.index for number, field in group.items()}
        if kind is Boxed or kind is ExtType:
            return {}
        encoder: Any = self
        pickled, active, memo = encoder.pickled, encoder.active, encoder.memo
        if pickled and not pickled.keys().isdisjoint(group):
            held = self._held([value for number, value in group.items() if number in pickled])
            group = {number: value for number, value in group.items() if number not in pickled}
            return held | self._write_group(kind, group, level) if group else held
        if not active.keys().isdisjoint(group):
            group = {number: value for number, value in group.items() if number not in active}
        if not group:
            return {}
        try:
            if kind is tuple or kind is frozenset:
                return self._containers(kind, group, level) if level < _LEVELS else {}
            encode = encoder.encoder_of(next(iter(group.values())))
            if encode not in registry.QUICK and encode not in COLUMNS:
                return {number: memo[number] for number in group if number in memo}
            if level < _LEVELS and encode not in COLUMNS and self._merges(kind, encode, group):
                rows = [encode(value, encoder) for value in group.values()]
                return self._merge(group, rows, level)
            if memo.keys().isdisjoint(group):
                known: dict[int, int] = {}
            else:
                known = {number: memo[number] for number in group if number in memo}
                group = {number: value for number, value in group.items() if number not in memo}
            if group and level < _LEVELS:
                known.update(self._objects(kind, encode, group, level))
            return known
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - the walk meets it again, and knows the place
            return {}

    def _held(self, objects: Iterable[Any]) -> dict[int, int]:
        """The rows of objects that pickles hold, by their ids."""
        result = {}
        for value in objects:
            index = self.memo.get(id(value))
            if index is None:
                index = self.part_row(value)
            if index is not None:
                result[id(value)] = index
        return result

    def _merges(self, kind: type, encode: EncodeFunction, group: dict[int, Any]) -> bool:
        """Whether equal values of a ``kind`` are one row."""
        known = self._merging.get(kind)
        if known is None:
            encoder: Any = self
            row = encode(next(iter(group.values())), encoder)
            known = self._merging[kind] = row[0] in tags.MERGED
        return known

    def _containers(self, kind: type, group: dict[int, Any], level: int) -> dict[int, int]:
        """Write tuples or frozen sets."""
        if kind is tuple:
            return self._merge(group, [[tags.TUPLE, *value] for value in group.values()], level)
        sets = list(group.values())
        self.check_each(list(map(tuple, sets)))
        every = [*chain.from_iterable(sets)]
        if _SHORT.issuperset(map(type, every)):
            rows: list[Row] | None = list(map(sort_packed, map(list, sets)))
        else:
            rows = self.members(sets, every, level)
        if rows is None:
            return {}
        return self._merge(group, [[tags.FROZENSET, *row] for row in rows], level)

    def members(self, sets: Sequence[Any], every: list[Any], level: int = 0) -> list[Row] | None:
        """The members of several sets, as rows have them, in the order of their content; else None.

        Their content is known where they are made of atoms, some levels down.
        """
        if self._rows.keeps:
            return None
        try:
            digests = self._digests(every)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - the walk meets it again, and knows the place
            return None
        if digests is None:
            return None
        ordered: list[Any] = []
        first = 0
        for size in map(len, sets):
            ordered += map(every.__getitem__, sorted(range(first, first + size), key=digests.__getitem__))
            first += size
        known = self.write_many(ordered, level + 1)
        try:
            fields = map(Known, map(known.__getitem__, map(id, ordered)))
            rows = [[*islice(fields, size)] for size in map(len, sets)]
        except KeyError:
            return None
        self.keep_alive(ordered)
        return rows

    def _digests(self, values: list[Any]) -> list[bytes] | None:
        """The hashes of the content of values; None where one is not known before all rows are written."""
        if {tuple} == set(map(type, values)):
            return self._digests_of_tuples(values)
        result = []
        for value in values:
            digest = self._digest(value, 0)
            if digest is None:
                return None
            result.append(digest)
        return result

    def _digests_of_tuples(self, values: list[Any]) -> list[bytes] | None:
        """:meth:`_digests` of tuples, which hash what they share once."""
        every = [*chain.from_iterable(values)]
        if _SHORT.issuperset(map(type, every)):
            return hashes_of([[tags.TUPLE, *value] for value in values])
        digests: dict[int, bytes] = {}
        others = [*compress(every, map(not_, map(_SHORT.__contains__, map(type, every))))]
        for number, field in dict(zip(map(id, others), others, strict=True)).items():
            if type(field) is bytes:
                if len(field) >= INLINE_BYTES:
                    return None
                continue
            digest = self._digest(field, 1)
            if digest is None:
                return None
            digests[number] = digest
        contents = map(digests.get, map(id, every), every)
        return hashes_of([[tags.TUPLE, *islice(contents, size)] for size in map(len, values)])

    def _digest(self, value: Any, level: int) -> bytes | None:
        kind = type(value)
        if kind is tuple:
            row: Row = [tags.TUPLE, *value]
        elif kind is frozenset:
            row = [tags.FROZENSET, *value]
        else:
            encode: Any = self.encoder_of(value)
            if encode not in registry.QUICK:
                return None
            row = encode(value, self)
        if not _SHORT.issuperset(map(type, row)):
            for place, field in enumerate(row):
                if type(field) not in ATOMS:
                    digest = self._digest(field, level + 1) if level < _LEVELS else None
                    if digest is None:
                        return None
                    row[place] = digest
                elif type(field) is bytes and len(field) >= INLINE_BYTES:
                    return None
        return content_hash(row)

    def _objects(
        self, kind: type, encode: EncodeFunction, group: dict[int, Any], level: int
    ) -> dict[int, int]:
        """Write objects that have no rows, and are none that merge."""
        encoder: Any = self
        values = list(group.values())
        take = COLUMNS.get(encode)
        if take is not None:
            runs = take(kind, values, encoder)
        else:
            rows: list[Row] = [encode(value, encoder) for value in values]
            start = tags.MAPPINGS.get(rows[0][0])
            if start is not None:
                encoder.check_each([row[start::2] for row in rows])
            sizes: dict[tuple[object, int], tuple[list[Any], list[Row]]] = {}
            for value, row in zip(values, rows, strict=True):
                batch = sizes.setdefault((row[0], len(row)), ([], []))
                batch[0].append(value)
                batch[1].append(row[1:])
            runs = [
                Columns(batch, (0,), [item], list(map(list, zip(*parts, strict=True))))
                for (item, _), (batch, parts) in sizes.items()
            ]
        active = encoder.active
        active.update(dict.fromkeys(group, -1))  # what holds one of them cannot be written yet
        try:
            known: dict[int, int] = {}
            for run in runs:
                known.update(self._run(run, level))
            return known
        finally:
            for number in group:
                del active[number]

    def _run(self, columns: Columns, level: int) -> dict[int, int]:
        """Write a run of those objects whose fields have all been written."""
        encoder: Any = self
        fields = [*columns.constants, *chain.from_iterable(columns.columns)]
        known = self.write_many(fields, level + 1)
        lacking = _lacking(fields, known)
        if lacking:
            if not lacking.isdisjoint(map(id, columns.constants)):
                return {}
            columns = _without(columns, lacking)
        objects = columns.objects
        if not objects:
            return {}
        depths = self._rows.depths
        tag = columns.constants[0]
        depth = max(map(depths.__getitem__, known.values()), default=0) + (tag not in tags.UNWOUND)
        if depth > _DEEP:
            return {}
        encoder.doubtful = encoder.doubtful or any_doubtful(tag, columns.columns, columns.rows())
        indexes: Sequence[int]
        if len(objects) < FEWEST or not 0 < len(columns.columns) <= len(objects):
            indexes = self._singly(columns, known, depth)
        else:
            try:
                packed = self._packed_run(columns, known)
            except OverflowError:
                known.update(self._ints(fields))
                packed = self._packed_run(columns, known)
            first = self._rows.write_run(packed, len(objects), depth)
            indexes = range(first, len(depths))
        written = dict(zip(map(id, objects), indexes, strict=True))
        encoder.memo.update(written)
        encoder.keep_alive(objects)
        return written

    def _packed_run(self, columns: Columns, known: dict[int, int]) -> bytes:
        constants, every = columns.constants, columns.columns
        if known:
            constants = referring(constants, known)
            every = [packed_column(column, known) for column in every]  # type: ignore[misc]
        return pack_object(run_row(columns.places, constants, every))

    def _singly(self, columns: Columns, known: dict[int, int], depth: int) -> list[int]:
        """Write those that are too few for a run; return the rows."""
        known.update(self._ints(chain.from_iterable(columns.columns)))
        rows = [referring(row, known) for row in columns.rows()]
        packed = list(map(pack_row, rows))
        return [
            self._rows.write(row, data, depth, merge=False) for row, data in zip(rows, packed, strict=True)
        ]

    def _merge(self, group: dict[int, Any], rows: list[Row], level: int) -> dict[int, int]:
        """Write rows of immutable values, equal ones once."""
        encoder: Any = self
        fields = [*chain.from_iterable(rows)]
        kinds = set(map(type, fields))
        numbers, values = list(group), list(group.values())
        below = [0] * len(rows)
        known: dict[int, int] = {}
        if not kinds <= _SHORT:
            known = self.write_many(fields, level + 1)
            lacking = _lacking(fields, known)
            if lacking:
                whole = [at for at, row in enumerate(rows) if lacking.isdisjoint(map(id, row))]
                numbers, values = [numbers[at] for at in whole], [values[at] for at in whole]
                rows = [rows[at] for at in whole]
                below = below[: len(rows)]
                if not rows:
                    return {}
        try:
            packed = pack_each(all_referring(rows, known))
        except OverflowError:
            known.update(self._ints(chain.from_iterable(rows)))
            packed = pack_each(all_referring(rows, known))
        if max(map(len, packed)) >= INLINE_BYTES:
            return {}
        depths = self._rows.depths
        deepest = max(map(depths.__getitem__, known.values()), default=0)
        if 0 < deepest <= _SHALLOW:
            below = [deepest] * len(rows)  # which may be more than some have
        elif deepest:
            below = [
                max((depths[index] for index in map(known.get, map(id, row)) if index is not None), default=0)
                for row in rows
            ]
        tag = rows[0][0]
        if tag not in tags.UNWOUND:
            below = [depth + 1 for depth in below]
        merged = [True] * len(rows)
        if float in kinds or tag in tags.WITH_NAN:
            merged = [not has_nan(row, value) for row, value in zip(rows, values, strict=True)]
        encoder.doubtful = encoder.doubtful or any_doubtful(tag, zip_longest(*rows), rows)
        result: dict[int, int] = {}
        memo = encoder.memo
        if not all(merged) and not memo.keys().isdisjoint(numbers):
            # One with a NaN is itself, however equal another is.
            again = [at for at, number in enumerate(numbers) if not merged[at] and number in memo]
            result = {numbers[at]: memo[numbers[at]] for at in again}
            left = [at for at, number in enumerate(numbers) if number not in result]
            numbers, rows, packed = (
                [numbers[at] for at in left],
                [rows[at] for at in left],
                [packed[at] for at in left],
            )
            merged, below = [merged[at] for at in left], [below[at] for at in left]
        written = dict(zip(numbers, self._rows.write_merged(rows, packed, merged, below, known), strict=True))
        memo.update(written)
        encoder.keep_alive(values)
        result.update(written)
        return result


def _lacking(fields: Sequence[Any], known: dict[int, int]) -> set[int]:
    """The ids of those fields that no row can have as they are."""
    kinds = set(map(type, fields))
    result: set[int] = set()
    if not kinds <= ATOMS:
        result.update(map(id, compress(fields, map(not_, map(ATOMS.__contains__, map(type, fields))))))
        result.difference_update(known)
    if bytes in kinds:
        texts = [field for field in fields if type(field) is bytes]
        if max(map(len, texts)) >= INLINE_BYTES:
            result.update(id(text) for text in texts if len(text) >= INLINE_BYTES)
    return result


def _without(columns: Columns, lacking: set[int]) -> Columns:
    """The columns of those objects that lack none of these fields."""
    whole = [all(number not in lacking for number in map(id, fields)) for fields in columns.each()]
    return Columns(
        [*compress(columns.objects, whole)],
        columns.places,
        columns.constants,
        [[*compress(column, whole)] for column in columns.columns],
    )
