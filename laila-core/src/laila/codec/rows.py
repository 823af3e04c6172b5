"""Rows in a file: references to them, equal ones merged, and the one order that content gives them."""

from __future__ import annotations

from itertools import chain, groupby, islice

from msgpack import ExtType, unpackb
from xxhash import xxh3_128_digest

from laila.codec import tags
from laila.codec.limits import MAX_NESTING
from laila.codec.plain import pack_each, pack_object
from laila.codec.references import compact, expand, referred, split
from laila.codec.runs import FEWEST, packed_column, rows_of_run, run_row
from laila.errors import PayloadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.blob.buffer import Buffer

    Row = list[Any]  # fields are the payload's own objects until references replace them

__all__ = [
    "RowWriter",
    "all_referring",
    "content_hash",
    "has_nan",
    "hashes_of",
    "pack_row",
    "reference",
    "referred",
    "referring",
]

_new_tuple = tuple.__new__


def _make(index: int) -> ExtType:
    if index < 65536:  # as most are
        return _new_tuple(ExtType, (0, index.to_bytes(1 if index < 256 else 2, "little")))
    low = index & 0xFFFFFF
    size = 1 if low < 256 else 2 if low < 65536 else 3
    # Past ExtType's own checks, which cost more than all the rest.
    return _new_tuple(ExtType, (index >> 24, low.to_bytes(size, "little")))


_FIRST = tuple(map(_make, range(256)))


def reference(index: int) -> ExtType:
    """A reference to row ``index``: its low 24 bits as data, what is above as the extension's type."""
    return _FIRST[index] if index < 256 else _make(index)


def unpack_row(packed: bytes) -> Row:
    """The fields of a packed row, its references as they are."""
    row: Row = unpackb(packed, strict_map_key=False, unicode_errors="surrogatepass")
    if row[0] == tags.REFERENCES:
        indexes, positions, fields = split(row)
        row = expand(positions, list(map(reference, indexes)), fields)
    return row


def pack_row(row: Row) -> bytes:
    """A row as the tree has it: many references are one run of numbers."""
    return pack_object(compact(row) or row)


def has_nan(row: Row, obj: Any) -> bool:
    """Whether ``obj``, whose row this is, has a NaN, which is not even equal to itself.

    Two of them must stay two, or a set of them would shrink.
    """
    if float in map(type, row) and any(field != field for field in row if type(field) is float):
        return True
    tag = row[0]
    if tag == tags.DECIMAL:
        return bool(obj.is_nan())
    return tag == tags.SCALAR and bool(obj != obj)


def _kept(depths: list[int], indexes: list[int], first: int, count: int) -> list[int]:
    """The depths of those ``count`` rows that are new, from index ``first`` on."""
    if count == len(depths) or not any(depths):
        return depths[:count]
    result = dict(zip(reversed(indexes), reversed(depths), strict=True))
    return [result[index] for index in range(first, first + count)]


def referring(row: Row, known: dict[int, int]) -> Row:
    """The row with references in the place of what has rows, by id."""
    if not known:
        return row
    find = known.get
    return [field if (number := find(id(field))) is None else reference(number) for field in row]


def all_referring(rows: list[Row], known: dict[int, int]) -> list[Row]:
    """:func:`referring` for many rows, in passes in C."""
    if not known:
        return rows
    references = dict(zip(known, map(reference, known.values()), strict=True))
    size = len(rows[0])
    fields = [*chain.from_iterable(rows)]
    result = map(references.get, map(id, fields), fields)
    if len(fields) == size * len(rows) and {size} == set(map(len, rows)):
        return [*map(list, zip(*[result] * size, strict=True))]
    return [[*islice(result, length)] for length in map(len, rows)]


def content_hash(row: Row) -> bytes:
    """The hash of what a row says, which orders the members of sets; hashes stand where it has references."""
    if row[0] in tags.SETS:
        row = [row[0], *sorted(map(pack_object, row[1:]))]
    return xxh3_128_digest(pack_object(row))


def hashes_of(rows: list[Row]) -> list[bytes]:
    """Return the :func:`content_hash` of many rows without sets."""
    return list(map(xxh3_128_digest, pack_each(rows)))


class RowWriter:
    """The rows of one tree, in the order of writing.

    ``keep`` keeps the rows themselves, and :meth:`tree` then orders them by content. Trees with sets of
    several rows need that, because the order of a set means nothing.
    """

    def __init__(self, *, keep: bool) -> None:
        self.depths: list[int] = []
        """Per row: the most rows on one path, from it down, that are freed by recursion."""
        self.numbers: dict[int, int] | None = None
        """By row as it was written: its number in the tree, where those differ."""
        self.keeps = keep
        """Whether rows are held on to."""
        self._kept: list[Row] = []
        self._packed: list[bytes] = []
        self._merged: dict[bytes, int] = {}
        self._ints: dict[int, int] = {}
        self._root: int | None = None

    def write(self, row: Row, packed: bytes, depth: int, *, merge: bool) -> int:
        """File a row, packed by :func:`pack_row`; return its index: that of an equal one where they merge."""
        count = len(self.depths)
        if merge:
            if row[0] == tags.INT and row[1] is None:
                index = self._ints.setdefault(int.from_bytes(row[2], "little", signed=True), count)
            else:
                index = self._merged.setdefault(packed, count)
            if index != count:
                return index
        self._check(depth)
        self.depths.append(depth)
        if self.keeps:
            self._kept.append(row)
        else:
            self._packed.append(packed)
        return count

    def _check(self, depth: int) -> None:
        if depth > MAX_NESTING:
            raise PayloadError(
                "payload cannot be stored: slices, deques, arrays of objects and their like nest in it more "
                f"than {MAX_NESTING} deep, which can crash Python when they are freed",
                path="payload",
            )

    def write_merged(
        self,
        rows: list[Row],
        packed: list[bytes],
        merged: list[bool],
        depths: list[int],
        refers: dict[int, int],
    ) -> list[int]:
        """Add rows of immutable values of one type that do not refer to each other; return the indexes.

        ``merged`` says which may merge with equal ones, and ``refers``, by id, the rows of what is no atom.
        Neighbours of one size become runs.
        """
        if max(depths, default=0):
            for depth in set(depths):
                self._check(depth)
        count = len(self.depths)
        known = self._merged
        if all(merged):
            unique = dict(zip(packed, rows, strict=True))
            if not known.keys().isdisjoint(unique):
                unique = {data: row for data, row in unique.items() if data not in known}
            known.update(zip(unique, range(count, count + len(unique)), strict=True))
            indexes = list(map(known.__getitem__, packed))
            new_depths = _kept(depths, indexes, count, len(unique))
            self._file([*unique.values()], [*unique], new_depths, refers)
            return indexes
        indexes = []
        new: list[int] = []
        for number, data in enumerate(packed):
            index = known.setdefault(data, count) if merged[number] else count
            if index == count:
                new.append(number)
                count += 1
            indexes.append(index)
        chosen = [rows[at] for at in new], [packed[at] for at in new], [depths[at] for at in new]
        self._file(*chosen, refers)
        return indexes

    def write_ints(self, values: list[int]) -> list[int]:
        """Add the rows of distinct ints beyond 64 bits; return the indexes."""
        known, count = self._ints, len(self.depths)
        new = values
        if not known.keys().isdisjoint(values):
            new = [value for value in values if value not in known]
        known.update(zip(new, range(count, count + len(new)), strict=True))
        parts = [value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True) for value in new]
        self.depths += [0] * len(new)
        if self.keeps:
            self._kept += [[tags.INT, None, part] for part in parts]
        elif len(new) < FEWEST:
            self._packed += [pack_object([tags.INT, None, part]) for part in parts]
        else:
            self._packed.append(pack_object(run_row(range(2), [tags.INT, None], [parts])))
        return list(map(known.__getitem__, values))

    def _file(self, rows: list[Row], packed: list[bytes], depths: list[int], refers: dict[int, int]) -> None:
        """File rows, neighbours of one size as runs."""
        if self.keeps:
            self._kept += [referring(row, refers) for row in rows]
            self.depths += depths
            return
        start = 0
        for size, batch in groupby(map(len, rows)):
            end = start + len(list(batch))
            if end - start < FEWEST or not 1 < size <= end - start:
                self._packed += packed[start:end]
                self.depths += depths[start:end]
            else:
                columns = [packed_column([*column], refers) for column in zip(*rows[start:end], strict=True)]
                run = run_row((0,), rows[start][:1], columns[1:])
                self._packed.append(pack_object(run))
                self.depths += [max(depths[start:end])] * (end - start)
            start = end

    def write_run(self, packed: bytes, count: int, depth: int) -> int:
        """File a run of ``count`` rows; return the index of the first."""
        self._check(depth)
        first = len(self.depths)
        self.depths += [depth] * count
        if self.keeps:
            self._kept += rows_of_run(unpack_row(packed), reference)
        else:
            self._packed.append(packed)
        return first

    def change(self) -> list[Row]:
        """All rows, to be changed in place; their buffers are numbered anew when the tree is made."""
        if not self.keeps:
            self.keeps = True
            for packed in self._packed:
                row = unpack_row(packed)
                self._kept += rows_of_run(row, reference) if row[0] == tags.RUN else [row]
        if self._root is None:
            self._root = len(self._kept) - 1
        return self._kept

    def add_tuple(self, value: tuple[int, ...]) -> ExtType:
        """A reference to a tuple of ints, for a row that is changed: it may stand before the tuple's row."""
        rows = self.change()
        row: Row = [tags.TUPLE, *value]
        index = self._merged.setdefault(pack_row(row), len(rows))
        if index == len(rows):
            rows.append(row)
        return reference(index)

    def tree(self, buffers: list[Buffer]) -> tuple[bytes, list[Buffer]]:
        """The tree, whose root is the last row, and ``buffers`` as its rows number them."""
        if self.keeps:
            root = len(self._kept) - 1 if self._root is None else self._root
            self._packed, buffers, self.numbers = _order_by_content(self._kept, root, buffers)
        return tags.ROWS_MARK + b"".join(self._packed), buffers


def _children_first(rows: list[Row], root: int) -> list[int]:
    """The indexes of all rows that ``root`` leads to, each after those that it refers to."""
    result: list[int] = []
    done: set[int] = set()
    opened: set[int] = set()
    todo = [root]
    while todo:
        index = todo[-1]
        if index in opened or index in done:
            todo.pop()
            if index not in done:
                done.add(index)
                result.append(index)
            continue
        opened.add(index)
        todo += [child for child in map(referred, _references(rows[index])) if child not in opened]
    return result


def _references(row: Row) -> list[ExtType]:
    return [field for field in row if type(field) is ExtType]


def _order_by_content(
    rows: list[Row], root: int, buffers: list[Buffer]
) -> tuple[list[bytes], list[Buffer], dict[int, int]]:
    """Number rows and buffers anew, so that nothing depends on the order of walking a set.

    Takes the rows as a walk left them; what ``root`` does not lead to is left out. Returns them packed,
    the buffers, and the numbers that the rows have now.
    """
    digests: dict[int, bytes] = {}
    for index in _children_first(rows, root):
        row = rows[index]
        content: Row = [digests[referred(f)] if type(f) is ExtType else f for f in row]
        if row[0] in tags.SETS:
            atoms = [field for field in row[1:] if type(field) is not ExtType]
            row[1:] = [*atoms, *sorted(_references(row), key=lambda ref: digests[referred(ref)])]
        elif row[0] in tags.BUFFERED and row[1] is not None:
            buffer = buffers[row[1]]
            content[1] = [buffer.checksum, buffer.dtype, list(buffer.shape), buffer.order]
        digests[index] = content_hash(content)
    packed: list[bytes] = []
    numbers: dict[int, int] = {}
    kept: dict[int, int] = {}
    todo = [root]
    opened: set[int] = set()
    while todo:
        old = todo[-1]
        if old in numbers:
            todo.pop()
            continue
        row = rows[old]
        children = list(map(referred, _references(row)))
        if old not in opened:
            opened.add(old)
            todo.extend(child for child in reversed(children) if child not in numbers)
            continue
        todo.pop()
        row = [reference(numbers[referred(f)]) if type(f) is ExtType else f for f in row]
        if row[0] in tags.BUFFERED and row[1] is not None:
            row[1] = kept.setdefault(row[1], len(kept))
        numbers[old] = len(numbers)
        packed.append(pack_row(row))
    return packed, [buffers[number] for number in kept], numbers
