"""Rows with many references, which say them as one run of numbers: less to write, and far less to read."""

from __future__ import annotations

import sys
from array import array
from itertools import compress, repeat
from operator import is_, not_

from msgpack import ExtType

from laila.codec import tags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Row = list[Any]

__all__ = ["MANY", "compact", "compact_known", "expand", "referred", "split"]

MANY = 32
"""From so many references on a row is written so."""
_WIDTH = 4


def referred(ref: ExtType) -> int:
    """The index of the row that ``ref`` refers to."""
    return int(ref.code) << 24 | int.from_bytes(ref.data, "little")


def _swapped(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def packed_numbers(numbers: Sequence[int]) -> bytes:
    return _swapped(array("I", numbers)).tobytes()


def unpacked_numbers(data: object) -> array[int]:
    if type(data) is not bytes or len(data) % _WIDTH:
        raise ValueError("not numbers of rows")
    numbers = array("I")
    numbers.frombytes(data)
    return _swapped(numbers)


def compact(row: Row) -> Row | None:
    """The row that says the references of ``row`` as one run of numbers; None where it has few."""
    if len(row) <= MANY:
        return None
    places = [position for position, field in enumerate(row) if type(field) is ExtType]
    if len(places) < MANY:
        return None
    from_bytes = int.from_bytes
    indexes = [code << 24 | from_bytes(data, "little") for code, data in map(row.__getitem__, places)]
    if max(indexes) >> 32:
        return None
    first = len(row) - len(places)
    where = None if places[0] == first else packed_numbers(places)
    return [
        tags.REFERENCES,
        packed_numbers(indexes),
        where,
        *(field for field in row if type(field) is not ExtType),
    ]


def compact_known(row: Row, known: Sequence[int | None]) -> Row | None:
    """Return :func:`compact` of ``row``; ``known`` are the rows of its references, None for other fields."""
    count = len(row) - known.count(None)
    if count < MANY or len(row) <= MANY:
        return None
    first = len(row) - count
    if known[first] is not None and known[:first].count(None) == first:
        indexes: Sequence[Any] = known[first:]
        where, fields = None, row[:first]
    else:
        lacking = [*map(is_, known, repeat(None))]
        places = [*compress(range(len(row)), map(not_, lacking))]
        indexes = [*map(known.__getitem__, places)]
        where, fields = packed_numbers(places), [*compress(row, lacking)]
    return [tags.REFERENCES, packed_numbers(indexes), where, *fields]


def split(row: Row) -> tuple[array[int], array[int] | range, Row]:
    """The indexes that a compact row refers to, the positions that they have, and the other fields."""
    _, data, where, *fields = row
    indexes = unpacked_numbers(data)
    size = len(indexes) + len(fields)
    positions = range(len(fields), size) if where is None else unpacked_numbers(where)
    if len(indexes) < MANY or len(positions) != len(indexes) or type(fields[0]) is not int:
        raise ValueError("references that a row is not to say so")
    if where is not None and (
        positions[0] == 0
        or positions[-1] >= size
        or any(map(int.__ge__, positions, positions[1:]))  # in order, and none twice
    ):
        raise ValueError("references at places that a row does not have")
    return indexes, positions, fields


def expand(positions: array[int] | range, values: list[Any], fields: Row) -> Row:
    """The row with ``values`` at ``positions``, and ``fields`` in order at the others."""
    if type(positions) is range:
        fields += values
        return fields
    size, first, last = len(values) + len(fields), positions[0], positions[-1]
    if positions == array("I", range(first, last + 1, 2)):  # the values of a mapping
        row: Row = [None] * size
        between = first + len(values) - 1
        row[:first] = fields[:first]
        row[first : last + 1 : 2] = values
        row[first + 1 : last : 2] = fields[first:between]
        row[last + 1 :] = fields[between:]
        return row
    mask = bytearray(size)
    for position in positions:
        mask[position] = 1
    sources = iter(fields), iter(values)
    return [next(sources[which]) for which in mask]
