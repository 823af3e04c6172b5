"""The skeleton of a tree: what a payload is made of, without the bytes of its buffers.

Containers and small values are read as ever. What lies in a buffer is a :class:`Leaf` in its place, and so is
what is made of such, like a frame of columns or an instance with an array among its attributes. Each part can
be read by itself afterwards, with what it refers to, and nothing else.
"""

from __future__ import annotations

from collections import OrderedDict

import msgpack

from laila.codec import registry, tags
from laila.codec.decoder import Decoder, read_rows
from laila.codec.limits import MAX_NESTING
from laila.codec.references import expand, split
from laila.codec.runs import rows_of_run
from laila.errors import (
    CorruptEntryError,
    LailaError,
    MissingPluginError,
    PayloadError,
    UntrustedPayloadError,
)
from laila.showing import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from laila.blob.blob import Blob

    Row = list[Any]

__all__ = ["Leaf", "Skeleton", "skeleton_of"]

_WITH_BUFFER = frozenset({tags.NDARRAY, tags.STRUCTURED, tags.VIEW, tags.TENSOR, tags.BYTES, tags.BYTEARRAY})
_OPEN = frozenset({tags.LIST, tags.TUPLE, tags.DICT, tags.ORDERED_DICT})
_CONTAINERS = (list, tuple, dict, OrderedDict)
_UNCHECKED = 4096


class Leaf:
    """A part that was not read: the ``row`` that says it, its ``tag`` and its ``fields``."""

    __slots__ = ("fields", "row", "tag")

    def __init__(self, row: int, tag: int, fields: Row) -> None:
        self.row = row
        self.tag = tag
        self.fields = fields

    @property
    def buffer(self) -> int | None:
        """The number of its buffer, where it lies in one and is not made of other parts."""
        return self.fields[1] if self.tag in _WITH_BUFFER and type(self.fields[1]) is int else None


class _Ref:
    """A reference to a row that is not looked up yet."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


class Skeleton:
    """The contents of a blob's rows, without the buffers. Made by :func:`skeleton_of`; read-only."""

    __slots__ = ("_buffers", "_decoder", "_deep", "_rows", "blob", "references", "root", "values")

    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        self.values: list[object] = []
        self.references: list[tuple[int, ...]] = []
        """By row: the rows that it refers to."""
        self._decoder = Decoder(blob, copy=True, trusted=False)
        self._rows: dict[int, int] = {}
        """By id: the rows of containers, which live as long as this."""
        self._buffers: dict[int, int] = {}
        """By row: the number of its buffer."""
        self._deep: set[int] = set()
        """By id: the containers that have a leaf somewhere."""
        self.root: object = None

    def row_of(self, container: object) -> int:
        """The row of a container that this skeleton has."""
        return self._rows[id(container)]

    def dtype(self, description: object) -> Any:
        """The numpy dtype of a description in a row. Raises what a damaged one makes numpy raise."""
        return self._decoder.dtype_of(description)

    def decode(self, row: int, *, trusted: bool) -> object:
        """Read the value of a row with the bytes of its buffers; see :func:`laila.codec.decode`."""
        decoder = Decoder(self.blob, copy=True, trusted=trusted, consume=True)
        decoder.needed = frozenset(self._below(row))
        return read_rows(decoder)

    def buffers_of(self, row: int) -> set[int]:
        """The numbers of the buffers that a row has, and the rows that it refers to."""
        return {self._buffers[index] for index in self._below(row) if index in self._buffers}

    def _below(self, row: int) -> set[int]:
        """A row, those that it refers to, those that they refer to, and so on."""
        found = {row}
        waiting = [row]
        while waiting:
            for index in self.references[waiting.pop()]:
                if index not in found:
                    found.add(index)
                    waiting.append(index)
        return found

    def _read(self) -> None:
        rows = memoryview(self.blob.tree)[len(tags.ROWS_MARK) :]
        size = len(rows)
        if size > _UNCHECKED:  # as read_rows does
            walker = msgpack.Unpacker(None, max_buffer_size=size)
            walker.feed(rows)
            while walker.tell() < size:
                walker.skip()
        unpacker = msgpack.Unpacker(
            None,
            strict_map_key=False,
            unicode_errors="surrogatepass",
            max_buffer_size=size,
            max_ext_len=3,
            ext_hook=lambda code, data: _Ref(code << 24 | int.from_bytes(data, "little")),
        )
        unpacker.feed(rows)
        depths: list[int] = []
        for row in unpacker:
            if type(row) is not list or not row:
                raise ValueError(f"row {len(self.values)} is no row")
            if row[0] == tags.REFERENCES:
                indexes, positions, fields = split(row)
                row = expand(positions, list(map(_Ref, indexes)), fields)
            for each in rows_of_run(row, _Ref) if row[0] == tags.RUN else (row,):
                self._add(each, depths)
        if unpacker.tell() != size or not self.values:
            raise ValueError("its rows are cut short")
        self.root = self.values[-1]

    def _add(self, row: Row, depths: list[int]) -> None:
        values, count, tag = self.values, len(self.values), row[0]
        if type(tag) is not int:
            raise ValueError(f"row {count} is no row")
        found = tuple(field.index for field in row if type(field) is _Ref)
        if any(index >= count or index < 0 for index in found):
            raise ValueError(f"a reference to a row that is not before row {count}")
        depth = max(map(depths.__getitem__, found), default=0) + (tag not in tags.UNWOUND)
        if depth > MAX_NESTING:
            raise ValueError(f"it is nested more than {MAX_NESTING} deep")
        fields = [values[field.index] if type(field) is _Ref else field for field in row]
        values.append(self._value(count, tag, fields, found))
        depths.append(depth)
        self.references.append(found)
        if type(values[-1]) in _CONTAINERS:
            self._rows[id(values[-1])] = count
            if any(self._is_deep(values[index]) for index in found):
                self._deep.add(id(values[-1]))

    def _value(self, count: int, tag: int, fields: Row, found: Sequence[int]) -> object:
        leaf = Leaf(count, tag, fields)
        if tag in tags.BUFFERED and len(fields) > 1 and fields[1] is not None:
            if type(fields[1]) is int:
                if not 0 <= fields[1] < len(self.blob.buffers):
                    raise ValueError("no such buffer")
                self._buffers[count] = fields[1]
            return leaf
        if any(self._is_deep(self.values[index]) for index in found):
            keys = fields[tags.MAPPINGS.get(tag, len(fields)) :: 2]
            if tag not in _OPEN or any(map(self._is_deep, keys)):
                return leaf
        self._decoder.row = count
        try:
            return registry.decoder_for(tag, self.blob.key)(fields, self._decoder)
        except (UntrustedPayloadError, PayloadError, MissingPluginError):
            return leaf  # reading it raises the error

    def _is_deep(self, value: object) -> bool:
        """Whether a value is a leaf, or a container that has one."""
        return type(value) is Leaf or id(value) in self._deep


def skeleton_of(blob: Blob) -> Skeleton:
    """Read the rows of ``blob``, none of whose buffers is touched.

    Raises:
        CorruptEntryError: the rows are not what the codec writes.
    """
    skeleton = Skeleton(blob)
    try:
        skeleton._read()
    except (LailaError, MemoryError):
        raise
    except Exception as error:
        raise CorruptEntryError(
            f"the blob of {blob.key} is damaged: its rows cannot be read ({type(error).__name__}: "
            f"{said(error, 200)})",
            key=blob.key,
        ) from error
    return skeleton
