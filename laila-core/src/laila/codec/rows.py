"""Rows in a file: references to them, equal ones merged, and the one order that content gives them."""

from __future__ import annotations

from msgpack import ExtType, unpackb
from xxhash import xxh3_128_digest

from laila.codec import tags
from laila.codec.limits import MAX_NESTING
from laila.codec.plain import INLINE_BYTES, pack_each, pack_object
from laila.codec.references import compact, expand, referred, split
from laila.errors import PayloadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.blob.buffer import Buffer

    Row = list[Any]  # fields are the payload's own objects until references replace them

__all__ = ["RowWriter", "int_row", "pack_row", "reference", "referred"]

_new_tuple = tuple.__new__


def _make(index: int) -> ExtType:
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


def int_row(value: int) -> Row:
    """The row of an int of more than 64 bits, and less than would be a buffer."""
    return [tags.INT, None, value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)]


class RowWriter:
    """The rows of one tree, in the order in which they are written.

    ``keep`` holds on to the rows themselves, which :meth:`tree` then orders by content: what has sets of
    several rows needs that, since the order in which a set is walked says nothing.
    """

    def __init__(self, *, keep: bool) -> None:
        self.depths: list[int] = []
        """Per row: the most rows on one path, from it down, that are freed by recursion."""
        self.numbers: dict[int, int] | None = None
        """By row as it was written: its number in the tree, where those differ."""
        self._keep = keep
        self._kept: list[Row] = []
        self._packed: list[bytes] = []
        self._merged: dict[bytes, int] = {}
        self._root: int | None = None

    def write(self, row: Row, packed: bytes, depth: int, *, merge: bool) -> int:
        """File a row, packed by :func:`pack_row`; return its index: that of an equal one where they merge."""
        count = len(self.depths)
        if merge:
            index = self._merged.setdefault(packed, count)
            if index != count:
                return index
        self._check(depth)
        self.depths.append(depth)
        if self._keep:
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

    def write_tuples(self, values: list[tuple[object, ...]]) -> list[int]:
        """File a row for each of several tuples of short atoms, as :meth:`write` would; return the indexes.

        Raises ``OverflowError``, and files nothing, where an int has more than 64 bits.
        """
        return self.write_each([[tags.TUPLE, *value] for value in values])

    def write_each(self, rows: list[Row]) -> list[int]:
        """File several rows of immutable values that refer to no other; return the indexes."""
        return self._file(rows, pack_each(rows))

    def _file(self, rows: list[Row], packed: list[bytes]) -> list[int]:
        first = count = len(self.depths)
        indexes = []
        for row, data in zip(rows, packed, strict=True):
            index = self._merged.setdefault(data, count)
            if index == count:
                count += 1
                if self._keep:
                    self._kept.append(row)
                else:
                    self._packed.append(data)
            indexes.append(index)
        self.depths.extend([0] * (count - first))
        return indexes

    def write_members(self, rows: list[Row]) -> tuple[list[int], list[int]]:
        """File rows of the members of a set in the order of their content; return it, and the indexes."""
        packed = pack_each(rows)
        digests = list(map(xxh3_128_digest, packed))
        order = sorted(range(len(rows)), key=digests.__getitem__)
        return order, self._file([rows[at] for at in order], [packed[at] for at in order])

    def write_flat(self, rows: list[Row], merged: list[bool], below: list[int]) -> list[int] | None:
        """File several rows, none of which refers to another of them; return the indexes.

        ``merged`` says which may merge; ``below``, per row, the depth of what it refers to. None, and nothing
        is filed, where an int has more than 64 bits, or bytes may be so many that they are a buffer.
        """
        try:
            packed = pack_each(rows)
        except OverflowError:
            return None
        if max(map(len, packed)) >= INLINE_BYTES:
            return None
        indexes = []
        kept: list[Any] = self._kept if self._keep else self._packed
        depths = self.depths
        for row, data, merge, depth in zip(rows, packed, merged, below, strict=True):
            count = len(depths)
            index = self._merged.setdefault(data, count) if merge else count
            if index == count:
                if row[0] not in tags.UNWOUND:
                    depth += 1
                    self._check(depth)
                depths.append(depth)
                kept.append(row if self._keep else data)
            indexes.append(index)
        return indexes

    def change(self) -> list[Row]:
        """All rows, to be changed in place; their buffers are numbered anew when the tree is made."""
        if not self._keep:
            self._keep = True
            self._kept = [unpack_row(packed) for packed in self._packed]
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
        if self._keep:
            root = len(self._kept) - 1 if self._root is None else self._root
            self._packed, buffers, self.numbers = _order_by_content(self._kept, root, buffers)
        return tags.ROWS_MARK + b"".join(self._packed), buffers


def _children_first(rows: list[Row], root: int) -> list[int]:
    """The indexes of all rows that ``root`` leads to, each after those that it refers to."""
    found: list[int] = []
    done: set[int] = set()
    opened: set[int] = set()
    todo = [root]
    while todo:
        index = todo[-1]
        if index in opened or index in done:
            todo.pop()
            if index not in done:
                done.add(index)
                found.append(index)
            continue
        opened.add(index)
        todo += [child for child in map(referred, _references(rows[index])) if child not in opened]
    return found


def _references(row: Row) -> list[ExtType]:
    return [field for field in row if type(field) is ExtType]


def _order_by_content(
    rows: list[Row], root: int, buffers: list[Buffer]
) -> tuple[list[bytes], list[Buffer], dict[int, int]]:
    """Number rows and buffers anew, so that nothing depends on the order in which a set was walked.

    Takes the rows as a walk left them; what ``root`` does not lead to is left out. Returns them packed,
    the buffers, and the numbers that the rows have now.
    """
    digests: dict[int, bytes] = {}
    for index in _children_first(rows, root):
        row = rows[index]
        content: Row = [digests[referred(f)] if type(f) is ExtType else f for f in row]
        if row[0] in tags.SETS:
            content[1:] = sorted(map(pack_object, content[1:]))
            atoms = [field for field in row[1:] if type(field) is not ExtType]
            row[1:] = [*atoms, *sorted(_references(row), key=lambda ref: digests[referred(ref)])]
        elif row[0] in tags.BUFFERED and row[1] is not None:
            buffer = buffers[row[1]]
            content[1] = [buffer.checksum, buffer.dtype, list(buffer.shape), buffer.order]
        digests[index] = xxh3_128_digest(pack_object(content))
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
